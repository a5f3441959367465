package formattest

import (
	"errors"
	"testing"
)

func TestGuardedTurnsPanicIntoError(t *testing.T) {
	err := guarded(func(b []byte) error { _ = b[3]; return nil }, nil)
	var p *panicError
	if !errors.As(err, &p) {
		t.Errorf("got %v, want a panic's error", err)
	}
}

func TestSuiteAcceptsCarefulDecoder(t *testing.T) {
	valid := []byte{3, 'a', 'b', 'c'}
	decode := func(b []byte) error {
		if len(b) < 1 || len(b) != 1+int(b[0]) {
			return errors.New("length")
		}
		return nil
	}
	Truncated(t, valid, decode)
	if got := BitFlips(t, valid, decode); got != 8 {
		t.Errorf("%d damaged inputs refused, want the 8 with another length", got)
	}
	Bytes(t, valid, 1, 1<<16, decode)
	WantError(t, "empty", decode(nil), "length")
}
