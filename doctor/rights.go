package doctor

import (
	"context"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/restmapper"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/status"
)

// featureReading is what every gate needs, whatever is configured.
const featureReading = "reading"

// always are the rights of every gate: who owns what.
func always() []status.Need {
	var out []status.Need
	for _, r := range []string{"/namespaces", "/pods", "/replicationcontrollers", "/services", "apps/controllerrevisions", "apps/daemonsets", "apps/deployments", "apps/replicasets",
		"apps/statefulsets", "batch/cronjobs", "batch/jobs", "apiextensions.k8s.io/customresourcedefinitions", "commitgate.dev/grants"} {
		group, resource, _ := strings.Cut(r, "/")
		out = append(out, status.Need{Feature: featureReading, Verbs: []string{"list", "watch"}, Group: group, Resource: resource})
	}
	return out
}

// remedy is what to do where the rights for a feature are not there.
func remedy(feature string) string {
	switch feature {
	case status.FeatureScan:
		return "set scan.interval in the chart, or apply config/scan: its ClusterRole and Role commitgate-scan go with serve --scan-interval"
	case status.FeatureRepair:
		return "set registration.repair in the chart, or apply config/repair: its ClusterRole and Role commitgate-repair go with serve --repair"
	case status.FeatureDryRuns:
		return "name these in dryRunRules of the chart, or give the gate a ClusterRole to create and patch them: commitgate-own-identity holds it to dry-runs"
	case status.FeaturePolicies:
		return "name these in policyInventory of the chart, or give the gate a ClusterRole to list and watch them; until then such policies refuse what they are asked about"
	}
	return "install the ClusterRole and the Role commitgate again (chart, or config/rbac)"
}

// required are the rights of every gate, and those that the replicas say their configuration takes, each once.
func required(replicas []Replica) []status.Need {
	out := always()
	for _, r := range replicas {
		if r.Report == nil {
			continue
		}
		for _, n := range r.Report.Needs {
			if !slices.ContainsFunc(out, func(x status.Need) bool {
				return x.Feature == n.Feature && x.What() == n.What() && slices.Equal(x.Verbs, n.Verbs)
			}) {
				out = append(out, n)
			}
		}
	}
	return out
}

// rights asks whether the gate may do what is configured, as the API server's authorizer sees it.
func (d *Doctor) rights(ctx context.Context, replicas []Replica, f *findings) {
	user := "system:serviceaccount:" + d.cfg.Namespace + ":commitgate"
	var features []string
	lacks := map[string][]string{}
	resources := d.plurals()
	for _, n := range required(replicas) {
		if !slices.Contains(features, n.Feature) {
			features = append(features, n.Feature)
		}
		if n.Resource == "" {
			if n.Resource = resources[schema.GroupKind{Group: n.Group, Kind: n.Kind}]; n.Resource == "" {
				f.unknown("", "the API server does not say what %s is called", n.What())
				continue
			}
		}
		for _, verb := range n.Verbs {
			may, err := d.may(ctx, user, verb, n)
			if err != nil {
				f.unknown("ask as somebody who may create SubjectAccessReviews", "%v", err)
				return
			}
			if !may {
				lacks[n.Feature] = append(lacks[n.Feature], verb+" "+n.What())
			}
		}
	}
	for _, feature := range features {
		if len(lacks[feature]) > 0 {
			f.broken(remedy(feature), "for %s, %s may not %s", feature, user, strings.Join(lacks[feature], ", "))
		}
	}
	if len(f.list) == 0 {
		f.ok("%s may do what it needs to, for %s", user, strings.Join(features, ", "))
	}
	if !slices.ContainsFunc(replicas, func(r Replica) bool { return r.Report != nil }) {
		f.unknown("make the replicas answer first", "no replica said what its configuration takes beside that")
	}
}

// may asks whether a user has a right.
func (d *Doctor) may(ctx context.Context, user, verb string, n status.Need) (bool, error) {
	review, err := d.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + d.cfg.Namespace, "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: n.Group, Resource: n.Resource, Subresource: n.Subresource, Namespace: n.Namespace, Name: n.Name},
	}}, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return review.Status.Allowed, nil
}

// plurals are the resources of the cluster's kinds, as far as it tells: an aggregated API that does not answer hides only its own.
func (d *Doctor) plurals() map[schema.GroupKind]string {
	out := map[schema.GroupKind]string{}
	groups, _ := restmapper.GetAPIGroupResources(d.client.Discovery())
	for _, g := range groups {
		for _, resources := range g.VersionedResources {
			for _, r := range resources {
				if !strings.Contains(r.Name, "/") {
					out[schema.GroupKind{Group: g.Group.Name, Kind: r.Kind}] = r.Name
				}
			}
		}
	}
	return out
}

// rotationAccount is the service account, and the CronJob, that replaces the own authority.
const rotationAccount = "commitgate-certificates"

// rotation asks whether somebody replaces the own authority before it ends, and may.
func (d *Doctor) rotation(ctx context.Context, replicas []Replica, f *findings) {
	const do = "set certificates.rotation in the chart, or apply config/certificates; or run commitgate certificates rotate in the last year"
	own := slices.ContainsFunc(replicas, func(r Replica) bool {
		return r.Report != nil && slices.ContainsFunc(r.Report.Certificates, func(c status.Certificate) bool { return c.Name == "authority" })
	})
	if !own {
		return
	}
	job, err := d.client.BatchV1().CronJobs(d.cfg.Namespace).Get(ctx, rotationAccount, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		f.warn(do, "no CronJob %s: nobody replaces the authority when its end comes near", rotationAccount)
		return
	case err != nil:
		f.unknown("", "CronJob %s: %v", rotationAccount, err)
		return
	case job.Spec.Suspend != nil && *job.Spec.Suspend:
		f.warn("kubectl --namespace "+d.cfg.Namespace+" patch cronjob "+rotationAccount+` --patch '{"spec": {"suspend": false}}'`, "the CronJob %s is suspended", rotationAccount)
	case late(job):
		f.broken("kubectl --namespace "+d.cfg.Namespace+" get jobs,pods; kubectl logs of the last", "the CronJob %s has not succeeded for days", rotationAccount)
	}
	user := "system:serviceaccount:" + d.cfg.Namespace + ":" + rotationAccount
	for _, n := range []status.Need{
		{Verbs: []string{"get", "update"}, Resource: "secrets", Namespace: d.cfg.Namespace, Name: v1alpha1.AuthoritySecret},
		{Verbs: []string{"get", "update"}, Group: "admissionregistration.k8s.io", Resource: "validatingwebhookconfigurations", Name: d.cfg.Webhook},
	} {
		for _, verb := range n.Verbs {
			may, err := d.may(ctx, user, verb, n)
			if err != nil {
				f.unknown("ask as somebody who may create SubjectAccessReviews", "%v", err)
				return
			}
			if !may {
				f.broken(do, "%s may not %s %s", user, verb, n.What())
			}
		}
	}
	if len(f.list) == 0 {
		f.ok("the CronJob %s runs at %s, and may do it", rotationAccount, job.Spec.Schedule)
	}
}

// overdue is how long a job that runs every day may fail: a night or two without a node for it is no reason to be called.
const overdue = 3 * 24 * time.Hour

// late tells whether a CronJob was last started long after it last succeeded.
func late(job *batchv1.CronJob) bool {
	last, started := job.CreationTimestamp.Time, job.Status.LastScheduleTime
	if t := job.Status.LastSuccessfulTime; t != nil {
		last = t.Time
	}
	return started != nil && started.Time.Sub(last) > overdue
}
