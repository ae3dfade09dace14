package manifest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/signing"
)

// libraryOf is a repository "apps" with a base at an old commit and at its newest, beside which somebody pushed one that nobody verified.
func libraryOf(t *testing.T) (old, tip, unverified revision) {
	lib := newRepo(t)
	old = lib.commit(`
-- README.md --
bases
-- web/kustomization.yaml --
resources: [deployment.yaml, ../common]
configMapGenerator: [{name: web, files: [settings.ini]}]
-- web/settings.ini --
color = blue
-- web/deployment.yaml --
# the base
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, envFrom: [{configMapRef: {name: web}}]}]}
-- common/kustomization.yaml --
resources: [account.yaml]
-- common/account.yaml --
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
-- plain/c.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: plain, namespace: shop}
data: {a: old}
`)
	tip = lib.commit("-- web/settings.ini --\ncolor = red\n-- plain/c.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain, namespace: shop}\ndata: {a: new}\n")
	unverified = lib.commit("-- web/settings.ini --\ncolor = black\n")
	return old, tip, unverified
}

// withLine is an Input that knows which commits were verified.
func withLine(in Input) Input {
	in.Pinned = func(_ context.Context, repository string, commit git.ID) (signing.Verified, error) {
		return signing.Verified{}, fmt.Errorf("commit %s %w of branch main", commit.Short(), signing.ErrNotOnLine)
	}
	return in
}

func overlayOf(base string) string {
	return "-- apps/kustomization.yaml --\nnamespace: shop\nnamePrefix: eu-\nresources:\n- local.yaml\n- " + base + "\nreplicas: [{name: web, count: 3}]\n" +
		"-- apps/local.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: local}\n"
}

// TestRemoteBasesArePinned: a base of another trusted repository comes from what was verified there, at the commit that is named.
func TestRemoteBasesArePinned(t *testing.T) {
	old, tip, _ := libraryOf(t)
	main := newRepo(t)
	vendored := overlayOf("../base/web") + "-- base/web/kustomization.yaml --\nresources: [deployment.yaml, ../common]\nconfigMapGenerator: [{name: web, files: [settings.ini]}]\n" +
		"-- base/web/settings.ini --\ncolor = COLOR\n-- base/web/deployment.yaml --\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n" +
		"    spec: {containers: [{name: web, image: web, envFrom: [{configMapRef: {name: web}}]}]}\n" +
		"-- base/common/kustomization.yaml --\nresources: [account.yaml]\n-- base/common/account.yaml --\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n"
	for form, url := range map[string]string{
		"https":             "https://git.example.com/org/apps//web?ref=",
		"https, with .git":  "https://git.example.com/org/apps.git//web?ref=",
		"ssh":               "ssh://git@git.example.com/org/apps//web?ref=",
		"as git spells ssh": "git@git.example.com:org/apps//web?ref=",
		"with a timeout":    "https://git.example.com/org/apps//web?timeout=120&ref=",
	} {
		for color, at := range map[string]revision{"blue": old, "red": tip} {
			t.Run(form+" "+color, func(t *testing.T) {
				in := withLine(gate(t, kustomizationRoot("", "")))
				revisions := map[string]revision{"infra": main.commit(overlayOf(url + string(at.commit))), "apps": tip, pinnedName("apps", old.commit): old}
				set, err := render(t.Context(), in, revisions)
				check(t, err)
				want, err := render(t.Context(), gate(t, kustomizationRoot("", "")), map[string]revision{"infra": newRepo(t).commit(strings.Replace(vendored, "COLOR", color, 1))})
				check(t, err)
				if len(set.Objects) != len(want.Objects) || len(set.Objects) != 4 {
					t.Fatalf("%d objects, want %d", len(set.Objects), len(want.Objects))
				}
				for i, o := range set.Objects {
					if have, want := specText([]any{o.Content}), specText([]any{want.Objects[i].Content}); have != want {
						t.Errorf("%s\nwant %s", have, want)
					}
				}
				deployment := set.Objects[3]
				if got, want := deployment.Source.String(), "infra:apps/kustomization.yaml"; got != want {
					t.Errorf("%s comes from %s, want %s", deployment.Key, got, want)
				}
				if got, want := deployment.Source.Base.String(), "apps@"+at.commit.Short()+":web/deployment.yaml:2"; got != want {
					t.Errorf("%s comes from %s, want %s", deployment.Key, got, want)
				}
				if inputs := fmt.Sprint(deployment.Source.Inputs); strings.Contains(inputs, mountPoint) || !strings.Contains(inputs, "apps/kustomization.yaml") {
					t.Errorf("inputs %s", inputs)
				}
				in.Previous = set
				revisions["infra"] = main.commit("-- other.yaml --\n# a change elsewhere\n")
				again, err := render(t.Context(), in, revisions)
				check(t, err)
				if again.Objects[3] != deployment {
					t.Error("it was rendered again though nothing of it changed")
				}
			})
		}
	}
}

func TestRemoteBasesThatAreRefused(t *testing.T) {
	old, tip, unverified := libraryOf(t)
	nested := newRepo(t).commit("-- web/kustomization.yaml --\nresources: [\"https://git.example.com/evil/base?ref=" + string(old.commit) + "\"]\n")
	tests := map[string]struct {
		base, want string
	}{
		"a branch":                       {"https://git.example.com/org/apps//web?ref=main", `"main" can move: pin the base to a commit of repository apps, as ?ref= and its full hash`},
		"a short hash":                   {"https://git.example.com/org/apps//web?ref=" + string(old.commit[:12]), `"` + string(old.commit[:12]) + `" can move: pin the base to a commit of repository apps, as ?ref= and its full hash`},
		"no ref":                         {"https://git.example.com/org/apps//web", `"" can move: pin the base to a commit of repository apps, as ?ref= and its full hash`},
		"a commit that nobody verified":  {"https://git.example.com/org/apps//web?ref=" + string(unverified.commit), "repository apps: commit " + unverified.commit.Short() + " is not on the verified line of branch main"},
		"a repository that is not ours":  {"https://git.example.com/evil/base//web?ref=" + string(old.commit), "https://git.example.com/evil/base is not the URL or an alias of a trusted repository, and nothing is fetched from elsewhere: trust it, or copy the base here"},
		"a folder that steps out of one": {"https://git.example.com/org/apps//../web?ref=" + string(old.commit), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			revisions := map[string]revision{"infra": newRepo(t).commit(overlayOf(test.base)), "apps": tip, pinnedName("apps", old.commit): old}
			set, err := render(t.Context(), withLine(gate(t, kustomizationRoot("", ""))), revisions)
			if err == nil || set != nil {
				t.Fatalf("rendered:\n%s", lines(set))
			}
			if want := "infra:apps/kustomization.yaml:5: " + test.base + ": " + test.want; test.want != "" && err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
	t.Run("a base that names another", func(t *testing.T) {
		base := "https://git.example.com/org/apps//web?ref=" + string(nested.commit)
		_, err := render(t.Context(), withLine(gate(t, kustomizationRoot("", ""))), map[string]revision{"infra": newRepo(t).commit(overlayOf(base)), "apps": nested})
		if want := "apps@" + nested.commit.Short() + ":web/kustomization.yaml:1: https://git.example.com/evil/base"; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

// TestSourcesAtACommit: agents' objects may name a commit instead of the branch. It must have been verified.
func TestSourcesAtACommit(t *testing.T) {
	old, tip, unverified := libraryOf(t)
	agents := map[string]func(commit string) string{
		"Flux": func(commit string) string {
			return `
  - agent: flux
    objects:
    - apiVersion: source.toolkit.fluxcd.io/v1
      kind: GitRepository
      metadata: {name: apps, namespace: flux-system}
      spec: {url: "https://git.example.com/org/apps", ref: {branch: main, commit: "` + commit + `"}}
    - apiVersion: kustomize.toolkit.fluxcd.io/v1
      kind: Kustomization
      metadata: {name: plain, namespace: flux-system}
      spec: {path: plain, sourceRef: {kind: GitRepository, name: apps}}`
		},
		"Argo CD": func(commit string) string {
			return `
  - agent: argocd
    objects:
    - apiVersion: argoproj.io/v1alpha1
      kind: Application
      metadata: {name: plain, namespace: argocd}
      spec:
        destination: {server: "https://kubernetes.default.svc", namespace: shop}
        source: {repoURL: "https://git.example.com/org/apps", path: plain, targetRevision: "` + commit + `"}`
		},
	}
	for name, root := range agents {
		t.Run(name, func(t *testing.T) {
			revisions := map[string]revision{"infra": newRepo(t).commit("-- README --\nx\n"), "apps": tip, pinnedName("apps", old.commit): old}
			for want, at := range map[string]revision{"old": old, "new": tip} {
				set, err := render(t.Context(), withLine(gate(t, root(string(at.commit)))), revisions)
				check(t, err)
				o := set.Objects[0]
				if o.Content.Text("data", "a") != want || o.Source.Repository != "apps" || o.Source.Commit != at.commit || o.Source.String() != "apps@"+at.commit.Short()+":plain/c.yaml:1" {
					t.Errorf("%s: %v from %s", want, o.Content.JSON(), o.Source)
				}
			}
			_, err := render(t.Context(), withLine(gate(t, root(string(unverified.commit)))), revisions)
			if err == nil || !strings.Contains(err.Error(), "commit "+unverified.commit.Short()+" is not on the verified line of branch main") {
				t.Errorf("a commit that nobody verified: %v", err)
			}
		})
	}
}
