// Package claim lets several processes share a piece of work: each takes files
// that no other one holds. A claim ends with the process that holds it, however
// that ends.
package claim

import (
	"context"
	"errors"
	"time"
)

// ErrHeld is returned by Take if another holder has the claim.
var ErrHeld = errors.New("in use by another process")

// poll is the time between two looks at a claim that another process holds:
// short beside any training, long beside a system call.
const poll = 200 * time.Millisecond

// Wait sleeps until it is worth looking at a held claim again, or the context
// ends, whose cause it returns then.
func Wait(ctx context.Context) error {
	t := time.NewTimer(poll)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// TakeWaiting is Take once no other holder has the claim.
func TakeWaiting(ctx context.Context, path string) (release func(), err error) {
	for {
		release, err = Take(path)
		if !errors.Is(err, ErrHeld) {
			return release, err
		}
		if err := Wait(ctx); err != nil {
			return nil, err
		}
	}
}
