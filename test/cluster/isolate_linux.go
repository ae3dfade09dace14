package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// podAddress is of the block for documentation (RFC 5737): no cluster has it.
const podAddress = "192.0.2.1"

// isolated marks the environment of a process that is already in a network of its own.
const isolated = "COMMITGATE_TEST_ISOLATED"

// Isolated runs the tests of a package in a network namespace that holds nothing but the loopback interface: what they start can
// reach nothing else, and nothing else can reach it. Where the kernel does not allow that, they run as they are. Use it as
//
//	func TestMain(m *testing.M) { os.Exit(cluster.Isolated(m.Run)) }
func Isolated(run func() int) int {
	if os.Getenv(isolated) != "" {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "raise the loopback interface:", err)
			return 1
		}
		return run()
	}
	self, err := os.Executable()
	if err != nil {
		return run()
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), isolated+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid := os.Getuid(); uid != 0 { // only root may make a network; everybody may be root of a user namespace
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	runtime.LockOSThread() // the parent-death signal follows this thread
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return run()
	}
	var exit *exec.ExitError
	switch err := cmd.Wait(); {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	default:
		fmt.Fprintln(os.Stderr, "isolated tests:", err)
		return 1
	}
}

// loopbackUp does what `ip link set lo up` does.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// PodAddress gives the loopback interface of the tests' own network an address that is none of loopback's, as a pod has one: an API server proxies to no
// loopback address. It returns ErrShared where the tests run in the network of the machine, which is not theirs to change.
func PodAddress() (string, error) {
	if os.Getenv(isolated) == "" {
		return "", ErrShared
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	alias, err := unix.NewIfreq("lo:1")
	if err != nil {
		return "", err
	}
	if err := alias.SetInet4Addr(netip.MustParseAddr(podAddress).AsSlice()); err != nil {
		return "", err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, alias); err != nil {
		return "", fmt.Errorf("add %s to lo: %w", podAddress, err)
	}
	return podAddress, nil
}
