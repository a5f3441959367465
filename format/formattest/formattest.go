// Package formattest holds the tests that every reader of foreign bytes must
// pass: truncated and damaged content gives an error or a correct value, and
// never a panic nor memory out of proportion to the input.
package formattest

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// Decoder reads a file's whole content and gives nil or an error.
type Decoder func(content []byte) error

// Truncated demands an error for every proper prefix of valid content, and
// none for the whole. Content of a few kilobytes is meant.
func Truncated(t *testing.T, valid []byte, decode Decoder) {
	t.Helper()
	if err := guarded(decode, valid); err != nil {
		t.Fatalf("the whole of %d bytes: %v", len(valid), err)
	}
	for n := range valid {
		if err := guarded(decode, valid[:n:n]); err == nil {
			t.Errorf("the first %d of %d bytes are accepted", n, len(valid))
		} else if p, ok := err.(*panicError); ok {
			t.Fatalf("the first %d of %d bytes: %v", n, len(valid), p)
		}
	}
}

// BitFlips turns every single bit of valid content, and demands that decode
// does not panic. It returns how many of the damaged inputs were refused.
func BitFlips(t *testing.T, valid []byte, decode Decoder) (refused int) {
	t.Helper()
	b := append([]byte(nil), valid...)
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			err := guarded(decode, b)
			b[i] ^= 1 << bit
			if p, ok := err.(*panicError); ok {
				t.Fatalf("bit %d of byte %d turned: %v", bit, i, p)
			}
			if err != nil {
				refused++
			}
		}
	}
	return refused
}

// Bytes overwrites each byte of valid content by 0, 0xff and 0x7f, which
// makes lengths and counts large, and demands that decode does not panic nor
// allocate more than multiple*len(valid) + spare bytes.
func Bytes(t *testing.T, valid []byte, multiple, spare int, decode Decoder) {
	t.Helper()
	b := append([]byte(nil), valid...)
	for i, was := range b {
		for _, v := range []byte{0, 0xff, 0x7f} {
			b[i] = v
			Bounded(t, fmt.Sprintf("byte %d set to %#x", i, v), b, multiple, spare, decode)
		}
		b[i] = was
	}
}

// Bounded demands that decode, whatever it returns, does not panic and
// allocates at most multiple*len(content) + spare bytes altogether. It must
// not run in parallel with other tests.
func Bounded(t *testing.T, what string, content []byte, multiple, spare int, decode Decoder) error {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := guarded(decode, content)
	runtime.ReadMemStats(&after)
	if p, ok := err.(*panicError); ok {
		t.Fatalf("%s: %v", what, p)
	}
	limit := uint64(multiple)*uint64(len(content)) + uint64(spare)
	if got := after.TotalAlloc - before.TotalAlloc; got > limit {
		t.Errorf("%s: allocated %d bytes for an input of %d, want at most %d", what, got, len(content), limit)
	}
	return err
}

// WantError demands an error whose text contains all parts: the file, the
// thing in it, what came and what was wanted.
func WantError(t *testing.T, what string, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted, want an error with %q", what, parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%s: error %q, want it to contain %q", what, err, p)
		}
	}
}

// panicError is what guarded makes of a panic.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

func guarded(decode Decoder, content []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return decode(content)
}
