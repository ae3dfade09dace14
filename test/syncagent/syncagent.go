// Package syncagent holds the two sync agents of the tests and the demo. They fetch, apply and prune as Flux's kustomize-controller
// and Argo CD's application-controller do by default, with the programs' own means: Flux's library for server-side apply, and kubectl, which
// Argo CD embeds.
//
// An agent trusts whatever its branch holds. That is the point of a gate behind it.
package syncagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Source is where an agent finds what it applies.
type Source struct {
	URL    string
	Branch string
	Path   string // a folder of plain YAML, read recursively
}

// read clones the branch as it is now and reads the objects below the path, in the order that both agents apply: what others
// need (namespaces, definitions, accounts) first.
func (s Source) read(ctx context.Context) (objects []*unstructured.Unstructured, err error) {
	dir, err := os.MkdirTemp("", "agent-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	clone := exec.CommandContext(ctx, "git", "clone", "--quiet", "--depth=1", "--branch="+s.Branch, s.URL, dir)
	clone.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
	if out, err := clone.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("clone %s: %w: %s", s.URL, err, bytes.TrimSpace(out))
	}
	root := filepath.Join(dir, filepath.FromSlash(s.Path))
	err = filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)) {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		found, err := utils.ReadObjects(bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("%s: %w", strings.TrimPrefix(file, dir+"/"), err)
		}
		objects = append(objects, found...)
		return nil
	})
	sort.Sort(ssa.SortableUnstructureds(objects))
	return objects, err
}

// id is what an agent's inventory remembers of an object: enough to prune it.
type id struct{ apiVersion, kind, namespace, name string }

func idOf(o *unstructured.Unstructured) id {
	return id{o.GetAPIVersion(), o.GetKind(), o.GetNamespace(), o.GetName()}
}

// gone returns those of the inventory that are not among the objects, and an inventory of the objects.
func gone(inventory []id, objects []*unstructured.Unstructured) (prune []*unstructured.Unstructured, now []id) {
	for _, o := range objects {
		now = append(now, idOf(o))
	}
	for _, old := range inventory {
		if slices.Contains(now, old) {
			continue
		}
		o := &unstructured.Unstructured{}
		o.SetAPIVersion(old.apiVersion)
		o.SetKind(old.kind)
		o.SetNamespace(old.namespace)
		o.SetName(old.name)
		prune = append(prune, o)
	}
	return prune, now
}
