// Package syncagent holds the sync agents of the tests and the demo. They fetch, apply and prune as Flux's kustomize-controller and helm-controller,
// Argo CD's application-controller and Config Sync's reconciler do, with the programs' own means: Flux's library for server-side apply, Helm's, and
// kubectl, which Argo CD embeds.
//
// An agent trusts whatever its branch holds. That is the point of a gate behind it.
package syncagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/fluxcd/pkg/ssa"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// Source is where an agent finds what it applies.
type Source struct {
	URL    string
	Branch string
	Path   string // a folder of plain YAML, read recursively
}

// newClient is controller-runtime's client, as the agents have it. That library wants to be told where to log before half a minute is over, or complains with
// a stack: here nobody reads it.
func newClient(config *rest.Config, options client.Options) (client.Client, error) {
	ctrllog.SetLogger(logr.Discard())
	return client.New(config, options)
}

// clone fetches the branch as it is now into a new folder, which the caller removes.
func (s Source) clone(ctx context.Context) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "agent-"); err != nil {
		return "", err
	}
	clone := exec.CommandContext(ctx, "git", "clone", "--quiet", "--depth=1", "--branch="+s.Branch, s.URL, dir)
	clone.Env = gitEnvironment()
	if out, err := clone.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("clone %s: %w: %s", s.URL, err, bytes.TrimSpace(out)), os.RemoveAll(dir))
	}
	return dir, nil
}

func gitEnvironment() []string {
	return append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
}

// manifest is a file with its objects.
type manifest struct {
	name    string // below the path of the source
	objects []*unstructured.Unstructured
}

// files reads the manifests below the path as the branch is now, and the commit that it is at.
func (s Source) files(ctx context.Context) (commit string, files []manifest, err error) {
	dir, err := s.clone(ctx)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	head := exec.CommandContext(ctx, "git", "-C", dir, "rev-parse", "HEAD")
	head.Env = gitEnvironment()
	id, err := head.Output()
	if err != nil {
		return "", nil, err
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
		found, err := objectsIn(data)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.TrimPrefix(file, dir+"/"), err)
		}
		files = append(files, manifest{strings.TrimPrefix(file, root+"/"), found})
		return nil
	})
	return strings.TrimSpace(string(id)), files, err
}

// objectsIn reads the objects of a file, those without a name of their own too.
func objectsIn(data []byte) (objects []*unstructured.Unstructured, err error) {
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
		o := &unstructured.Unstructured{}
		switch err := d.Decode(o); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, err
		case len(o.Object) > 0:
			objects = append(objects, o)
		}
	}
}

// read reads the objects below the path, in the order in which Flux and Argo CD apply: what others need (namespaces, definitions, accounts) first.
func (s Source) read(ctx context.Context) (objects []*unstructured.Unstructured, err error) {
	_, files, err := s.files(ctx)
	for _, f := range files {
		objects = append(objects, f.objects...)
	}
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
