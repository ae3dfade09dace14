//go:build !(linux && amd64)

package chaos

import (
	"errors"
	"time"
)

// canStep tells whether stepClock works here.
const canStep = false

func stepClock(int, string, time.Duration) error {
	return errors.New("the clock of a process can be set on linux/amd64 only")
}
