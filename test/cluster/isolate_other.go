//go:build !linux

package cluster

// Isolated runs the tests of a package; only Linux can give them a network of their own.
func Isolated(run func() int) int { return run() }
