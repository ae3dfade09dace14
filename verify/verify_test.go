package verify_test

import (
	"strings"
	"testing"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/verify"
)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newRepository(t *testing.T) (*forge.Forge, *forge.Repository) {
	t.Helper()
	f := must(forge.New(t.TempDir()))(t)
	t.Cleanup(func() { f.Close() })
	return f, must(f.Create(t.Context(), "shop"))(t)
}

// TestFirstListIsEnoughForItsHistory: the list that a history suggests accepts that history.
func TestFirstListIsEnoughForItsHistory(t *testing.T) {
	f, repo := newRepository(t)
	ada := must(f.WithSSHKey(t.Context(), "Ada", "ada@example.org"))(t)
	pia := must(f.WithOpenPGPKey(t.Context(), "Pia", "pia@example.org"))(t)
	web := must(f.WithOpenPGPKey(t.Context(), "GitHub", "noreply@github.com"))(t)
	for _, p := range []*forge.Person{ada, pia, ada, web} {
		must(repo.Commit(t.Context(), p, "change"))(t)
	}
	keys := pia.Signer().OpenPGP + web.Signer().OpenPGP
	text := must(verify.FirstList(t.Context(), repo.Work(), "", []byte(keys)))(t)
	list := must(v1alpha1.ParseSignerList([]byte(text)))(t)
	if len(list.Signers) != 3 || list.Signers[0].Principal != "ada@example.org" {
		t.Fatalf("signers %+v", list.Signers)
	}
	for _, s := range list.Signers {
		if s.Forge != (s.Principal == "noreply@github.com") {
			t.Errorf("%s: a forge: %t", s.Principal, s.Forge)
		}
	}
	spec := v1alpha1.TrustedRepositorySpec{Signers: list.Signers, Rules: []v1alpha1.Rule{{Principals: []string{"ada@example.org", "pia@example.org", "noreply@github.com"}}}}
	report := must(verify.Verify(t.Context(), verify.Options{Name: "shop", Spec: spec, Where: repo.Work()}))(t)
	if report.Good != 3 || report.Refused != 0 || len(report.Signers) != 3 {
		t.Errorf("%+v", report)
	}
}

// TestWhatACommitSaysStaysText: names and subjects come from whoever made the commit, and are printed on somebody's terminal.
func TestWhatACommitSaysStaysText(t *testing.T) {
	f, repo := newRepository(t)
	ada := must(f.WithSSHKey(t.Context(), "Ada", "ada@example.org"))(t)
	must(repo.Commit(t.Context(), ada, "root"))(t)
	must(repo.Commit(t.Context(), forge.WithoutKey("Eve \x1b[2J", "eve@example.org"), "all good \x1b]0;accepted\x07"))(t)
	must(repo.Commit(t.Context(), ada, "all good \x1b[1A\x1b[2K"))(t)
	spec := v1alpha1.TrustedRepositorySpec{Signers: []v1alpha1.Signer{ada.Signer()}}
	report := must(verify.Verify(t.Context(), verify.Options{Spec: spec, Where: repo.Work()}))(t)
	var b strings.Builder
	for _, print := range []func() error{func() error { return report.Table(&b) }, func() error { return report.Summary(&b) }, func() error { return report.JSON(&b) }} {
		if err := print(); err != nil {
			t.Fatal(err)
		}
	}
	if strings.ContainsAny(b.String(), "\x1b\x07") {
		t.Errorf("control characters in %q", b.String())
	}
	if report.Good != 1 || report.Refused != 1 {
		t.Errorf("%d good, %d refused", report.Good, report.Refused)
	}
}

func TestShallowCloneSaysWhereToBegin(t *testing.T) {
	f, repo := newRepository(t)
	ada := must(f.WithSSHKey(t.Context(), "Ada", "ada@example.org"))(t)
	for range 4 {
		must(repo.Commit(t.Context(), ada, "change"))(t)
	}
	if err := repo.Push(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	clone := t.TempDir()
	must(repo.Git(t.Context(), "clone", "--quiet", "--depth=2", repo.URL(), clone))(t)
	o := verify.Options{Spec: v1alpha1.TrustedRepositorySpec{Signers: []v1alpha1.Signer{ada.Signer()}}, Where: clone}
	if _, err := verify.Verify(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--anchor") {
		t.Errorf("error %v", err)
	}
	o.Anchor = "HEAD~1"
	if report := must(verify.Verify(t.Context(), o))(t); report.Good != 1 {
		t.Errorf("%+v", report)
	}
}
