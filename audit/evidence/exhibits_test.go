package evidence

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/audit"
	"github.com/commitgate/commitgate/audit/exhibit"
	"github.com/commitgate/commitgate/audit/seal"
	"github.com/commitgate/commitgate/git"
)

// judges are the documents by which the changes of a test were judged.
type judges struct{ trust, alone, both, branch, policies, rego string }

// keepJudges puts them beside a log.
func keepJudges(t *testing.T, dir string) judges {
	t.Helper()
	s, err := exhibit.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	put := func(content string) string {
		digest, err := s.Put([]byte(content), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	rego := "package commitgate.images\n"
	sum := sha256.Sum256([]byte(rego))
	return judges{
		trust: put(`{"Spec":{}}`), alone: put("alice@example.org ssh-ed25519 AAAA\n"), both: put("alice@example.org ssh-ed25519 AAAA\nbob@example.org ssh-ed25519 BBBB\n"),
		branch: put("alice@example.org ssh-ed25519 AAAA\n# bob on his branch\nbob@example.org ssh-ed25519 BBBB\n"), rego: put(rego), policies: put(fmt.Sprintf(`[{"Path":"images.rego","Sum":%q}]`, hex.EncodeToString(sum[:]))),
	}
}

const (
	commitA = git.ID("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	commitB = git.ID("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
	commitC = git.ID("cccccccccccccccccccccccccccccccccccccccc")
)

// judgedLog is a log in which alice lets bob in, bob changes something, and mallory is refused.
func judgedLog(t *testing.T) (*writer, judges) {
	t.Helper()
	w := newWriter(t, "gate-0")
	w.write(t, "shop", 1)
	j := keepJudges(t, w.dir)
	origin := func(commit git.ID, list, next string) *audit.Origin {
		return &audit.Origin{Repository: "shop", Branch: "main", Revision: commit, Commit: commit, SignerList: list, NextSignerList: next, Trust: j.trust}
	}
	merge := origin(commitB, j.both, j.both) // of a branch that has another list
	merge.MergedSignerLists = []string{j.branch}
	event := &audit.Event{Message: "as it went"}
	set := &audit.Policy{Digest: j.policies}
	w.append(t,
		audit.Record{Type: audit.TypeSigners, Origin: origin(commitA, j.alone, j.both), Event: event},
		audit.Record{Type: audit.TypePolicies, Policy: set, Event: event},
		audit.Record{Type: audit.TypePublished, Origin: origin(commitA, j.alone, j.both), Policy: set, Event: event},
		audit.Record{Type: audit.TypePublished, Origin: merge, Policy: set, Event: event},
		audit.Record{
			Type: audit.TypeDecision, Actor: &audit.Actor{Username: "flux", Role: "agent"}, Policy: set,
			Request:  &audit.Request{Operation: "UPDATE", Kind: "Deployment", Group: "apps", Namespace: "shop", Name: "cart"},
			Decision: &audit.Decision{Outcome: "allow", Verdict: "allow", Mode: "Enforce", Reason: "Declared"},
			Origin:   &audit.Origin{Repository: "shop", Branch: "main", Revision: commitB, Commit: commitB, SignerList: j.both},
		},
		audit.Record{Type: audit.TypeRefused, Event: event, Origin: &audit.Origin{Repository: "shop", Branch: "main", Revision: commitC, SignerList: j.both, Trust: j.trust}},
	)
	return w, j
}

// An auditor asks for each commit who could have signed it at that time, and by which policies a change was judged.
func TestAnArchiveSaysByWhatCommitsWereJudged(t *testing.T) {
	w, j := judgedLog(t)
	r := verify(t, pack(t, audit.Filter{}, w.dir), w.verifiers)
	if len(r.Problems) > 0 || !r.Complete || r.Exhibits != 6 {
		t.Fatalf("%d exhibits, complete %t, problems %v", r.Exhibits, r.Complete, r.Problems)
	}
	want := []Judged{
		{Repository: "shop", Commit: commitA, SignerList: j.alone, Trust: j.trust, Published: true},
		{Repository: "shop", Commit: commitB, SignerList: j.both, Merged: []string{j.branch}, Trust: j.trust, Published: true, Changes: 1},
		{Repository: "shop", Commit: commitC, SignerList: j.both, Trust: j.trust, Refused: true},
	}
	if len(r.Judged) != len(want) {
		t.Fatalf("judged: %+v", r.Judged)
	}
	for i, have := range r.Judged {
		if have.Record = 0; !reflect.DeepEqual(have, want[i]) {
			t.Errorf("judged: %+v, want %+v", have, want[i])
		}
	}
	r = verify(t, pack(t, audit.Filter{Kind: "Deployment", Name: "cart"}, w.dir), w.verifiers)
	if len(r.Problems) > 0 || r.Exhibits != 3 { // the list, the policies and their one file
		t.Errorf("of one object: %d exhibits, problems %v", r.Exhibits, r.Problems)
	}
}

// Whoever packs the archive would like another list of signers, or other policies, to have judged.
func TestForgedExhibits(t *testing.T) {
	w, j := judgedLog(t)
	path := pack(t, audit.Filter{}, w.dir)
	file := func(digest string) string { return exhibitsFolder + strings.TrimPrefix(digest, "sha256:") }
	for name, c := range map[string]struct {
		change func(files map[string][]byte)
		want   string
	}{
		"mallory was on the list":      {func(f map[string][]byte) { f[file(j.both)] = append(f[file(j.both)], "mallory x\n"...) }, "not what its name says"},
		"who could on the branch":      {func(f map[string][]byte) { delete(f, file(j.branch)) }, "missing"},
		"nobody knows who could sign":  {func(f map[string][]byte) { delete(f, file(j.alone)) }, "missing"},
		"the policies are gone":        {func(f map[string][]byte) { delete(f, file(j.policies)) }, "missing"},
		"a policy is gone":             {func(f map[string][]byte) { delete(f, file(j.rego)) }, "missing"},
		"a policy forbade less":        {func(f map[string][]byte) { f[file(j.rego)] = []byte("package commitgate.nothing\n") }, "not what its name says"},
		"a list that nobody judged by": {func(f map[string][]byte) { f[exhibitsFolder+strings.Repeat("0", 64)] = []byte("mallory") }, "no record names it"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := rewrite(t, path, c.change, true)
			r := verify(t, bad, w.verifiers)
			if len(r.Problems) == 0 || !strings.Contains(r.Problems[0].String(), c.want) {
				t.Errorf("problems: %v, want %q", r.Problems, c.want)
			}
			if out, err := byHand(t, bad, w.vkey); err == nil && c.want != "no record names it" {
				t.Errorf("by hand it is sound: %s", out)
			}
		})
	}
}

func TestWhatWasNotKeptIsMissingFromTheArchive(t *testing.T) {
	w, j := judgedLog(t)
	name, _ := exhibit.Name(j.alone)
	if err := os.Remove(filepath.Join(w.dir, exhibit.Folder, name)); err != nil {
		t.Fatal(err)
	}
	m, err := Write(t.Context(), io.Discard, []string{w.dir}, Options{})
	if err != nil || len(m.Missing) != 1 || m.Missing[0] != j.alone {
		t.Errorf("missing %v, %v", m.Missing, err)
	}
	r := verify(t, pack(t, audit.Filter{}, w.dir), w.verifiers)
	if len(r.Problems) != 1 || r.Complete {
		t.Errorf("complete %t, problems %v", r.Complete, r.Problems)
	}
	if err := os.WriteFile(filepath.Join(w.dir, exhibit.Folder, name), []byte("mallory"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), io.Discard, []string{w.dir}, Options{}); err == nil {
		t.Error("an archive was made with an exhibit that is not what its name says")
	}
}

// ofLog verifies a log, or a part of it, with its exhibits.
func ofLog(t *testing.T, path string, w *writer) ExhibitReport {
	t.Helper()
	x, err := OfLog(path)
	if err != nil {
		t.Fatal(err)
	}
	if report, _, err := seal.Verify(path, seal.Options{Verifiers: w.verifiers, Watch: x.Watch}); err != nil || len(report.Problems) > 0 {
		t.Fatalf("%v, %v", report.Problems, err)
	}
	return x.Check()
}

// Somebody with access to the disk cannot change the records, and would like another list of signers to have judged.
func TestTheExhibitsOfALog(t *testing.T) {
	w, j := judgedLog(t)
	shards, err := filepath.Glob(filepath.Join(w.dir, "2*"))
	if err != nil || len(shards) != 1 {
		t.Fatal(shards, err)
	}
	segments, err := audit.Segments(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	archived := verify(t, pack(t, audit.Filter{}, w.dir), w.verifiers)
	for name, path := range map[string]string{"the log": w.dir, "its shard": shards[0], "its shard, with a slash": shards[0] + "/"} {
		if r := ofLog(t, path, w); len(r.Problems) > 0 || len(r.Notes) > 0 || r.Exhibits != 6 || !reflect.DeepEqual(r.Judged, archived.Judged) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	file := func(digest string) string {
		name, _ := exhibit.Name(digest)
		return filepath.Join(w.dir, exhibit.Folder, name)
	}
	for name, c := range map[string]struct {
		digest  string
		content string // "" removes it
		want    error
	}{
		"mallory was on the list":     {j.both, "alice@example.org ssh-ed25519 AAAA\nmallory@example.org ssh-ed25519 MMMM\n", exhibit.ErrAltered},
		"nobody knows who could sign": {j.alone, "", exhibit.ErrNotThere},
		"who could on the branch":     {j.branch, "", exhibit.ErrNotThere},
		"the policies are gone":       {j.policies, "", exhibit.ErrNotThere},
		"a policy is gone":            {j.rego, "", exhibit.ErrNotThere},
		"a policy forbade less":       {j.rego, "package commitgate.nothing\n", exhibit.ErrAltered},
		"other rules were configured": {j.trust, `{"Spec":{"rules":[]}}`, exhibit.ErrAltered},
	} {
		was, err := os.ReadFile(file(c.digest))
		if err != nil {
			t.Fatal(err)
		}
		if c.content != "" {
			err = os.WriteFile(file(c.digest), []byte(c.content), 0o600)
		} else {
			err = os.Remove(file(c.digest))
		}
		if err != nil {
			t.Fatal(err)
		}
		r := ofLog(t, w.dir, w)
		if len(r.Problems) != 1 || r.Problems[0].Seq == 0 || !strings.Contains(r.Problems[0].What, c.want.Error()) {
			t.Errorf("%s: problems %v", name, r.Problems)
		}
		if err := os.WriteFile(file(c.digest), was, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(w.dir, exhibit.Folder), filepath.Join(w.dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if r := ofLog(t, w.dir, w); len(r.Problems) != 5 { // the files of policies are not known then
		t.Errorf("a log without exhibits: %v", r.Problems)
	}
	noted := 0
	for _, s := range segments {
		r := ofLog(t, s.Path, w)
		if noted += len(r.Notes); len(r.Problems) > 0 || len(r.Judged) > 0 && len(r.Notes) == 0 {
			t.Errorf("%s by itself: %+v", s.Path, r)
		}
	}
	if r := ofLog(t, shards[0], w); noted == 0 || len(r.Problems) > 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "were not checked") {
		t.Errorf("%d segments named something; the shard by itself: %+v", noted, r)
	}
}

// byHand runs the program that VERIFY.md tells an auditor to run who does not want ours.
func byHand(t *testing.T, path, vkey string) (string, error) {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "archive"), z); err != nil {
		t.Fatal(err)
	}
	instructions, err := os.ReadFile(filepath.Join(dir, "archive", readmeName))
	if err != nil {
		t.Fatal(err)
	}
	_, program, ok := strings.Cut(string(instructions), "```python\n")
	program, _, end := strings.Cut(program, "```")
	if !ok || !end {
		t.Fatal("VERIFY.md holds no program")
	}
	script, key := filepath.Join(dir, "verify.py"), filepath.Join(dir, "key.pub")
	for file, content := range map[string]string{script: program, key: vkey + "\n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "python3", script, filepath.Join(dir, "archive"), key).CombinedOutput()
	return string(out), err
}

func TestAnAuditorWithoutOurProgram(t *testing.T) {
	for _, program := range []string{"python3", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	w, j := judgedLog(t)
	middle := w.write(t, "bank", 20)
	for name, f := range map[string]audit.Filter{"everything": {}, "a namespace, the rest hidden": {Namespace: "bank"}, "a period": {From: middle}} {
		out, err := byHand(t, pack(t, f, w.dir), w.vkey)
		if err != nil || !strings.Contains(out, "sound: ") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if name == "everything" && !strings.Contains(out, "revision.published "+string(commitA)+" judged by "+j.alone+" and "+j.trust) {
			t.Errorf("it is not said by what the commit was judged:\n%s", out)
		}
	}
	path := pack(t, audit.Filter{}, w.dir)
	if out, err := byHand(t, path, newWriter(t, "gate-1").vkey); err == nil {
		t.Errorf("by another key it is sound: %s", out)
	}
	bad := rewrite(t, path, func(f map[string][]byte) {
		for name := range f {
			if strings.HasSuffix(name, "/"+recordsName) {
				f[name] = []byte(strings.Replace(string(f[name]), `"flux"`, `"root"`, 1))
			}
		}
	}, true)
	if out, err := byHand(t, bad, w.vkey); err == nil || !strings.Contains(out, "not what was signed") {
		t.Errorf("a changed record: %v %s", err, out)
	}
}
