package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/test/forge"
)

// TestMain lets scripts run this program: `commitgate` in a script is a process of its own. No test finds the cluster that its machine is of, or knows.
func TestMain(m *testing.M) {
	for _, name := range []string{"KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"} {
		os.Unsetenv(name)
	}
	if len(os.Args) == 2 && os.Args[1] == renderWorker { // for the commands that tests run in their own process
		main()
	}
	testscript.Main(m, map[string]func(){"commitgate": main})
}

// TestScenarios plays the scripts: those of whole stories, and those of single commands. Their words, beside testscript's own, are
// the methods of world.
func TestScenarios(t *testing.T) {
	for _, dir := range []string{"../../test/scenarios", "testdata"} {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			testscript.Run(t, testscript.Params{Dir: dir, Setup: newWorld, Cmds: words(), RequireExplicitExec: true, RequireUniqueNames: true})
		})
	}
}

// world is what a scenario plays in: a Git host, people with keys, repositories.
type world struct {
	forge        *forge.Forge
	people       map[string]*forge.Person
	repositories map[string]*forge.Repository
	asked        int
}

type worldKey struct{}

func newWorld(env *testscript.Env) error {
	dir := filepath.Join(env.WorkDir, ".forge")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := forge.New(dir)
	if err != nil {
		return err
	}
	env.Defer(func() {
		if err := f.Close(); err != nil {
			env.T().Log(err)
		}
	})
	env.Values[worldKey{}] = &world{forge: f, people: map[string]*forge.Person{}, repositories: map[string]*forge.Repository{}}
	env.Setenv("GIT_CONFIG_GLOBAL", "/dev/null")
	env.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	return nil
}

func words() map[string]func(*testscript.TestScript, bool, []string) {
	word := func(do func(*world, *testscript.TestScript, []string) error) func(*testscript.TestScript, bool, []string) {
		return func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("this word knows no !")
			}
			ts.Check(do(ts.Value(worldKey{}).(*world), ts, args))
		}
	}
	return map[string]func(*testscript.TestScript, bool, []string){
		"people":     word((*world).meet),
		"repository": word((*world).create),
		"publish":    word((*world).publish),
		"rewind":     word((*world).rewind),
		"expand":     word((*world).expand),
		"ask":        word((*world).ask),
		"record":     word((*world).record),
		"gate":       word((*world).gate),
		"log":        word((*world).log),
		"damage":     word((*world).damage),
	}
}

// meet is `people NAME:ssh NAME:openpgp NAME:none`: each gets a key, and $NAME is the person as a signer of a configuration.
func (w *world) meet(ts *testscript.TestScript, args []string) error {
	for _, arg := range args {
		name, kind, _ := strings.Cut(arg, ":")
		title, email := strings.ToUpper(name[:1])+name[1:], name+"@example.org"
		var p *forge.Person
		var err error
		switch kind {
		case "ssh":
			p, err = w.forge.WithSSHKey(context.Background(), title, email)
		case "openpgp":
			p, err = w.forge.WithOpenPGPKey(context.Background(), title, email)
		case "none":
			p = forge.WithoutKey(title, email)
		default:
			err = errors.New("want NAME:ssh, NAME:openpgp or NAME:none")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
		w.people[name] = p
		signer, err := json.Marshal(p.Signer())
		if err != nil {
			return err
		}
		ts.Setenv(strings.ToUpper(name), string(signer))
	}
	return nil
}

// create is `repository NAME`: $NAME_URL is where it is served, $NAME_DIR its working copy.
func (w *world) create(ts *testscript.TestScript, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: repository NAME")
	}
	r, err := w.forge.Create(context.Background(), args[0])
	if err != nil {
		return err
	}
	w.repositories[args[0]] = r
	ts.Setenv(strings.ToUpper(args[0])+"_URL", r.URL())
	ts.Setenv(strings.ToUpper(args[0])+"_DIR", r.Work())
	return nil
}

func (w *world) repository(name string) (*forge.Repository, error) {
	if r := w.repositories[name]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("no repository %q", name)
}

// publish is `publish REPOSITORY PERSON VARIABLE MESSAGE [DIR]`: what DIR holds is copied over the working copy, committed, signed if the person has
// a key, and pushed; $VARIABLE is the commit.
func (w *world) publish(ts *testscript.TestScript, args []string) error {
	if len(args) < 4 || len(args) > 5 {
		return errors.New("usage: publish REPOSITORY PERSON VARIABLE MESSAGE [DIR]")
	}
	r, err := w.repository(args[0])
	if err != nil {
		return err
	}
	person := w.people[args[1]]
	if person == nil {
		return fmt.Errorf("nobody is called %q", args[1])
	}
	if len(args) == 5 {
		if err := os.CopyFS(r.Work(), overwriting(ts.MkAbs(args[4]), r.Work())); err != nil {
			return err
		}
	}
	id, err := r.Commit(context.Background(), person, strings.ReplaceAll(args[3], `\n`, "\n"))
	if err != nil {
		return err
	}
	ts.Setenv(args[2], string(id))
	return r.Push(context.Background(), false)
}

// overwriting removes from target what the folder is about to bring: os.CopyFS replaces no file.
func overwriting(folder, target string) fs.FS {
	tree := os.DirFS(folder)
	_ = fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			_ = os.Remove(filepath.Join(target, path)) // it may not be there
		}
		return err
	})
	return tree
}

// rewind is `rewind REPOSITORY COMMIT`: a force-push back to a commit.
func (w *world) rewind(_ *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: rewind REPOSITORY COMMIT")
	}
	r, err := w.repository(args[0])
	if err != nil {
		return err
	}
	if _, err := r.Git(context.Background(), "reset", "--quiet", "--hard", args[1]); err != nil {
		return err
	}
	return r.Push(context.Background(), true)
}

// expand is `expand FILE...`: $VARIABLES in these files are replaced.
func (w *world) expand(ts *testscript.TestScript, args []string) error {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		if err := os.WriteFile(ts.MkAbs(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// ask is `ask [-user NAME] [-group NAME] [-pod NAMESPACE/NAME] [-sub SUBRESOURCE] [-resource PLURAL] [-old FILE] [-dry-run] [-to FILE] OPERATION FILE`: it appends the AdmissionReview that
// an API server would send about the object in FILE (YAML, taken as the server holds it) to reviews.jsonl.
func (w *world) ask(ts *testscript.TestScript, args []string) error {
	set := flag.NewFlagSet("ask", flag.ContinueOnError)
	user := set.String("user", "alice@example.org", "")
	group := set.String("group", "", "")
	pod := set.String("pod", "", "")
	sub := set.String("sub", "", "")
	resource := set.String("resource", "", "")
	old := set.String("old", "", "")
	dry := set.Bool("dry-run", false, "")
	to := set.String("to", "reviews.jsonl", "")
	if err := set.Parse(args); err != nil {
		return err
	}
	if set.NArg() != 2 {
		return errors.New("usage: ask [flags] OPERATION FILE")
	}
	object, err := readObject(ts, set.Arg(1))
	if err != nil {
		return err
	}
	w.asked++
	gvk, gvr := typeOf(object, *resource)
	meta, _ := object["metadata"].(map[string]any)
	info := map[string]any{"username": *user}
	if *group != "" {
		info["groups"] = []string{*group}
	}
	if ns, name, ok := strings.Cut(*pod, "/"); ok {
		info["uid"] = "5f1a0c6e-0000-4000-8000-000000000001"
		info["extra"] = map[string][]string{
			"authentication.kubernetes.io/pod-name": {name}, "authentication.kubernetes.io/pod-uid": {"pod-of-" + ns},
			"authentication.kubernetes.io/credential-id": {"JTI=" + name},
		}
	}
	request := map[string]any{
		"uid": fmt.Sprintf("00000000-0000-4000-8000-%012d", w.asked), "kind": gvk, "resource": gvr, "requestKind": gvk, "requestResource": gvr,
		"name": meta["name"], "namespace": meta["namespace"], "operation": set.Arg(0), "userInfo": info, "dryRun": *dry,
	}
	if *sub != "" {
		request["subResource"] = *sub
	}
	switch set.Arg(0) {
	case "DELETE":
		request["oldObject"] = object
	case "UPDATE":
		if request["oldObject"], err = readObject(ts, *old); err != nil {
			return err
		}
		request["object"] = object
	default:
		request["object"] = object
	}
	line, err := json.Marshal(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(ts.MkAbs(*to), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

func readObject(ts *testscript.TestScript, name string) (map[string]any, error) {
	var object map[string]any
	if err := yaml.UnmarshalStrict([]byte(ts.ReadFile(name)), &object); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return object, nil
}

// typeOf is the kind and resource of an object as a review names them; the plural is the usual one unless it is given.
func typeOf(object map[string]any, plural string) (gvk, gvr map[string]string) {
	apiVersion, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	group, version, ok := strings.Cut(apiVersion, "/")
	if !ok {
		group, version = "", apiVersion
	}
	if plural == "" {
		plural = strings.ToLower(kind) + "s"
		for _, suffix := range []string{"y", "s", "ss"} {
			if k := strings.ToLower(kind); strings.HasSuffix(k, suffix) {
				plural = map[string]string{"y": strings.TrimSuffix(k, "y") + "ies", "s": k + "es", "ss": k + "es"}[suffix]
			}
		}
	}
	gvk = map[string]string{"group": group, "version": version, "kind": kind}
	gvr = maps.Clone(gvk)
	delete(gvr, "kind")
	gvr["resource"] = plural
	return gvk, gvr
}
