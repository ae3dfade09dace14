package e2e

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/test/lab"
	"github.com/commitgate/commitgate/test/syncagent"
)

// An ApplicationSet in Git, the Applications that applicationset-controller makes of it, and what application-controller applies of those: all of it
// passes, through a life of its own. Whoever has the controller's token gets no further than that.
func TestApplicationSetsWay(t *testing.T) {
	l := startWith(t, lab.Config{Agents: true})
	for _, step := range []struct {
		name string
		play func(t *testing.T)
	}{
		{"made", func(t *testing.T) {
			syncSets(t, l)
			reconcile(t, l)
			if got := liveValue(t, l, "argocd", "application/region-eu", ".metadata.ownerReferences[0].name"); got != "regions" {
				t.Errorf("region-eu belongs to %q", got)
			}
			syncRegion(t, l, "eu")
			syncRegion(t, l, "us")
			if got := liveValue(t, l, "eu", "configmap/region", ".data.name"); got != "eu" {
				t.Errorf("the region is %q", got)
			}
		}},
		{"synced: application-controller writes operation and status, of what it has read", func(t *testing.T) {
			asArgoCD(t, l, `{"metadata":{"annotations":{"argocd.argoproj.io/refresh":null}},"operation":{"sync":{"revision":"main"}},"spec":{"source":{"directory":{"jsonnet":{}}}}}`)
			asArgoCD(t, l, `{"operation":null,"status":{"operationState":{"phase":"Running","operation":{"sync":{"revision":"main"}}},"sync":{"status":"OutOfSync"}}}`)
			asArgoCD(t, l, `{"status":{"operationState":{"phase":"Succeeded"},"sync":{"status":"Synced"},"health":{"status":"Healthy"}}}`)
			reconcile(t, l) // leaves all of that
			if got := liveValue(t, l, "argocd", "application/region-eu", ".status.sync.status"); got != "Synced" {
				t.Errorf("region-eu is %q", got)
			}
		}},
		{"refreshed by a push hook", func(t *testing.T) {
			check(t, l.Regions.Refresh(t.Context()))
			reconcile(t, l)
		}},
		{"changed: another template, a folder more and a folder less", func(t *testing.T) {
			check(t, l.ReplaceIn("argocd/regions.yaml", "value: {{.path.basename}}", "value: of {{.path.basename}}"))
			set, err := l.Repository.Read("argocd/regions.yaml")
			check(t, err)
			region, err := l.Repository.Read("apps/regions/eu/region.yaml")
			check(t, err)
			commit(t, l, "regions", map[string]string{
				"argocd/regions.yaml": set, "apps/regions/us/region.yaml": "", "apps/regions/ap/region.yaml": strings.ReplaceAll(region, "eu", "ap"),
			})
			syncSets(t, l)
			reconcile(t, l)
			if got := liveValue(t, l, "argocd", "application/region-eu", ".spec.info[0].value"); got != "of eu" {
				t.Errorf("the info of region-eu is %q", got)
			}
			syncRegion(t, l, "ap")
			if got := liveValue(t, l, "argocd", "application/region-us", ".metadata.deletionTimestamp"); got == "" {
				t.Fatal("region-us is not deleted")
			}
			// application-controller takes the objects of the Application away, and lets it go.
			for _, object := range []string{"configmap/region", "namespace/us"} {
				_, err := l.Cluster.Kubectl(t.Context(), l.ArgoCDConfig, "", "delete", object, "--namespace=us", "--wait=false")
				check(t, err)
			}
			_, err = l.Cluster.Kubectl(t.Context(), l.ArgoCDConfig, "", "patch", "application/region-us", "--namespace=argocd", "--type=merge", `--patch={"metadata":{"finalizers":null}}`)
			check(t, err)
			gone(t, l, "argocd", "application/region-us")
		}},
		{"attacked", func(t *testing.T) { attackAsSets(t, l) }},
		{"deleted: the Applications go with their set", func(t *testing.T) {
			withoutRegions(t, l)
			syncSets(t, l)
			reconcile(t, l)
			for _, region := range []string{"eu", "ap"} {
				leaving(t, l, "argocd", "application/region-"+region) // by the garbage collector: only then application-controller lets go
				_, err := l.Cluster.Kubectl(t.Context(), l.ArgoCDConfig, "", "patch", "application/region-"+region, "--namespace=argocd", "--type=merge", `--patch={"metadata":{"finalizers":null}}`)
				check(t, err)
				gone(t, l, "argocd", "application/region-"+region)
			}
			gone(t, l, "argocd", "applicationset/regions")
		}},
	} {
		t.Run(step.name, step.play)
		if t.Failed() {
			break // each step begins where the one before ended
		}
	}
	sound(t, l)
}

// A set whose policy forbids it to delete leaves its Applications behind; one with a rolling sync starts their syncs itself.
func TestApplicationSetsThatRollAndThatLeave(t *testing.T) {
	l := startWith(t, lab.Config{Agents: true})
	set, err := l.Repository.Read("argocd/regions.yaml")
	check(t, err)
	set = strings.Replace(set, "  generators:", "  syncPolicy: {applicationsSync: create-update, preserveResourcesOnDeletion: true}\n"+
		"  strategy: {type: RollingSync, rollingSync: {steps: [{matchExpressions: [{key: region, operator: In, values: [eu]}]}]}}\n  generators:", 1)
	commit(t, l, "rolling", map[string]string{"argocd/regions.yaml": set})
	syncSets(t, l)
	reconcile(t, l)
	if got := liveValue(t, l, "argocd", "application/region-eu", ".spec.syncPolicy"); strings.Contains(got, "automated") {
		t.Errorf("region-eu syncs by itself: %s", got)
	}
	if got := liveValue(t, l, "argocd", "application/region-eu", ".metadata.finalizers"); got != "" {
		t.Errorf("the objects of region-eu are preserved, and go with it: %s", got)
	}
	asArgoCD(t, l, `{"status":{"sync":{"status":"OutOfSync"}}}`)
	reconcile(t, l)
	if got := liveValue(t, l, "argocd", "application/region-eu", ".operation.initiatedBy.username"); got != "applicationset-controller" {
		t.Errorf("the sync of region-eu is begun by %q", got)
	}
	asArgoCD(t, l, `{"operation":null,"status":{"operationState":{"phase":"Running"}}}`)
	syncRegion(t, l, "eu")
	withoutRegions(t, l)
	check(t, deleteSet(t, l))
	reconcile(t, l)
	gone(t, l, "argocd", "applicationset/regions")
	if got := liveValue(t, l, "argocd", "application/region-eu", ".metadata.name"); got == "" {
		t.Error("region-eu went with its set")
	}
}

// syncSets syncs the Application that holds ApplicationSets.
func syncSets(t *testing.T, l *lab.Lab) {
	t.Helper()
	_, err := l.Sets.Sync(t.Context())
	check(t, err)
}

// reconcile has applicationset-controller look at its set.
func reconcile(t *testing.T, l *lab.Lab) {
	t.Helper()
	check(t, l.Regions.Reconcile(t.Context()))
}

// withoutRegions drops the set from Git.
func withoutRegions(t *testing.T, l *lab.Lab) {
	t.Helper()
	commit(t, l, "no regions", map[string]string{"argocd/regions.yaml": "", "argocd/README.md": "No ApplicationSets.\n"})
}

// syncRegion syncs one of the generated Applications.
func syncRegion(t *testing.T, l *lab.Lab, region string) {
	t.Helper()
	source := syncagent.Source{URL: l.Repository.URL(), Branch: forge.Branch, Path: "apps/regions/" + region}
	_, err := syncagent.NewArgoCD(l.Cluster, l.ArgoCDConfig, "region-"+region, region, source).Sync(t.Context())
	check(t, err)
}

// asArgoCD patches an Application as application-controller.
func asArgoCD(t *testing.T, l *lab.Lab, patch string) {
	t.Helper()
	_, err := l.Cluster.Kubectl(t.Context(), l.ArgoCDConfig, "", "patch", "application/region-eu", "--namespace=argocd", "--type=merge", "--patch="+patch)
	check(t, err)
}

// deleteSet prunes the set in the background, with the finalizer with which the controller is asked first.
func deleteSet(t *testing.T, l *lab.Lab) error {
	t.Helper()
	_, err := l.Cluster.Kubectl(t.Context(), l.ArgoCDConfig, "", "patch", "applicationset/regions", "--namespace=argocd", "--type=merge",
		`--patch={"metadata":{"finalizers":["resources-finalizer.argocd.argoproj.io"]}}`)
	check(t, err)
	_, err = l.Cluster.Kubectl(t.Context(), l.ArgoCDConfig, "", "delete", "applicationset/regions", "--namespace=argocd", "--wait=false")
	return err
}

// attackAsSets does what somebody does with the token of applicationset-controller.
func attackAsSets(t *testing.T, l *lab.Lab) {
	owner, err := l.Cluster.Kubectl(t.Context(), l.AdminConfig, "", "get", "applicationset/regions", "--namespace=argocd", "--output=jsonpath={.metadata.uid}")
	check(t, err)
	application := func(name, owners string) string {
		return `{"apiVersion":"argoproj.io/v1alpha1","kind":"Application","metadata":{"name":"` + name + `","namespace":"argocd"` + owners +
			`},"spec":{"project":"default","source":{"repoURL":"https://evil.example/x","path":"x"},"destination":{"server":"https://kubernetes.default.svc"}}}`
	}
	owners := `,"ownerReferences":[{"apiVersion":"argoproj.io/v1alpha1","kind":"ApplicationSet","name":"regions","uid":"` + owner + `","controller":true,"blockOwnerDeletion":true}]`
	patch := func(text string) []string {
		return []string{"patch", "application/region-eu", "--namespace=argocd", "--type=merge", "--patch=" + text}
	}
	for name, attack := range map[string]struct {
		stdin string
		args  []string
		words []string
	}{
		"an Application of no set":            {stdin: application("mine", ""), args: []string{"create", "-f", "-"}, words: []string{"NotDeclared"}},
		"one that a set does not generate":    {stdin: application("region-mine", owners), args: []string{"create", "-f", "-"}, words: []string{"NotDeclared"}},
		"another repository":                  {args: patch(`{"spec":{"source":{"repoURL":"https://evil.example/x"}}}`), words: []string{"FieldsDiffer", "spec.source.repoURL"}},
		"another path":                        {args: patch(`{"spec":{"source":{"path":"apps/shop"}}}`), words: []string{"FieldsDiffer", "spec.source.path"}},
		"another destination":                 {args: patch(`{"spec":{"destination":{"namespace":"kube-system"}}}`), words: []string{"FieldsDiffer", "spec.destination.namespace"}},
		"another project":                     {args: patch(`{"spec":{"project":"admin"}}`), words: []string{"FieldsDiffer", "spec.project"}},
		"parameters of its own":               {args: patch(`{"spec":{"source":{"kustomize":{"images":["a=b"]}}}}`), words: []string{"FieldsDiffer", "kustomize"}},
		"a sync of manifests that it brings":  {args: patch(`{"operation":{"sync":{"manifests":["{}"]}}}`), words: []string{"FieldsDiffer", "operation"}},
		"an Application that is generated":    {args: []string{"delete", "application/region-eu", "--namespace=argocd"}, words: []string{"StillDeclared"}},
		"an owner more":                       {args: patch(`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"kube-root-ca.crt","uid":"1"}]}}`), words: []string{"NotDeclared"}},
		"the set itself":                      {args: []string{"patch", "applicationset/regions", "--namespace=argocd", "--type=merge", `--patch={"spec":{"template":{"spec":{"project":"admin"}}}}`}, words: []string{"NotDeclared"}},
		"what an Application applies":         {args: []string{"patch", "configmap/region", "--namespace=eu", "--type=merge", `--patch={"data":{"name":"x"}}`}, words: []string{"NotDeclared"}},
		"what an Application says in Git":     {args: []string{"delete", "configmap/region", "--namespace=eu"}, words: []string{"NotDeclared"}},
		"a finalizer that holds it for ever":  {args: patch(`{"metadata":{"finalizers":["x.example/never"]}}`), words: []string{"FieldsDiffer", "metadata.finalizers"}},
		"its objects orphaned: no finalizers": {args: patch(`{"metadata":{"finalizers":null}}`), words: []string{"FieldsDiffer", "metadata.finalizers"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := l.Cluster.Kubectl(t.Context(), l.ApplicationSetConfig, attack.stdin, attack.args...)
			refused(t, err, attack.words...)
		})
	}
}
