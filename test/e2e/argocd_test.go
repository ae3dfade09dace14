package e2e

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/test/lab"
)

// What application-controller does by itself or because an object says so, each against the gate: all of it passes, with its own client's requests.
func TestArgoCDsOptions(t *testing.T) {
	l := start(t)
	const folder = "apps/payments/"
	sync := func(t *testing.T, message string, files map[string]string) {
		t.Helper()
		commit(t, l, message, files)
		_, err := l.ArgoCD.Sync(t.Context())
		check(t, err)
	}
	uid := func(t *testing.T, object string) string { return liveValue(t, l, "payments", object, ".metadata.uid") }
	sync(t, "begin", map[string]string{folder + "role.yaml": role("reader", "get"), folder + "binding.yaml": roleBinding("reader", "devs"),
		folder + "rates.yaml": ratesOf("16", "Replace=true,Force=true"), folder + "job.yaml": jobOf("1", `argocd.argoproj.io/sync-options: "Force=true,Validate=false"`)})

	for _, step := range []struct {
		name string
		play func(t *testing.T)
	}{
		{"a permission more: kubectl auth reconcile goes first", func(t *testing.T) {
			sync(t, "list", map[string]string{folder + "role.yaml": role("reader", "get, list"), folder + "binding.yaml": roleBinding("reader", "ops")})
			if got := liveValue(t, l, "payments", "role/reader", ".rules"); strings.Count(got, "verbs") != 1 || !strings.Contains(got, "list") {
				t.Errorf("the rules are %s", got)
			}
			if got := liveValue(t, l, "payments", "rolebinding/reader", ".subjects[*].name"); got != "ops" {
				t.Errorf("the subjects are %s", got)
			}
		}},
		{"another role: the binding is made anew", func(t *testing.T) {
			before := uid(t, "rolebinding/reader")
			sync(t, "writer", map[string]string{folder + "writer.yaml": role("writer", "get"), folder + "binding.yaml": roleBinding("writer", "ops")})
			if now := uid(t, "rolebinding/reader"); now == before || now == "" {
				t.Errorf("the binding is %q, and was %q", now, before)
			}
		}},
		{"Replace and Force: deleted and made anew", func(t *testing.T) {
			before := uid(t, "configmap/rates")
			sync(t, "rates", map[string]string{folder + "rates.yaml": ratesOf("19", "Replace=true,Force=true")})
			if now := uid(t, "configmap/rates"); now == before || liveValue(t, l, "payments", "configmap/rates", ".data.vat") != "19" {
				t.Errorf("the rates are %q, and were %q", now, before)
			}
		}},
		{"replaced no more: applied on the client's side", func(t *testing.T) {
			sync(t, "rates, applied", map[string]string{folder + "rates.yaml": ratesOf("7", "Validate=false")})
		}},
		{"Force: what no apply changes is made anew", func(t *testing.T) {
			before := uid(t, "job/import")
			sync(t, "import", map[string]string{folder + "job.yaml": jobOf("2", `argocd.argoproj.io/sync-options: "Force=true,Validate=false"`)})
			if now := uid(t, "job/import"); now == before || now == "" {
				t.Errorf("the Job is %q, and was %q", now, before)
			}
		}},
		{"hooks, one of them with a generated name", func(t *testing.T) {
			sync(t, "hooks", map[string]string{
				folder + "before.yaml": hookOf("name: before", "PreSync", "BeforeHookCreation"),
				folder + "report.yaml": hookOf("generateName: report-", "PostSync", "HookFailed"),
				folder + "failed.yaml": hookOf("name: failed", "SyncFail", "HookSucceeded"),
				folder + "last.yaml":   hookOf("name: last", "PostDelete", "HookSucceeded"),
			})
			if got := liveValue(t, l, "payments", "configmaps", ".items[*].metadata.name"); !strings.Contains(got, "report-0123456-postsync-") || !strings.Contains(got, "before") {
				t.Errorf("the hooks are among %s", got)
			}
		}},
		{"back to Git: what drifted before is healed", func(t *testing.T) {
			_, err := l.ArgoCD.Sync(t.Context())
			check(t, err)
		}},
		{"on the server's side from now on, with a migration", func(t *testing.T) {
			l.ArgoCD.ServerSide, l.ArgoCD.Migrate = true, true
			annotation := `argocd.argoproj.io/sync-options: "ServerSideApply=true"`
			sync(t, "on the server's side", map[string]string{folder + "rates.yaml": ratesOf("8", "ServerSideApply=true"), folder + "job.yaml": jobOf("2", annotation)})
			l.ArgoCD.ServerSide, l.ArgoCD.Migrate = false, false
		}},
		{"pruned, and what it made is orphaned", func(t *testing.T) {
			l.ArgoCD.Cascade = "orphan"
			sync(t, "no import", map[string]string{folder + "job.yaml": "", folder + "rates.yaml": ""})
			gone(t, l, "payments", "job/import")
			gone(t, l, "payments", "configmap/rates")
		}},
		{"pruned in the background", func(t *testing.T) {
			l.ArgoCD.Cascade = "background"
			sync(t, "no roles", map[string]string{folder + "role.yaml": "", folder + "writer.yaml": "", folder + "binding.yaml": ""})
			gone(t, l, "payments", "rolebinding/reader")
		}},
	} {
		t.Run(step.name, step.play)
		if t.Failed() {
			break // each step begins where the one before ended
		}
	}
	t.Run("with the controller's token, more than that is refused", func(t *testing.T) { attackAsArgoCD(t, l, sync) })
	sound(t, l)
}

// attackAsArgoCD does in the manner of the options what Git does not say.
func attackAsArgoCD(t *testing.T, l *lab.Lab, sync func(*testing.T, string, map[string]string)) {
	// Another content than before: the gate fetches for it, and does not go by the commit that dropped the role.
	const verbs = "get, watch"
	sync(t, "again", map[string]string{"apps/payments/role.yaml": role("reader", verbs), "apps/payments/binding.yaml": roleBinding("reader", "devs")})
	patch := func(object, patch string) []string {
		return []string{"patch", object, "--namespace=payments", "--type=json", "--patch=" + patch}
	}
	for name, attack := range map[string]struct {
		stdin string
		args  []string
		words string
	}{
		"a permission, added":            {args: patch("role/reader", `[{"op":"add","path":"/rules/-","value":{"apiGroups":[""],"resources":["pods"],"verbs":["delete"]}}]`), words: "FieldsDiffer"},
		"a subject, added":               {args: patch("rolebinding/reader", `[{"op":"add","path":"/subjects/-","value":{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"mallory"}}]`), words: "FieldsDiffer"},
		"a binding of the declared role": {args: []string{"delete", "rolebinding/reader", "--namespace=payments"}, words: "StillDeclared"},
		"a hook of its own":              {stdin: hookOf("name: mine, namespace: payments", "Sync", "HookSucceeded"), args: []string{"create", "-f", "-"}, words: "NotDeclared"},
		"another content of a hook":      {stdin: strings.Replace(hookOf("name: last, namespace: payments", "PostDelete", "HookSucceeded"), "a: b", "a: c", 1), args: []string{"create", "-f", "-"}, words: "FieldsDiffer"},
		"a replacement by force":         {stdin: role("reader", verbs), args: []string{"replace", "--force", "-f", "-"}, words: "StillDeclared"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := l.Cluster.Kubectl(t.Context(), l.ArgoCDConfig, attack.stdin, attack.args...)
			refused(t, err, attack.words)
		})
	}
}

func role(name, verbs string) string {
	return "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: " + name + ", namespace: payments}\nrules: [{apiGroups: [''], resources: [pods, services], verbs: [" + verbs + "]}]\n"
}

func roleBinding(role, group string) string {
	return "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: reader, namespace: payments}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: " + role + "}\n" +
		"subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: " + group + "}]\n"
}

func ratesOf(vat, options string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: rates, namespace: payments, annotations: {argocd.argoproj.io/sync-options: \"" + options + "\"}}\ndata: {vat: \"" + vat + "\"}\n"
}

func jobOf(version, annotation string) string {
	return "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: import\n  namespace: payments\n  annotations:\n    " + annotation +
		"\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{name: import, image: \"registry.example/import:" + version + "\"}]\n"
}

func hookOf(name, hook, policy string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {" + name + ", annotations: {argocd.argoproj.io/hook: " + hook + ", argocd.argoproj.io/hook-delete-policy: " + policy + "}}\ndata: {a: b}\n"
}
