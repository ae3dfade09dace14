package blame_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/account"
	"github.com/commitgate/commitgate/admit"
	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/blame"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/manifest"
	"github.com/commitgate/commitgate/scan"
	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/track"
)

func ok[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := yaml.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

const head = "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: shop}\n"

// A value is its commit's, whichever file it stands in and however Git spells it; a commit in between that did not render does not hide what came
// before it; the values of a Secret are compared and not shown.
func TestObject(t *testing.T) {
	ctx := t.Context()
	f := ok[*forge.Forge](t)(forge.New(t.TempDir()))
	defer f.Close()
	alice := ok[*forge.Person](t)(f.WithSSHKey(ctx, "Alice", "alice@example.com"))
	repo := ok[*forge.Repository](t)(f.Create(ctx, "shop"))
	publish := func(message string, files map[string]string) git.ID {
		t.Helper()
		return ok[git.ID](t)(repo.Publish(ctx, alice, message, files))
	}
	first := publish("a", map[string]string{"apps/key.yaml": head + "stringData: {a: one}\n"})
	second := publish("b", map[string]string{"apps/key.yaml": head + "stringData: {a: one, b: two}\n"})
	publish("broken", map[string]string{"apps/other.yaml": "}"})
	publish("mended", map[string]string{"apps/other.yaml": ""})
	moved := publish("moved, and c", map[string]string{"apps/key.yaml": "", "apps/keys/key.yaml": head + "stringData: {a: one, b: two, c: three}\n"})

	cfg := v1alpha1.Config{
		Gate: v1alpha1.Gate{Spec: v1alpha1.GateSpec{
			Roots:  []v1alpha1.Root{{Repository: "shop", Path: "apps"}},
			Agents: []v1alpha1.Agent{{Name: "ci", Preset: v1alpha1.PresetPipeline, Users: []string{"ci"}}},
		}},
		Repositories: []v1alpha1.TrustedRepository{{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: v1alpha1.TrustedRepositorySpec{
			URL: repo.URL(), Branch: forge.Branch, Anchor: v1alpha1.Anchor{Commit: string(first)}, Signers: []v1alpha1.Signer{alice.Signer()},
		}}},
	}
	past := ok[*track.Past](t)(track.OpenPast(ctx, track.AtConfig{Gate: cfg.Gate.Spec, Repositories: cfg.Repositories, Paths: map[string]string{"shop": repo.Work()}, Engine: manifest.InProcess{}}))
	defer past.Close()
	judge := &scan.Judge{Gate: admit.New(&cfg, ok[*account.Types](t)(account.NewTypes(nil))), Truth: past.Truth().Current}

	r := ok[*blame.Report](t)(blame.Object(ctx, past, judge, object(t, head+"type: Opaque\ndata: {a: b25l, b: b3RoZXI=, c: dGhyZWU=}\n")))
	if r.State != scan.Drifted {
		t.Errorf("it is %s: %s", r.State, r.Why)
	}
	fields := make(map[string]blame.Field)
	for _, f := range r.Fields {
		fields[f.Path] = f
	}
	for path, want := range map[string]git.ID{"data[a]": first, "data[c]": moved, "metadata.name": first} {
		got := fields[path]
		if got.Why != account.Declared || got.Version.Commit == nil || got.Version.Commit.ID != want {
			t.Errorf("%s is %q of %+v, want %s", path, got.Why, got.Version.Commit, want)
		}
		if got.Version.Anchor != (want == first) {
			t.Errorf("%s: anchor %v", path, got.Version.Anchor)
		}
	}
	if b := fields["data[b]"]; b.Why != "" || !b.Changed || b.Version.Commit.ID != second || !b.Secret || b.Value != nil || b.Declared != nil {
		t.Errorf("data[b], which %s set and somebody changed, is %+v", second, b)
	}
	for path, f := range fields {
		if f.Secret != (len(path) > 4 && path[:4] == "data") || f.Secret && f.Value != nil {
			t.Errorf("%s is shown: %v", path, f.Value)
		}
	}

	r = ok[*blame.Report](t)(blame.Object(ctx, past, judge, object(t, head+"type: Opaque\ndata: {a: b25l, c: dGhyZWU=}\n")))
	missing := false
	for _, f := range r.Fields {
		if f.Missing && f.Path == "data[b]" {
			missing = f.Version.Commit != nil && f.Version.Commit.ID == second
		}
	}
	if !missing {
		t.Errorf("data[b], which %s declared, is not said to be missing: %+v", second, r.Fields)
	}
}
