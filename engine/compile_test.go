package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/tensor"
)

type strange struct{ graph.Unary }

func (strange) Kind() string { return "strange" }

func TestCompileNamesWhatItCannotRun(t *testing.T) {
	e := New(1)
	defer e.Close()
	g := graph.New()
	g.Output("y", g.Apply(strange{}, g.Input("x", tensor.F32, 3)).Named("here"))
	if _, err := e.Compile(g, tensor.NewStore()); err == nil || !strings.Contains(err.Error(), "here") {
		t.Errorf("unknown op: %v", err)
	}
	g = graph.New()
	g.Output("y", g.Relu(g.Param(graph.Param{Name: "w", Shape: []int{3}})))
	if _, err := e.Compile(g, tensor.NewStore()); err == nil || !strings.Contains(err.Error(), `"w"`) {
		t.Errorf("missing parameter: %v", err)
	}
	store := tensor.NewStore()
	_ = store.Put("w", tensor.New(tensor.F32, 4))
	if _, err := e.Compile(g, store); !errors.Is(err, tensor.ErrShape) {
		t.Errorf("wrong shape: %v", err)
	}
}

func TestSetInputChecksTypeAndShape(t *testing.T) {
	e := New(1)
	defer e.Close()
	g := graph.New()
	g.Output("y", g.Relu(g.Input("x", tensor.F32, 3)))
	p, err := e.Compile(g, tensor.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SetInput("z", tensor.New(tensor.F32, 3)); err == nil {
		t.Error("unknown input accepted")
	}
	if err := p.SetInput("x", tensor.New(tensor.F32, 4)); !errors.Is(err, tensor.ErrShape) {
		t.Errorf("wrong shape: %v", err)
	}
	x := tensor.FromFloat32s([]float32{-1, 2, 3}, 3)
	if err := p.SetInput("x", x); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second run sees the changed storage
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		if y := p.Output("y").Float32s(); y[0] != 0 || y[1] != x.Float32s()[1] {
			t.Errorf("relu of %v is %v", x.Float32s(), y)
		}
		x.Float32s()[1] = 5
	}
}

func TestUpdatesApplyAfterTheRun(t *testing.T) {
	// a becomes b and b becomes a: both readers must see the old values.
	g := graph.New()
	a := g.Param(graph.Param{Name: "a", Shape: []int{2}})
	b := g.Param(graph.Param{Name: "b", Shape: []int{2}})
	g.Update(a, g.Add(b, g.Scalar(1)))
	g.Update(b, g.Add(a, g.Scalar(0)))
	store := tensor.NewStore()
	_ = store.Put("a", tensor.FromFloat32s([]float32{1, 2}, 2))
	_ = store.Put("b", tensor.FromFloat32s([]float32{10, 20}, 2))
	e := New(1)
	defer e.Close()
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	if x, y := store.Get("a").Float32s(), store.Get("b").Float32s(); x[0] != 11 || x[1] != 21 || y[0] != 1 || y[1] != 2 {
		t.Errorf("a %v, b %v", x, y)
	}
}

// TestMergedDimensionsCopyTheSame: every order of axes, some of length one.
func TestMergedDimensionsCopyTheSame(t *testing.T) {
	var try func(shape, perm, rest []int)
	try = func(shape, perm, rest []int) {
		for i, p := range rest {
			left := append(slices.Clone(rest[:i]), rest[i+1:]...)
			try(shape, append(slices.Clone(perm), p), left)
		}
		if len(rest) > 0 {
			return
		}
		dims, ss := make([]int, len(perm)), make([]int, len(perm))
		size := 1
		for i, p := range perm {
			dims[i], ss[i] = shape[p], strides(shape)[p]
			size *= shape[p]
		}
		src, got, want := make([]float32, size), make([]float32, size), make([]float32, size)
		for i := range src {
			src[i] = float32(i + 1)
		}
		copyND(want, src, dims, strides(dims), ss)
		d, ds, s := merged(dims, strides(dims), ss)
		if copyND(got, src, d, ds, s); !slices.Equal(got, want) {
			t.Errorf("shape %v, order %v: merged to %v, differs", shape, perm, d)
		}
		if slices.IsSorted(perm) && len(d) > 1 {
			t.Errorf("shape %v in its own order is %v, want one run", shape, d)
		}
	}
	for _, shape := range [][]int{{2, 3, 4, 5}, {1, 4, 1, 3}, {3, 1, 2, 2}, {1, 1, 1}} {
		axes := make([]int, len(shape))
		for i := range axes {
			axes[i] = i
		}
		try(shape, nil, axes)
	}
}
