package eval_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/tensor"
)

// identity is a network whose logits are the pixels of a [4 1 1] image.
func identity(t *testing.T) (*graph.Graph, *tensor.Store) {
	t.Helper()
	g := graph.New()
	x := g.Flatten(g.Input("input", tensor.F32, 1, 4, 1, 1))
	w := g.Param(graph.Param{Name: "fc.weight", Shape: []int{4, 4}, Role: graph.Weight})
	g.Output("logits", g.Linear(x, w).Named("fc"))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	s := tensor.NewStore()
	eye := make([]float32, 16)
	for i := range 4 {
		eye[5*i] = 1
	}
	if err := s.Put("fc.weight", tensor.FromFloat32s(eye, 4, 4)); err != nil {
		t.Fatal(err)
	}
	return g, s
}

// images makes a dataset of [4 1 1] images whose normalised value is the pixel
// over 255.
func images(t *testing.T, labels []int32, pixels ...uint8) *data.Dataset {
	t.Helper()
	d, err := data.New("four", "test", []string{"a", "b", "c", "d"}, 4, 1, 1, pixels, labels)
	if err != nil {
		t.Fatal(err)
	}
	d.Normalize = data.Normalization{Mean: make([]float32, 4), Std: []float32{1, 1, 1, 1}}
	return d
}

func TestClassifyCounts(t *testing.T) {
	g, s := identity(t)
	ds := images(t, []int32{0, 1, 2, 3, 3},
		255, 0, 0, 0, // right
		0, 255, 0, 0, // right
		255, 0, 0, 0, // taken for 0
		0, 0, 51, 51, // equal: the lower class 2
		0, 0, 0, 255) // right
	loss := 0.0
	for _, row := range [][]float64{{1, 0, 0, 0}, {1, 0, 0, 0}, {0, 1, 0, 0}, {0.2, 0.2, 0, 0}, {1, 0, 0, 0}} { // the label's first
		sum := 0.0
		for _, v := range row {
			sum += math.Exp(v)
		}
		loss += (math.Log(sum) - row[0]) / 5
	}
	e := engine.New(1)
	defer e.Close()
	for _, batch := range []int{1, 2, 5, 64} {
		c, err := eval.NewClassifier(e, g, s, batch)
		if err != nil {
			t.Fatal(err)
		}
		c.CountConfusion = true
		r, err := c.Evaluate(ds)
		if err != nil {
			t.Fatal(err)
		}
		if r.Accuracy != 0.6 || r.Top5 != 1 || r.Examples != 5 || math.Abs(r.StandardError-math.Sqrt(0.6*0.4/5)) > 1e-12 {
			t.Errorf("batch %d: %+v", batch, r)
		}
		if math.Abs(r.Loss-loss) > 1e-6 {
			t.Errorf("batch %d: loss %g, want %g", batch, r.Loss, loss)
		}
		want := [][]int{{1, 0, 0, 0}, {0, 1, 0, 0}, {1, 0, 0, 0}, {0, 0, 1, 1}}
		for y := range want {
			for p := range want[y] {
				if r.Confusion[y][p] != want[y][p] {
					t.Errorf("batch %d: confusion %v, want %v", batch, r.Confusion, want)
				}
			}
		}
	}
}

func TestClassifierSeesTheStoreChange(t *testing.T) {
	g, s := identity(t)
	e := engine.New(1)
	defer e.Close()
	c, err := eval.NewClassifier(e, g, s, 2)
	if err != nil {
		t.Fatal(err)
	}
	ds := images(t, []int32{0}, 255, 0, 0, 0)
	before, err := c.Evaluate(ds)
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Get("fc.weight").Float32s() {
		s.Get("fc.weight").Float32s()[i] *= -1
	}
	after, err := c.Evaluate(ds)
	if err != nil {
		t.Fatal(err)
	}
	if before.Accuracy != 1 || after.Accuracy != 0 {
		t.Errorf("accuracy %g, then %g with negated weights; want 1 and 0", before.Accuracy, after.Accuracy)
	}
}

func TestTop5AndNaN(t *testing.T) {
	tally := eval.Tally{Classes: 7}
	row := []float32{7, 6, 5, 4, 3, 2, 1}
	tally.Add(append(row, row...), []int32{4, 5})
	if r := tally.Result(); r.Top5 != 0.5 || r.Accuracy != 0 {
		t.Errorf("rank 4 and 5: %+v, want half of them in the top five", r)
	}
	nan := float32(math.NaN())
	broken := eval.Tally{Classes: 2}
	broken.Add([]float32{nan, nan, nan, 1, 1, nan}, []int32{0, 1, 0})
	if r := broken.Result(); r.Accuracy != 0 || !math.IsNaN(r.Loss) {
		t.Errorf("NaN logits: %+v, want none right and loss NaN", r)
	}
	if n := eval.Correct(row, []int32{0}, 7); n != 1 {
		t.Errorf("Correct = %d, want 1", n)
	}
	if r := (&eval.Tally{Classes: 2}).Result(); r.Examples != 0 || r.Loss != 0 {
		t.Errorf("nothing added: %+v", r)
	}
}

func TestClassifyRejectsWhatDoesNotFit(t *testing.T) {
	g, s := identity(t)
	e := engine.New(1)
	defer e.Close()
	wide, err := data.New("wide", "test", []string{"a"}, 3, 2, 2, make([]uint8, 12), []int32{0})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := eval.Classify(e, g, s, wide, 4); !errors.Is(err, tensor.ErrShape) {
		t.Errorf("images of another shape: %v", err)
	}
	if _, err := eval.Classify(e, g, s, images(t, []int32{0}, 1, 2, 3, 4), 0); err == nil {
		t.Error("batch 0 is accepted")
	}
	if _, err := eval.Classify(e, graph.New(), s, wide, 4); err == nil || !strings.Contains(err.Error(), "logits") {
		t.Errorf("a graph without logits: %v", err)
	}
	many := make([]string, 5)
	ds, err := data.New("five", "test", many, 4, 1, 1, make([]uint8, 4), []int32{4})
	if err != nil {
		t.Fatal(err)
	}
	ds.Normalize = data.Normalization{Mean: make([]float32, 4), Std: []float32{1, 1, 1, 1}}
	if _, err := eval.Classify(e, g, s, ds, 4); err == nil || !strings.Contains(err.Error(), "classes") {
		t.Errorf("more classes than logits: %v", err)
	}
}
