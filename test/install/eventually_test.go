package install

import (
	"context"
	"errors"
	"time"
)

const (
	patience = 3 * time.Minute // for what a controller or a watch does
	pause    = 200 * time.Millisecond
)

// eventually tries until there is no error.
func eventually(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}
