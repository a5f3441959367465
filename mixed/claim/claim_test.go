package claim

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

func TestOneHolderAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	release, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(path); !errors.Is(err, ErrHeld) {
		t.Errorf("a second claim: %v", err)
	}
	release()
	again, err := Take(path)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	again()
	if _, err := Take(filepath.Join(t.TempDir(), "no", "folder")); err == nil || errors.Is(err, ErrHeld) {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

func TestWaitEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	if err := Wait(ctx); err != nil {
		t.Error(err)
	}
	cancel()
	if err := Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
