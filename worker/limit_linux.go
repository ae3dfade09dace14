package worker

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// limitData bounds the memory that this process may ask for. RLIMIT_AS would count address space that Go reserves and never uses.
func limitData(bytes uint64) error {
	if err := unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: bytes, Max: bytes}); err != nil {
		return fmt.Errorf("limit memory: %w", err)
	}
	return nil
}
