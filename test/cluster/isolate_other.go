//go:build !linux

package cluster

// Isolated runs the tests of a package; only Linux can give them a network of their own.
func Isolated(run func() int) int { return run() }

// PodAddress returns ErrShared: only Linux can give tests a network of their own.
func PodAddress() (string, error) { return "", ErrShared }
