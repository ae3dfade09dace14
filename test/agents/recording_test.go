package agents

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/test/recorder"
)

// recording is a stage in front of which stands a recorder instead of a gate, with a node that pods run on, on paper.
type recording struct {
	*stage
	*recorder.Recorder
	scenarios    []string
	committer    *forge.Person
	bootstrapped []string // documents of agents' objects made outside Git
}

func record(s *stage, r *recorder.Recorder) *recording {
	s.t.Helper()
	rec := &recording{stage: s, Recorder: r, committer: forge.WithoutKey("Dana Doe", "dana@shop.example")}
	s.t.Cleanup(r.Close)
	check(s.t, r.Start(s.t.Context(), s.Cluster.Admin()))
	node, err := s.Cluster.StartNode(s.t.Context(), s.t.Logf)
	check(s.t, err)
	s.t.Cleanup(node.Stop)
	return rec
}

func (r *recording) scenario(name string) {
	r.scenarios = append(r.scenarios, name)
	r.Scenario(name)
}

// publish has somebody commit files, unsigned, in the place of all that was there.
func (r *recording) publish(message string, files map[string]string) git.ID {
	r.t.Helper()
	entries, err := os.ReadDir(r.Repository.Work())
	check(r.t, err)
	for _, e := range entries {
		if e.Name() != ".git" {
			check(r.t, os.RemoveAll(filepath.Join(r.Repository.Work(), e.Name())))
		}
	}
	for path, text := range files {
		check(r.t, r.Repository.Write(path, text))
	}
	id, err := r.Repository.Commit(r.t.Context(), r.committer, message)
	check(r.t, err)
	r.Commit(id, message)
	check(r.t, r.Repository.Push(r.t.Context(), false))
	return id
}

// does has somebody run kubectl; whether it succeeds is not the point.
func (r *recording) does(people recorder.People, kubeconfig, stdin string, args ...string) {
	r.t.Helper()
	r.Step("kubectl "+strings.Join(args, " "), people)
	out, err := r.Cluster.Kubectl(r.t.Context(), kubeconfig, stdin, args...)
	if err != nil {
		r.t.Logf("%s%v", out, err)
	}
}

// judge plays the recordings back, as somebody would who has the files only.
func (r *recording) judge(config string) {
	r.t.Helper()
	dir := r.t.TempDir()
	if keep := os.Getenv("RECORDINGS"); keep != "" {
		dir = keep
	}
	bundle := filepath.Join(dir, r.t.Name()+".bundle")
	_, err := r.Repository.Git(r.t.Context(), "bundle", "create", "--quiet", bundle, forge.Branch)
	check(r.t, err)
	documents := config + "\n---\n" + strings.ReplaceAll(strings.Join(r.bootstrapped, "\n---\n"), "%", "%%")
	check(r.t, os.WriteFile(filepath.Join(dir, r.t.Name()+".yaml"), []byte(documents), 0o600))
	var table strings.Builder
	fmt.Fprintf(&table, "%-34s %-10s %8s %8s %8s\n", "scenario", "scope", "reviews", "refused", "allowed")
	began := time.Now()
	for _, scenario := range r.scenarios {
		file := filepath.Join(dir, scenario+".jsonl.gz")
		check(r.t, recorder.Write(file, r.Recording(scenario)))
		lines, err := recorder.Read(file)
		check(r.t, err)
		for _, scope := range []v1alpha1.Scope{v1alpha1.ScopeDeclared, v1alpha1.ScopeEverything} {
			verdicts, err := recorder.Playback{Config: documents, Bundle: bundle, Scope: scope}.Judge(r.t.Context(), lines)
			if err != nil {
				r.t.Errorf("%s: %v", scenario, err)
				continue
			}
			refused, allowed := 0, 0
			said := map[string]int{}
			for _, v := range verdicts {
				if !v.Wrong() {
					continue
				}
				if v.Expect == "allow" {
					refused++
				} else {
					allowed++
				}
				// What controllers ask at the same time reaches a recording in any order: test/controllers is where they are judged.
				fail := r.t.Errorf
				if strings.HasPrefix(v.Class, "controller") {
					fail = r.t.Logf
				}
				text := fmt.Sprintf("%s (%s): in step %q %s %s/%s %s/%s by %s: %s %s, want %s\n  %s", scenario, scope, v.Step, v.Operation, v.Resource, v.Subresource, v.Namespace, v.Name, v.User, v.Result.Verdict, v.Reason, v.Expect, v.Message)
				if said[text]++; said[text] == 1 {
					fail("%s", text)
				}
			}
			fmt.Fprintf(&table, "%-34s %-10s %8d %8d %8d\n", scenario, scope, len(verdicts), refused, allowed)
		}
	}
	r.t.Logf("wrong answers, of reviews (judged in %v):\n%s", time.Since(began).Round(time.Millisecond), table.String())
}

// shop are the files of the repository that was recorded for test/corpus, at one of its commits, once for each way of applying: fx stands for the way.
type shop struct {
	t    *testing.T
	work string
}

func openShop(t *testing.T, r *recording) *shop {
	t.Helper()
	s := &shop{t, filepath.Join(t.TempDir(), "shop")}
	bundle, err := filepath.Abs("../corpus/flux.bundle")
	check(t, err)
	_, err = r.Repository.Git(t.Context(), "clone", "--quiet", "--branch=main", bundle, s.work)
	check(t, err)
	return s
}

// at is the tree of a commit, with the names of the way in the place of fx.
func (s *shop) at(r *recording, commit string, ways ...string) map[string]string {
	s.t.Helper()
	_, err := r.Repository.Git(s.t.Context(), "-C", s.work, "checkout", "--quiet", commit)
	check(s.t, err)
	files := map[string]string{}
	check(s.t, filepath.WalkDir(s.work, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && d.Name() == ".git" {
				return fs.SkipDir
			}
			return err
		}
		text, err := os.ReadFile(path)
		inside, _ := filepath.Rel(s.work, path)
		for _, way := range ways {
			files[filepath.Join(way, inside)] = strings.NewReplacer("fx-", way+"-", "fx.example", way+".example").Replace(string(text))
		}
		return err
	}))
	return files
}

func edited(files map[string]string, changes map[string]func(string) string) map[string]string {
	for path, change := range changes {
		before := files[path]
		if files[path] = change(before); files[path] == "" {
			delete(files, path)
		}
	}
	return files
}
