package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/commitgate/commitgate/git"
)

// kustomizationNames are the names by which kustomize knows its file, in its order.
var kustomizationNames = [...]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// tree is the verified tree of a repository.
func (r *renderer) tree(repository string) (fs.FS, error) {
	v, ok := r.revisions[repository]
	if !ok {
		return nil, fmt.Errorf("repository %s: no verified commit to render", repository)
	}
	return v.tree, nil
}

// input remembers that a build depends on a file or folder, and returns its object id, "" if there is none.
func (r *renderer) input(b *Build, f file) (git.ID, error) {
	id, err := r.fileID(f)
	if err != nil {
		return "", fmt.Errorf("%s:%s: %w", f.repository, f.path, err)
	}
	b.inputs[f] = id
	return id, nil
}

// readFile parses a file, unless the build before has it. What is wrong with it is noted as a problem, but if the rules are lenient only where it
// looks like a manifest.
func (r *renderer) readFile(b *Build, f file, rules folderRules) ([]*document, error) {
	id, err := r.fileID(f)
	if err != nil {
		return nil, fmt.Errorf("%s:%s: %w", f.repository, f.path, err)
	}
	if old := r.previous[b.id]; old != nil {
		if p := old.files[f]; p != nil && p.id == id {
			b.files[f] = p
			return p.docs, nil
		}
	}
	if p := r.ahead.parsed[b.id][f]; p != nil && p.id == id {
		b.files[f] = p
		return p.docs, r.count(f, p.size)
	}
	data, err := r.readBytes(f)
	if err != nil {
		return nil, err
	}
	docs, err := parse(f.path, data, rules.dialect)
	var syntax *syntaxError
	if errors.As(err, &syntax) {
		if rules.lenient && !looksLikeManifest(data) {
			b.files[f] = &parsed{id, nil, len(data)}
			return nil, nil
		}
		r.problem(Source{Repository: f.repository, Path: f.path, Line: syntax.line}, "%s", syntax.what)
		return nil, errReported
	}
	b.files[f] = &parsed{id, docs, len(data)}
	return docs, err
}

// looksLikeManifest is how Argo CD tells a broken manifest from a file that is something else.
func looksLikeManifest(data []byte) bool {
	for _, field := range []string{"apiVersion:", "kind:", "metadata:"} {
		if !bytes.Contains(data, []byte(field)) {
			return false
		}
	}
	return true
}

// readBytes reads a file within the limits.
func (r *renderer) readBytes(f file) ([]byte, error) {
	if err := r.stop(); err != nil {
		return nil, err
	}
	tree, err := r.tree(f.repository)
	if err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(tree, string(f.path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.repository, err)
	}
	return data, r.count(f, len(data))
}

// count counts a file that is read anew against the limits.
func (r *renderer) count(f file, size int) error {
	r.filesRead++
	r.bytesRead += int64(size)
	switch {
	case int64(size) > r.limits.FileSize:
		r.problem(Source{Repository: f.repository, Path: f.path}, "larger than %d bytes", r.limits.FileSize)
		return errReported
	case r.filesRead > r.limits.Files:
		return fmt.Errorf("%w: more than %d files", ErrLimit, r.limits.Files)
	case r.bytesRead > r.limits.Bytes:
		return fmt.Errorf("%w: more than %d bytes of files", ErrLimit, r.limits.Bytes)
	}
	return nil
}

// folderRules are how an agent reads a folder of manifests.
type folderRules struct {
	recurse      bool
	extensions   []string
	dialect      dialect
	kustomize    bool                                        // a folder below with a kustomization is built by it
	lenient      bool                                        // files and documents that are no objects are left out, not refused
	followsLinks bool                                        // the agent would follow symbolic links, so that leaving them out would be wrong
	refused      string                                      // an extension of files that the agent would evaluate
	skip         func(p git.Path, folder bool) (bool, error) // left out; nil: nothing is
}

// readFolder reads a folder of manifests.
func (r *renderer) readFolder(b *Build, dir file, rules folderRules) error {
	tree, err := r.tree(dir.repository)
	if err != nil {
		return err
	}
	failed := false
	err = fs.WalkDir(tree, string(dir.path), func(name string, entry fs.DirEntry, err error) error {
		at := file{dir.repository, git.Path(name)}
		if err != nil {
			return fmt.Errorf("%s: %w", dir.repository, err)
		}
		skip, err := r.readEntry(b, dir, at, entry, rules)
		if errors.Is(err, errReported) || errors.Is(err, errAhead) {
			failed, err = true, nil // go on: all problems, or all jobs, at once
		}
		if err == nil && skip {
			err = fs.SkipDir
		}
		return err
	})
	if err == nil && failed {
		err = errReported
	}
	return err
}

// readEntry reads what stands at one path of a folder; skip: what lies below is not to be read.
func (r *renderer) readEntry(b *Build, dir, at file, entry fs.DirEntry, rules folderRules) (skip bool, err error) {
	if at != dir && rules.skip != nil {
		if skip, err := rules.skip(at.path, entry.IsDir()); err != nil || skip {
			return entry.IsDir(), err
		}
	}
	if entry.IsDir() {
		switch {
		case at == dir:
			return false, nil
		case !rules.recurse:
			return true, nil
		case rules.kustomize:
			has, err := r.hasKustomization(at)
			if err == nil && has {
				err = r.kustomize(b, at)
			}
			return has, err
		}
		return false, nil
	}
	ext := path.Ext(string(at.path))
	if rules.refused != "" && ext == rules.refused {
		b.unfollows = append(b.unfollows, Problem{at.repository, at.path, 0, "a program that is not run here: what it makes is not declared"})
	}
	if !slices.Contains(rules.extensions, ext) {
		return false, nil
	}
	if !entry.Type().IsRegular() {
		if rules.followsLinks {
			r.problem(Source{Repository: at.repository, Path: at.path}, "a symbolic link or submodule, which is not followed: put the file here")
			return false, errReported
		}
		return false, nil
	}
	docs, err := r.readFile(b, at, rules)
	for _, doc := range docs {
		if rules.lenient && (doc.content.Text("kind") == "" || doc.content.Text("apiVersion") == "") {
			continue
		}
		b.documents = append(b.documents, doc)
	}
	return false, err
}

// hasKustomization tells whether kustomize would build a folder.
func (r *renderer) hasKustomization(dir file) (bool, error) {
	for _, name := range kustomizationNames {
		id, err := r.fileID(file{dir.repository, join(dir.path, name)})
		if err != nil {
			return false, fmt.Errorf("%s:%s: %w", dir.repository, dir.path, err)
		}
		if id != "" {
			return true, nil
		}
	}
	return false, nil
}

func join(dir git.Path, name string) git.Path { return git.Path(path.Join(string(dir), name)) }
