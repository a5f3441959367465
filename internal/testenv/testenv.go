// Package testenv finds what some tests need beside the source tree and skips
// them, with a message, where it is missing.
package testenv

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Root returns the module's root folder.
func Root(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			tb.Fatal("testenv: no go.mod above the working directory")
		}
		dir = up
	}
}

// Shared returns the path of a file or folder in the shared data folder that
// stands beside the checkout. Where it is missing the test is skipped, unless
// LOWBIT_REQUIRE contains "shared": then it fails.
func Shared(tb testing.TB, elem ...string) string {
	tb.Helper()
	p := filepath.Join(append([]string{Root(tb), "..", "shared"}, elem...)...)
	if _, err := os.Stat(p); err != nil {
		msg := "needs the development data folder ../shared (" + filepath.Join(elem...) + "): put it beside the checkout"
		if strings.Contains(os.Getenv("LOWBIT_REQUIRE"), "shared") {
			tb.Fatal(msg)
		}
		tb.Skip(msg)
	}
	return p
}
