package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commitgate/commitgate/test/cluster"
	"github.com/commitgate/commitgate/test/lab"
)

const (
	// nonroot is the user of distroless images whose tag says so.
	nonroot = 65532
	// contained, in the environment, makes this test binary what an engine is between fork and exec; it names the container's root.
	contained = "COMMITGATE_TEST_ROOT"
	// volume is where the Dockerfile says that something must outlive a restart.
	volume = "/var/lib/commitgate"
)

func TestMain(m *testing.M) {
	if root := os.Getenv(contained); root != "" {
		fmt.Fprintln(os.Stderr, "container:", contain(root, os.Args[1:]))
		os.Exit(125)
	}
	os.Exit(m.Run())
}

// contain makes a folder the root of this process, read-only but for the volume, and runs a command there as nobody's root. It returns only with an error.
func contain(root string, command []string) error {
	for _, m := range []struct {
		from, to string
		flags    uintptr
	}{
		{"", "/", unix.MS_REC | unix.MS_PRIVATE},
		{root, root, unix.MS_BIND},
		{"/proc", filepath.Join(root, "proc"), unix.MS_BIND | unix.MS_REC},
		{root + ".volume", root + volume, unix.MS_BIND},
		{"", root, unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY},
	} {
		if err := unix.Mount(m.from, m.to, "", m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.to, err)
		}
	}
	if err := errors.Join(unix.Chroot(root), unix.Chdir("/")); err != nil {
		return err
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nonroot), syscall.Setuid(nonroot)); err != nil {
		return err
	}
	return syscall.Exec(command[0], command, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/home/nonroot"})
}

// container prepares a command of what runs in a container with this root.
func container(ctx context.Context, root string, command ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, command...)
	cmd.Env = []string{contained + "=" + root}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

// The program of the image needs nothing but itself: no library, no shell, no Git, no /tmp, no root, and no place to write but its volume. There it clones,
// verifies and renders, also with the processes beside its own, until it is ready; and ends when it is asked to.
func TestImageRuns(t *testing.T) {
	program := built(t)
	static(t, program)
	if os.Getuid() != 0 {
		t.Skip("only root may make a container")
	}
	kept := stages(t, moduleRoot(t))[1]
	root := filepath.Join(t.TempDir(), "root")
	check(t, os.MkdirAll(root+volume, 0o755))
	for _, dir := range []string{"proc", "etc/commitgate"} {
		check(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	check(t, os.Mkdir(root+".volume", 0o700))
	check(t, os.Chown(root+".volume", nonroot, nonroot))
	for dir := root; dir != "/"; dir = filepath.Dir(dir) { // a test's folders are nobody else's
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o005 != 0o005 {
			check(t, os.Chmod(dir, info.Mode().Perm()|0o055))
		}
	}
	check(t, link(program, filepath.Join(root, "commitgate")))
	check(t, os.Chmod(filepath.Join(root, "commitgate"), 0o755))
	if one(t, kept, "VOLUME") != volume {
		t.Errorf("VOLUME %s", one(t, kept, "VOLUME"))
	}

	// Alice's and Bob's repository, with a kustomization and a chart, and the configuration that trusts it.
	l, err := lab.Start(t.Context(), lab.Config{Dir: t.TempDir(), Commitgate: program, WithoutCluster: true, Pipeline: true})
	check(t, err)
	t.Cleanup(func() { check(t, l.Stop()) })
	check(t, l.Gate.Kill())
	check(t, os.WriteFile(filepath.Join(root, "etc/commitgate/gate.yaml"), []byte(read(t, l.Gate.Config)), 0o644))

	reviews, probes := address(t), address(t)
	gate := start(t, root, append(words(t, kept), "--no-cluster", "--listen="+reviews, "--probe-listen="+probes)...)
	ready(t, gate, "http://"+probes+"/readyz")
	check(t, gate.cmd.Process.Signal(syscall.SIGTERM))
	<-gate.done
	if !gate.cmd.ProcessState.Success() {
		t.Errorf("asked to end: %s\n%s", gate.cmd.ProcessState, read(t, gate.log))
	}
	verify, err := container(t.Context(), root, "/commitgate", "audit", "verify", volume+"/audit")
	check(t, err)
	if out, err := verify.CombinedOutput(); err != nil || !strings.Contains(string(out), "sound") {
		t.Errorf("audit verify: %v\n%s", err, out)
	}
	for _, port := range []string{reviews, probes} {
		if conn, err := net.Dial("tcp", port); err == nil {
			conn.Close()
			t.Errorf("somebody answers at %s still", port)
		}
	}
	exposed(t, program, one(t, kept, "EXPOSE"))
}

// exposed checks that the image names the ports at which the program serves by itself.
func exposed(t *testing.T, program, ports string) {
	t.Helper()
	help, err := exec.Command(program, "serve", "--help").Output()
	check(t, err)
	for _, port := range strings.Fields(ports) {
		if _, err := strconv.Atoi(port); err != nil || !strings.Contains(string(help), `(default ":`+port+`")`) {
			t.Errorf("EXPOSE %s, where nothing serves", port)
		}
	}
}

// words are what the image runs by itself.
func words(t *testing.T, stage []instruction) []string {
	t.Helper()
	var entry, cmd []string
	check(t, json.Unmarshal([]byte(one(t, stage, "ENTRYPOINT")), &entry))
	check(t, json.Unmarshal([]byte(one(t, stage, "CMD")), &cmd))
	return append(entry, cmd...)
}

func address(t *testing.T) string {
	t.Helper()
	address, err := cluster.FreeAddress()
	check(t, err)
	return address
}

// process is a container that runs.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start starts a container, which ends with the test.
func start(t *testing.T, root string, command ...string) *process {
	t.Helper()
	cmd, err := container(context.WithoutCancel(t.Context()), root, command...)
	check(t, err)
	p := &process{cmd: cmd, log: filepath.Join(t.TempDir(), "log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	check(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the parent-death signal follows this thread
		defer close(p.done)
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // ProcessState tells
		}
	}()
	check(t, <-started)
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-p.done
	})
	return p
}

// ready waits until a container answers 200.
func ready(t *testing.T, p *process, url string) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		select {
		case <-p.done:
			t.Fatalf("it has ended: %s\n%s", p.cmd.ProcessState, read(t, p.log))
		default:
		}
		response, err := http.Get(url)
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err == nil && response.StatusCode == http.StatusOK {
			return
		}
		last = string(body)
	}
	t.Fatalf("not ready: %s\n%s", last, read(t, p.log))
}
