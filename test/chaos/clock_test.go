package chaos

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The clock of a process steps, forward and back, and nothing else does: neither its elapsed time nor our clock.
func TestStepClock(t *testing.T) {
	if !canStep {
		t.Skip("linux/amd64 only")
	}
	program := filepath.Join(t.TempDir(), "clock")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/clock").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	child := exec.Command(program)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer in.Close()
	for _, offset := range []time.Duration{0, 3 * time.Hour, -48 * time.Hour, 0} {
		if err := stepClock(child.Process.Pid, program, offset); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(in)
		buf := make([]byte, 64)
		n, err := out.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		wall, elapsed, _ := strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
		at, err := strconv.ParseInt(wall, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Unix(at, 0).Sub(time.Now().Add(offset)).Abs(); d > 10*time.Minute {
			t.Errorf("with %s, its clock is wrong by %s", offset, d)
		}
		if e, err := strconv.Atoi(elapsed); err != nil || e > 600 {
			t.Errorf("with %s, %s seconds passed (%v)", offset, elapsed, err)
		}
	}
}
