package audit

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fullDisk names the folder on which the other process of TestAFullDisk mounts a disk of one MiB.
const fullDisk = "COMMITGATE_TEST_FULL_DISK"

// A real disk that is really full: what was acknowledged is there, nothing more is allowed, and once there is space the log goes on by itself.
func TestAFullDisk(t *testing.T) {
	if dir := os.Getenv(fullDisk); dir != "" {
		if err := syscall.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatal(err)
		}
		fillDisk(t, dir)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), fullDisk+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, // a disk of one's own needs no root
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || strings.Contains(string(out), "operation not permitted") {
		t.Skipf("this machine lets nobody mount a disk: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestAFullDisk") {
		t.Errorf("%v\n%s", err, out)
	}
}

func fillDisk(t *testing.T, disk string) {
	filler := filepath.Join(disk, "somebody-elses")
	if err := os.WriteFile(filler, make([]byte, 512<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t)
	cfg.Dir, cfg.SegmentSize = filepath.Join(disk, "log"), 64<<10
	l := open(t, cfg)
	var acked []string
	var err error
	for i := 0; err == nil && i < 10_000; i++ {
		var r Record
		if r, err = l.Append(t.Context(), decision(i)); err == nil {
			acked = append(acked, r.ID)
		}
	}
	if !errors.Is(err, ErrFull) || len(acked) < 100 {
		t.Fatalf("after %d records: %v, want ErrFull", len(acked), err)
	}
	if err := l.Health().Err; err != nil {
		t.Errorf("a full disk is not the end of the log: %v", err)
	}
	if _, err := l.Append(t.Context(), decision(0)); !errors.Is(err, ErrFull) {
		t.Errorf("still full: %v", err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	acked = append(acked, mustAppend(t, l, decision(1)).ID)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, cfg.Dir, acked...)
}
