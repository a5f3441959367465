// Package kernel holds the hot loops of lowbit on plain slices, behind one
// dispatch table. Generic Go is the definition of every operation; a faster
// row of the table computes the same within the bound its tests name.
//
// A row is a Table value: "generic", "avx2", "avx512", ... Each row starts as a
// copy of the row below and overrides what it does better. The best row that
// the CPU can run is active from the start; LOWBIT_KERNEL=generic (or another
// row's name) chooses one for a process, Use for tests and benchmarks.
//
// Kernels never allocate, keep no pointers and no global state, and run on the
// caller's goroutine: parallelism is split above them.
package kernel

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
)

// Table is one row of the dispatch table.
type Table struct {
	Name string
	VecOps
	MatOps
	IntOps
}

var active atomic.Pointer[Table]

func init() {
	all := rows()
	best := &all[len(all)-1]
	if want := os.Getenv("LOWBIT_KERNEL"); want != "" {
		for i := range all {
			if all[i].Name == want {
				best = &all[i]
			}
		}
	}
	active.Store(best)
}

// Active returns the row in use.
func Active() *Table { return active.Load() }

// Rows returns every row this CPU can run, slowest first; the first is
// "generic".
func Rows() []Table { return rows() }

// Use activates the named row for the whole process and returns a function
// that restores the row that was active before.
func Use(name string) (restore func(), err error) {
	old := active.Load()
	var have []string
	for _, t := range rows() {
		if t.Name == name {
			active.Store(&t)
			return func() { active.Store(old) }, nil
		}
		have = append(have, t.Name)
	}
	return nil, fmt.Errorf("kernel: row %q is not available on this CPU, have %s", name, strings.Join(have, ", "))
}

func genericRow() Table {
	return Table{Name: "generic", VecOps: genericVec(), MatOps: genericMat(), IntOps: genericInt()}
}
