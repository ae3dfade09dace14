package agents

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/commitgate/commitgate/api/v1alpha1"
	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/forge"
	"github.com/commitgate/commitgate/test/lab"
)

func TestMain(m *testing.M) { os.Exit(cluster.Isolated(m.Run)) }

// stage is a lab without a gate, and the programs of an agent that run in it.
type stage struct {
	*lab.Lab
	t           *testing.T
	processes   map[string]*cluster.Process
	kubeconfigs map[string]string // by program
}

// start starts a lab whose repository holds the files of testdata/NAME, and more. It skips where one of the programs is not built.
func start(t *testing.T, name string, programs []string, more map[string]string) *stage {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a control plane: not with -short")
	}
	for _, program := range programs {
		if _, err := os.Stat(bin(t, program)); err != nil {
			t.Skipf("%s is not built: make agents", program)
		}
	}
	l, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), WithoutGate: true})
	if errors.Is(err, cluster.ErrNotBuilt) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	check(t, err)
	s := &stage{Lab: l, t: t, processes: map[string]*cluster.Process{}, kubeconfigs: map[string]string{}}
	t.Cleanup(s.stop)
	files := map[string]string{}
	folder := filepath.Join("testdata", name)
	check(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		inside, _ := filepath.Rel(folder, path)
		files[inside] = strings.ReplaceAll(string(text), "$URL", l.Repository.URL())
		return err
	}))
	for path, text := range more {
		files[path] = text
	}
	_, err = l.Repository.Publish(t.Context(), l.Alice, "the agent and what it applies", files)
	check(t, err)
	return s
}

// bin is a program, or a folder of what a program brings.
func bin(t *testing.T, name string) string {
	t.Helper()
	root, err := cluster.ModuleRoot()
	check(t, err)
	return filepath.Join(root, "bin", name)
}

// bootstrap applies files of the repository as an administrator.
func (s *stage) bootstrap(manager string, paths ...string) {
	s.t.Helper()
	for _, path := range paths {
		text, err := s.Repository.Read(path)
		check(s.t, err)
		check(s.t, s.Eventually(s.t.Context(), func(ctx context.Context) error {
			_, err := s.Cluster.Kubectl(ctx, s.AdminConfig, text, "apply", "--server-side", "--field-manager="+manager, "--force-conflicts", "--filename=-")
			return err
		}))
	}
}

// run runs a program, or a command of it, with the account of this name if there is one.
func (s *stage) run(program, namespace, account string, environment, args []string) {
	s.t.Helper()
	words := strings.Fields(program)
	environment = append(environment, "HOME="+s.t.TempDir(), "PATH="+os.Getenv("PATH"))
	if account != "" {
		if s.kubeconfigs[program] == "" { // the gate lets nobody make a second token for the agent
			token, err := s.Cluster.ServiceAccount(s.t.Context(), namespace, account, "")
			check(s.t, err)
			s.kubeconfigs[program], err = s.Cluster.Kubeconfig(strings.Join(words, "-"), token)
			check(s.t, err)
		}
		environment = append(environment, "KUBECONFIG="+s.kubeconfigs[program])
	}
	words[0] = bin(s.t, words[0])
	p, err := cluster.Run(filepath.Join(s.Dir, program+".log"), "/usr/bin/env", slices.Concat(environment, words, args)...)
	check(s.t, err)
	s.processes[program] = p
}

// guard puts the gate in front, enforcing everything. The text says who the agents are and what their roots.
func (s *stage) guard(agents string) {
	s.t.Helper()
	repository := v1alpha1.TrustedRepository{ObjectMeta: metav1.ObjectMeta{Name: "infra"}, Spec: v1alpha1.TrustedRepositorySpec{
		URL: s.Repository.URL(), Branch: forge.Branch, Anchor: v1alpha1.Anchor{Commit: string(s.Anchor)}, Signers: []v1alpha1.Signer{s.Alice.Signer(), s.Bob.Signer()},
	}}
	repository.APIVersion, repository.Kind = "commitgate.dev/v1alpha1", "TrustedRepository"
	trusted, err := yaml.Marshal(repository)
	check(s.t, err)
	const gate = `---
apiVersion: commitgate.dev/v1alpha1
kind: Gate
metadata: {name: production}
spec:
  cluster: production
  mode: Enforce
  scope: Everything
  serviceAccount: system:serviceaccount:commitgate:commitgate
`
	check(s.t, s.Guard(s.t.Context(), []byte(string(trusted)+gate+agents)))
}

func (s *stage) stop() {
	for name, p := range s.processes {
		if err := p.Kill(); err != nil {
			s.t.Error(err)
		}
		if log, err := os.ReadFile(p.Log()); s.t.Failed() {
			s.t.Logf("%s (%v):\n%s", name, err, tail(log))
		}
	}
	if s.Gate != nil && s.t.Failed() {
		log, err := os.ReadFile(s.Gate.Log())
		s.t.Logf("the gate (%v):\n%s", err, tail(log))
	}
	if err := s.Stop(); err != nil {
		s.t.Error(err)
	}
}

func tail(log []byte) []byte { return log[max(0, len(log)-20_000):] }

func replace(old, new string) func(string) string {
	return func(text string) string { return strings.Replace(text, old, new, 1) }
}

// commit has Bob change files.
func (s *stage) commit(message string, changes map[string]func(string) string) {
	s.t.Helper()
	files := map[string]string{}
	for path, change := range changes {
		before, err := s.Repository.Read(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Fatal(err)
		}
		if files[path] = change(before); files[path] == before {
			s.t.Fatalf("%s: %s changes nothing", message, path)
		}
	}
	_, err := s.Repository.Publish(s.t.Context(), s.Bob, message, files)
	check(s.t, err)
}

func (s *stage) expectNoRefusals(what string) {
	s.t.Helper()
	if s.Gate == nil {
		return
	}
	for _, outcome := range []string{"deny", "error"} {
		out, status, err := s.Gate.Run(s.t.Context(), "audit", "log", s.Gate.AuditLog(), "--outcome="+outcome)
		if err != nil || status != 1 { // nothing was found
			s.t.Errorf("%s: %s: %v, exit status %d\n%s", what, outcome, err, status, out)
		}
	}
}

// get asks the cluster as an administrator, "" if there is no such thing.
func (s *stage) get(namespace, object, jsonpath string) string {
	s.t.Helper()
	out, err := s.Cluster.Kubectl(s.t.Context(), s.AdminConfig, "", "get", "--ignore-not-found", "--namespace="+namespace, object, "--output=jsonpath="+jsonpath)
	check(s.t, err)
	return out
}

func (s *stage) becomes(namespace, object, jsonpath, want string) {
	s.t.Helper()
	s.eventually(object, func() error {
		if got := s.get(namespace, object, jsonpath); got != want {
			return fmt.Errorf("%s is %q, want %q", jsonpath, got, want)
		}
		return nil
	})
}

// eventually tries until it succeeds. It has a bound so that a defect ends a test rather than hangs it.
func (s *stage) eventually(what string, try func() error) {
	s.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.expectNoRefusals(what)
			s.t.Fatalf("%s: %v", what, err)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := cluster.FreeAddress()
	check(t, err)
	return address
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
