package cluster_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commitgate/commitgate/test/cluster"
)

// parentOf, in the environment, makes the test below the parent that is killed; it holds the folder for the child's output.
const parentOf = "COMMITGATE_TEST_PARENT"

// A test that is killed must leave no control plane behind.
func TestChildrenEndWithUs(t *testing.T) {
	if dir := os.Getenv(parentOf); dir != "" {
		p, err := cluster.Run(filepath.Join(dir, "child.log"), "/bin/sleep", "600")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\nchild %d\n", p.Pid())
		select {}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self, "-test.run=^TestChildrenEndWithUs$")
	parent.Env = append(os.Environ(), parentOf+"="+t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	for lines := bufio.NewScanner(out); child == 0 && lines.Scan(); {
		if text, found := strings.CutPrefix(lines.Text(), "child "); found {
			if child, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Fatal("a killed process ended well")
	}
	if child == 0 {
		t.Fatal("the parent named no child")
	}
	for range 600 {
		if gone(t, child) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("a minute after its parent was killed, process %d is still there", child)
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// gone tells whether a process has ended, even if nobody has collected its status yet.
func gone(t *testing.T, pid int) bool {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return os.IsNotExist(err) || strings.Contains(string(status), "State:\tZ")
}
