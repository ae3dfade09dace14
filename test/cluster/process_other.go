//go:build !linux

package cluster

import "syscall"

// endsWithUs keeps the terminal's Ctrl-C away from a child. Only Linux can tie it to its parent's life.
func endsWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
