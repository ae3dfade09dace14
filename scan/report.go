package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// reportName is the name of the report in each namespace, and of that about what lives in none.
	reportName = "commitgate-scan"
	// maxResults bounds one report: an object of etcd holds 1.5 MiB.
	maxResults = 500
	manager    = "commitgate"
	managedBy  = "app.kubernetes.io/managed-by"
)

// The kinds of openreports.io, which took over from wgpolicyk8s.io; they never change.
var (
	openReports    = schema.GroupVersion{Group: "openreports.io", Version: "v1alpha1"}
	reportsOf      = openReports.WithResource("reports")
	clusterReports = openReports.WithResource("clusterreports")
)

// report writes the results as OpenReports: one Report for each namespace, one ClusterReport for the rest. Where the cluster does not have
// these kinds nothing is written. Reports of namespaces in which nothing is left to report are removed.
func (s *Scanner) report(ctx context.Context, r *Result) error {
	served, err := s.serves(reportsOf)
	if err != nil || !served {
		return err
	}
	byNamespace := make(map[string][]Finding)
	summaries := make(map[string]map[State]int)
	for g, n := range r.Counts {
		if summaries[g.Namespace] == nil {
			summaries[g.Namespace] = make(map[State]int)
		}
		summaries[g.Namespace][g.State] += n
	}
	for ns, counts := range summaries {
		if ns != "" && onlyMissing(counts) { // the namespace itself is missing: there is no place for a report in it
			delete(summaries, ns)
			for state, n := range counts {
				if summaries[""] == nil {
					summaries[""] = make(map[State]int)
				}
				summaries[""][state] += n
			}
		}
	}
	for _, f := range r.Findings {
		ns := f.Namespace
		if summaries[ns] == nil {
			ns = ""
		}
		byNamespace[ns] = append(byNamespace[ns], f)
	}
	var errs []error
	for ns, counts := range summaries {
		errs = append(errs, s.writeReport(ctx, newReport(r, ns, counts, byNamespace[ns])))
	}
	return errors.Join(errors.Join(errs...), s.removeReports(ctx, summaries))
}

func onlyMissing(counts map[State]int) bool {
	for state, n := range counts {
		if state != Missing && n > 0 {
			return false
		}
	}
	return true
}

func (s *Scanner) serves(gvr schema.GroupVersionResource) (bool, error) {
	list, err := s.discovery.ServerResourcesForGroupVersion(gvr.GroupVersion().String())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == gvr.Resource }), nil
}

// newReport is a report as the API server takes it (openreports.io/v1alpha1, Report).
func newReport(r *Result, namespace string, counts map[State]int, findings []Finding) *unstructured.Unstructured {
	kind := openReports.WithKind("Report")
	meta := map[string]any{"name": reportName, "labels": map[string]any{managedBy: manager}}
	if namespace == "" {
		kind = openReports.WithKind("ClusterReport")
	} else {
		meta["namespace"] = namespace
	}
	summary := map[string]any{"pass": int64(0), "fail": int64(0), "warn": int64(0), "error": int64(0), "skip": int64(0)}
	for state, n := range counts {
		verdict := verdictOf(state)
		summary[verdict] = summary[verdict].(int64) + int64(n)
	}
	results := []any{}
	for _, f := range findings[:min(len(findings), maxResults)] {
		results = append(results, resultOf(r, f))
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": kind.GroupVersion().String(), "kind": kind.Kind, "metadata": meta, "source": manager, "summary": summary, "results": results,
	}}
}

func verdictOf(s State) string {
	switch {
	case s.Finding():
		return "fail"
	case s == InGit || s == Derived:
		return "pass"
	}
	return "skip"
}

func resultOf(r *Result, f Finding) map[string]any {
	severity := "high"
	if f.State == Missing {
		severity = "medium"
	}
	properties := map[string]any{}
	if len(f.Fields) > 0 {
		properties["fields"] = strings.Join(f.Fields, ", ")
	}
	if e := f.Entry; e != nil {
		properties["repository"], properties["path"], properties["commit"] = e.Source.Repository, string(e.Source.Path), string(e.Changed.ID)
	}
	if f.Manager != "" {
		properties["manager"] = f.Manager
	}
	subject := map[string]any{"apiVersion": schema.GroupVersion{Group: f.Group, Version: f.Version}.String(), "kind": f.Kind, "name": f.Name}
	if f.Namespace != "" {
		subject["namespace"] = f.Namespace
	}
	return map[string]any{
		"policy": "in-git", "rule": string(f.State), "category": "provenance", "severity": severity, "result": verdictOf(f.State), "scored": true,
		"message": f.Why, "resources": []any{subject}, "properties": properties,
		"timestamp": map[string]any{"seconds": r.Ended.Unix(), "nanos": int64(0)},
	}
}

func (s *Scanner) writeReport(ctx context.Context, report *unstructured.Unstructured) error {
	opts := metav1.ApplyOptions{FieldManager: manager, Force: true}
	var err error
	if ns := report.GetNamespace(); ns != "" {
		_, err = s.objects.Resource(reportsOf).Namespace(ns).Apply(ctx, reportName, report, opts)
	} else {
		_, err = s.objects.Resource(clusterReports).Apply(ctx, reportName, report, opts)
	}
	if err != nil {
		return fmt.Errorf("report of namespace %q: %w", report.GetNamespace(), err)
	}
	return nil
}

// removeReports removes reports of an earlier scan that this one did not write again.
func (s *Scanner) removeReports(ctx context.Context, written map[string]map[State]int) error {
	if s.cfg.Namespace != "" {
		return nil // nothing is known of the others
	}
	list, err := s.objects.Resource(reportsOf).List(ctx, metav1.ListOptions{LabelSelector: managedBy + "=" + manager})
	if err != nil {
		return err
	}
	var errs []error
	for _, old := range list.Items {
		if old.GetName() != reportName || written[old.GetNamespace()] != nil {
			continue
		}
		err := s.objects.Resource(reportsOf).Namespace(old.GetNamespace()).Delete(ctx, reportName, metav1.DeleteOptions{})
		if !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
