//go:build !unix

package track

import (
	"os"
	"path/filepath"
)

// lock opens the lock file; the system is not one that the gate serves on, only its tools run there.
func lock(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
}
