package infer

import (
	"fmt"
	"math"
	"strings"

	"lowbit/graph"
)

// Comparison is what Compare found.
type Comparison struct {
	Layers   int         `json:"layers"`   // values that were compared
	Elements int64       `json:"elements"` // of them together
	First    *Difference `json:"first,omitempty"`
}

// Equal reports whether nothing differs.
func (c *Comparison) Equal() bool { return c.First == nil }

// Difference is the first value that differs, in the order of the network.
type Difference struct {
	Layer string  `json:"layer"` // the node that computes it
	Form  string  `json:"form"`  // "u4", "s8" for codes, or "float"
	Index []int   `json:"index"` // channel, row, column of its first element that differs
	Want  float64 `json:"want"`  // the reference's code or float
	Got   float64 `json:"got"`
	Count int     `json:"count"` // elements of the value that differ
	Size  int     `json:"size"`  // elements of the value
}

// String names the layer, the place and both numbers.
func (d *Difference) String() string {
	return fmt.Sprintf("%s (%s) at channel, row, column %v: got %g, want %g; %d of %d elements differ",
		d.Layer, d.Form, d.Index, d.Got, d.Want, d.Count, d.Size)
}

// Compare runs one example through the model and through the reference of the
// same network and compares every code and every float of every layer for
// equality. in is [channel, height, width], normalised. A value that the reference
// does not name is an error.
func (m *Model) Compare(r *Reference, in []float32) (*Comparison, error) {
	return m.compare(r, in, false)
}

// CompareNamed is Compare for networks that went through another format: its
// reader splits layers and names the parts, which the other network does not
// have. Values that both name with one size are compared; a second form of a
// value has its name with "@" and a number, and is folded on its own: a value must
// be that of one of the forms of its name. That there is none is an error.
func (m *Model) CompareNamed(r *Reference, in []float32) (*Comparison, error) {
	return m.compare(r, in, true)
}

func (m *Model) compare(r *Reference, in []float32, named bool) (c *Comparison, err error) {
	defer guard("compare", &err)
	if err := r.start(in); err != nil {
		return nil, err
	}
	find := r.nodes(named)
	s := m.NewSession(Options{Threads: 1})
	defer s.Close()
	c = &Comparison{}
	var failure error
	s.after = func(at int) {
		for _, v := range m.plan.instructions[at].out {
			if failure != nil || c.First != nil {
				return
			}
			ns := find(v.node.Name(), v.c*v.h*v.w)
			if len(ns) == 0 {
				if !named {
					failure = fmt.Errorf("infer: compare: the reference has no node %q of %d elements", v.node.Name(), v.c*v.h*v.w)
				}
				continue
			}
			c.Layers++
			c.Elements += int64(v.c * v.h * v.w)
			c.First, failure = r.differs(ns, v, &s.frames[0])
		}
	}
	if err := s.Run(in, make([]float32, m.plan.output.c*m.plan.output.h*m.plan.output.w)); err != nil {
		return nil, err
	}
	if c.Layers == 0 && failure == nil {
		failure = fmt.Errorf("infer: compare: the reference names none of the model's values")
	}
	return c, failure
}

// differs compares a value with each node that may have computed it; the
// difference is that from the first.
func (r *Reference) differs(nodes []*graph.Node, v *value, f *frame) (first *Difference, err error) {
	for _, n := range nodes {
		want, err := r.eval(n, v.to)
		if err != nil {
			return nil, fmt.Errorf("infer: compare: %w", err)
		}
		d := v.differs(f, want)
		if d == nil {
			return nil, nil
		}
		if first == nil {
			first = d
		}
	}
	return first, nil
}

// nodes returns what finds the reference's nodes of a size by the model's names;
// with forms, those whose names are equal before an "@", the equal name first.
func (r *Reference) nodes(forms bool) func(name string, size int) []*graph.Node {
	byName, byBase := map[string]*graph.Node{}, map[string][]*graph.Node{}
	for _, n := range r.rules.g.Nodes() {
		byName[n.Name()] = n
		base, _, _ := strings.Cut(n.Name(), "@")
		byBase[base] = append(byBase[base], n)
	}
	return func(name string, size int) (found []*graph.Node) {
		same := byName[name]
		if same != nil && same.Shape().Size() == size {
			found = append(found, same)
		}
		base, _, _ := strings.Cut(name, "@")
		for _, n := range byBase[base] {
			if forms && n != same && n.Shape().Size() == size {
				found = append(found, n)
			}
		}
		return found
	}
}

// differs compares a value with the reference's.
func (v *value) differs(f *frame, want *refValue) *Difference {
	var d *Difference
	for y := range v.h {
		for x := range v.w {
			for c := range v.c {
				i := (c*v.h+y)*v.w + x
				var g, w float64
				if v.to.codes {
					g, w = float64(int32(f.codeRow(v, y)[x*v.c+c])-v.to.zero()), float64(want.codes[i])
				} else {
					g, w = float64(f.floatRow(v, y)[x*v.c+c]), float64(want.f[i])
				}
				if g == w || math.IsNaN(g) && math.IsNaN(w) {
					continue
				}
				if d == nil {
					d = &Difference{Layer: v.node.Name(), Form: v.to.String(), Index: []int{c, y, x}, Want: w, Got: g, Size: v.c * v.h * v.w}
				}
				d.Count++
			}
		}
	}
	return d
}
