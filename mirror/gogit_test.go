package mirror_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/commitgate/commitgate/git"
	"github.com/commitgate/commitgate/mirror"
)

// TestAgainstGoGit reads the same repositories with go-git: the same commits byte for byte, the same trees, the same differences. Two readers of a format
// that share no code are each other's proof.
func TestAgainstGoGit(t *testing.T) {
	for name, pack := range map[string]func(w *work){
		"loose objects":            func(*work) {},
		"one pack of deep deltas":  func(w *work) { w.git("repack", "-adfq", "--depth=50", "--window=50") },
		"a pack and loose objects": func(w *work) { w.git("repack", "-dq"); history(w, 5, 99) },
		"packed refs, several packs": func(w *work) {
			w.git("repack", "-dq")
			history(w, 5, 98)
			w.git("repack", "-dq")
			w.git("pack-refs", "--all")
		},
		"a multi-pack index, bitmaps": func(w *work) {
			w.git("repack", "-dq")
			history(w, 5, 97)
			w.git("repack", "-dq")
			w.git("multi-pack-index", "write")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWork(t)
			history(w, 40, 1)
			pack(w)
			sameAsGoGit(t, w)
		})
	}
}

// history makes commits of files that are added, changed, made executable, moved and removed, with merges among them.
func history(w *work, n int, seed uint64) {
	r := rand.New(rand.NewPCG(seed, seed))
	for i := range n {
		files := make(map[string]string)
		for range 1 + r.IntN(4) {
			lines := make([]string, 1+r.IntN(60))
			for j := range lines {
				lines[j] = fmt.Sprintf("line %d: %d", j, r.IntN(3))
			}
			files[fmt.Sprintf("d%d/e%d/f%d.yaml", r.IntN(4), r.IntN(3), r.IntN(5))] = strings.Join(lines, "\n")
		}
		w.commit(fmt.Sprintf("change %d of %d", i, seed), files)
		switch names := strings.Fields(w.git("ls-files")); i % 7 {
		case 3:
			w.git("rm", "--quiet", names[r.IntN(len(names))])
		case 4:
			w.git("update-index", "--chmod=+x", names[r.IntN(len(names))])
		case 5:
			w.git("mv", names[r.IntN(len(names))], fmt.Sprintf("moved-%d-%d", seed, i))
		case 6:
			w.git("checkout", "--quiet", "-b", "side", "HEAD~1")
			w.commit("aside", map[string]string{fmt.Sprintf("side-%d-%d", seed, i): "x"})
			w.git("checkout", "--quiet", "main")
			w.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
			w.git("branch", "--quiet", "-D", "side")
		}
		w.git("commit", "--quiet", "--allow-empty", "-m", "and more")
	}
}

func sameAsGoGit(t *testing.T, w *work) {
	t.Helper()
	ctx := t.Context()
	theirs, err := gogit.PlainOpen(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := mirror.OpenRepository(ctx, w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	head, err := theirs.Head()
	if err != nil {
		t.Fatal(err)
	}
	if id, err := ours.Branch("main"); err != nil || string(id) != head.Hash().String() {
		t.Fatalf("main is at %s (%v), go-git says %s", id, err, head.Hash())
	}
	commits, err := theirs.Log(&gogit.LogOptions{From: head.Hash()})
	if err != nil {
		t.Fatal(err)
	}
	err = commits.ForEach(func(c *object.Commit) error {
		sameCommit(t, theirs, ours, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sameCommit(t *testing.T, theirs *gogit.Repository, ours *mirror.Repository, c *object.Commit) {
	t.Helper()
	ctx := t.Context()
	raw, err := ours.Commit(ctx, git.ID(c.Hash.String()))
	if err != nil {
		t.Fatal(err)
	}
	o, err := theirs.Storer.EncodedObject(plumbing.CommitObject, c.Hash)
	if err != nil {
		t.Fatal(err)
	}
	if want := read(t, o.Reader); !bytes.Equal(raw, want) {
		t.Fatalf("commit %s is %q, go-git says %q", c.Hash, raw, want)
	}
	tree, err := c.Tree()
	if err != nil {
		t.Fatal(err)
	}
	mine, err := ours.Tree(ctx, git.ID(c.TreeHash.String()))
	if err != nil {
		t.Fatal(err)
	}
	var before *object.Tree
	from := git.ID("")
	if parent, err := c.Parent(0); err == nil {
		if before, err = parent.Tree(); err != nil {
			t.Fatal(err)
		}
		from = git.ID(parent.TreeHash.String())
	}
	changes, err := object.DiffTree(before, tree)
	if err != nil {
		t.Fatal(err)
	}
	var want []git.Path
	for _, change := range changes {
		for _, name := range []string{change.From.Name, change.To.Name} {
			if name != "" {
				want = append(want, git.Path(name))
			}
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	got, err := ours.Changed(ctx, from, git.ID(c.TreeHash.String()))
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%s changed %q (%v), go-git says %q", c.Hash, got, err, want)
	}
	for _, name := range got {
		file, err := tree.File(string(name))
		if err != nil {
			continue // it was removed
		}
		f, err := mine.Open(string(name))
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		if want := read(t, file.Reader); !bytes.Equal(content, want) {
			t.Fatalf("%s of %s differs from what go-git reads", name, c.Hash)
		}
		if id, err := mine.ID(name); err != nil || string(id) != file.Hash.String() {
			t.Fatalf("%s of %s is object %s (%v), go-git says %s", name, c.Hash, id, err, file.Hash)
		}
	}
}

func read(t *testing.T, open func() (io.ReadCloser, error)) []byte {
	t.Helper()
	r, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// BenchmarkReadHistory reads every commit and what it changed, with this package and with go-git.
func BenchmarkReadHistory(b *testing.B) {
	w := newWork(b)
	history(w, 60, 1)
	w.git("repack", "-adfq", "--depth=50", "--window=50")
	head := w.git("rev-parse", "HEAD")
	b.Run("mirror", func(b *testing.B) {
		for b.Loop() {
			r, err := mirror.OpenRepository(b.Context(), w.dir)
			if err != nil {
				b.Fatal(err)
			}
			for id := git.ID(head); id != ""; {
				id = step(b, r, id)
			}
			if err := r.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("go-git", func(b *testing.B) {
		for b.Loop() {
			r, err := gogit.PlainOpen(w.dir)
			if err != nil {
				b.Fatal(err)
			}
			c, err := r.CommitObject(plumbing.NewHash(head))
			for err == nil {
				tree, err2 := c.Tree()
				if err2 != nil {
					b.Fatal(err2)
				}
				parent, err2 := c.Parent(0)
				if err2 != nil {
					break
				}
				before, err2 := parent.Tree()
				if err2 != nil {
					b.Fatal(err2)
				}
				if _, err2 = object.DiffTree(before, tree); err2 != nil {
					b.Fatal(err2)
				}
				c = parent
			}
		}
	})
}

// step reads a commit, compares it with its first parent and returns that.
func step(b *testing.B, r *mirror.Repository, id git.ID) git.ID {
	commit := func(id git.ID) *git.Commit {
		raw, err := r.Commit(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		c, err := git.ParseCommit(id, raw)
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	c := commit(id)
	if len(c.Parents) == 0 {
		return ""
	}
	if _, err := r.Changed(b.Context(), commit(c.Parents[0]).Tree, c.Tree); err != nil {
		b.Fatal(err)
	}
	return c.Parents[0]
}
