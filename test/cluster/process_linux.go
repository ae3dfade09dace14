package cluster

import "syscall"

// endsWithUs ties a child to the thread that starts it, and keeps the terminal's Ctrl-C away from it: we end children in our order.
func endsWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
