// Package eval measures a network on a dataset: accuracy, top-5 accuracy and
// loss of a classifier in the float engine.
//
// A network is a graph with the input "input" (f32 [batch, channel, height,
// width], normalised) and the output "logits" (f32 [batch, classes]), with its
// parameters in a Store. Results are the same bits for any number of threads.
package eval

import (
	"fmt"
	"math"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/tensor"
)

// Result is what a classifier got right.
type Result struct {
	// Accuracy is the share of examples whose largest logit is the label's
	// (of equal ones, the first counts).
	Accuracy float64 `json:"accuracy"`
	// Top5 is the share whose label is among the five largest.
	Top5 float64 `json:"top5"`
	// Loss is the mean cross entropy in nats, computed in float64.
	Loss float64 `json:"loss"`
	// Examples is the number of examples.
	Examples int `json:"examples"`
	// StandardError is that of Accuracy as a sample: sqrt(a(1-a)/Examples).
	StandardError float64 `json:"standard_error"`
	// Confusion, if asked for, counts examples by [label][predicted class].
	Confusion [][]int `json:"confusion,omitempty"`
}

// Classify evaluates a classifier on all examples of a dataset in batches of
// that size (the last one may be smaller).
func Classify(e *engine.Engine, g *graph.Graph, store *tensor.Store, ds *data.Dataset, batch int) (Result, error) {
	c, err := NewClassifier(e, g, store, batch)
	if err != nil {
		return Result{}, err
	}
	return c.Evaluate(ds)
}

// Classifier evaluates one network, again and again as its Store changes,
// with plans that are compiled once a batch size.
type Classifier struct {
	// CountConfusion asks for Result.Confusion.
	CountConfusion bool
	// Norm replaces the dataset's normalisation, if set.
	Norm data.Normalization
	// Keep, if not nil, gets each batch's logits, [n, classes], in the order of the
	// examples; they are valid until it returns.
	Keep func(logits []float32)

	e       *engine.Engine
	g       *graph.Graph
	store   *tensor.Store
	batch   int
	classes int
	plans   map[int]*engine.Plan
}

// NewClassifier checks the graph: inputs other than "input" must not be
// needed for "logits" once dropout is removed. Further outputs are ignored.
func NewClassifier(e *engine.Engine, g *graph.Graph, store *tensor.Store, batch int) (*Classifier, error) {
	if batch < 1 {
		return nil, fmt.Errorf("eval: batch %d, want at least 1", batch)
	}
	g, err := Forward(g)
	if err != nil {
		return nil, err
	}
	classes := g.OutputNode("logits").Shape()[1]
	return &Classifier{e: e, g: g, store: store, batch: batch, classes: classes, plans: map[int]*engine.Plan{}}, nil
}

// Forward returns the part of g that computes the output "logits" from the
// input "input", without dropout, updates and other outputs.
func Forward(g *graph.Graph) (*graph.Graph, error) {
	logits := g.OutputNode("logits")
	if logits == nil || len(logits.Shape()) != 2 {
		return nil, fmt.Errorf("eval: the graph has no output \"logits\" of [batch classes]")
	}
	if in := g.InputNode("input"); in == nil || len(in.Shape()) != 4 {
		return nil, fmt.Errorf("eval: the graph has no input \"input\" of [batch channel height width]")
	}
	c, err := graph.Inference(g)
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	c, err = onlyOutput(c, "logits")
	if err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	for _, n := range c.Inputs() {
		if n.Name() != "input" {
			return nil, fmt.Errorf("eval: the logits depend on the input %q, want \"input\" alone", n.Name())
		}
	}
	return c, nil
}

// onlyOutput returns the graph of one output, without updates.
func onlyOutput(g *graph.Graph, name string) (*graph.Graph, error) {
	keep := graph.New()
	at := make([]*graph.Node, len(g.Nodes()))
	for _, n := range g.Nodes() {
		in := make([]*graph.Node, len(n.In()))
		for i, x := range n.In() {
			in[i] = at[x.ID()]
		}
		at[n.ID()] = keep.Copy(n, in)
	}
	keep.Output(name, at[g.OutputNode(name).ID()])
	return graph.Prune(keep)
}

// plan returns the compiled network for a batch size.
func (c *Classifier) plan(n int) (*engine.Plan, error) {
	if p := c.plans[n]; p != nil {
		return p, nil
	}
	g, err := graph.WithBatch(c.g, n)
	if err != nil {
		return nil, fmt.Errorf("eval: batch %d: %w", n, err)
	}
	p, err := c.e.Compile(g, c.store)
	if err != nil {
		return nil, fmt.Errorf("eval: batch %d: %w", n, err)
	}
	c.plans[n] = p
	return p, nil
}

// Evaluate runs the network on every example once, in the dataset's order.
// Batches are made ahead on another goroutine.
func (c *Classifier) Evaluate(ds *data.Dataset) (Result, error) {
	if err := c.fits(ds); err != nil {
		return Result{}, err
	}
	loader, err := data.NewLoader(ds, data.LoaderConfig{Batch: c.batch, Norm: c.Norm, Epochs: 1})
	if err != nil {
		return Result{}, fmt.Errorf("eval: %w", err)
	}
	defer loader.Close()
	t := Tally{Classes: c.classes}
	if c.CountConfusion {
		t.Confusion = make([][]int, c.classes)
		for i := range t.Confusion {
			t.Confusion[i] = make([]int, c.classes)
		}
	}
	for b, err := range loader.Epoch(0, 0) {
		if err != nil {
			return Result{}, fmt.Errorf("eval: %w", err)
		}
		p, err := c.plan(len(b.Index))
		if err != nil {
			return Result{}, err
		}
		if err := p.SetInput("input", b.Images); err != nil {
			return Result{}, fmt.Errorf("eval: %w", err)
		}
		if err := p.Run(); err != nil {
			return Result{}, fmt.Errorf("eval: %w", err)
		}
		logits := p.Output("logits").Float32s()
		t.Add(logits, b.Labels.Int32s())
		if c.Keep != nil {
			c.Keep(logits)
		}
	}
	return t.Result(), nil
}

// Agreement is the share of examples for which two networks, given by their
// logits [examples, classes], name the same class.
func Agreement(a, b []float32, examples int) (float64, error) {
	if examples < 1 || len(a) == 0 || len(a) != len(b) || len(a)%examples != 0 {
		return 0, fmt.Errorf("eval: agreement: %w: %d and %d logits of %d examples", tensor.ErrShape, len(a), len(b), examples)
	}
	same, classes := 0, len(a)/examples
	for i := range examples {
		if best(a[i*classes:][:classes]) == best(b[i*classes:][:classes]) {
			same++
		}
	}
	return float64(same) / float64(examples), nil
}

// fits compares a dataset with the network's shapes.
func (c *Classifier) fits(ds *data.Dataset) error {
	want := c.g.InputNode("input").Shape()[1:]
	if have := (tensor.Shape{ds.Channels, ds.Height, ds.Width}); !have.Equal(want) {
		return fmt.Errorf("eval: %w: %s has images %v, the network wants %v", tensor.ErrShape, ds.Name, have, want)
	}
	if len(ds.Classes) > c.classes {
		return fmt.Errorf("eval: %s has %d classes, the network %d", ds.Name, len(ds.Classes), c.classes)
	}
	return nil
}

// Tally gathers a Result batch by batch.
type Tally struct {
	// Classes is the length of a row of logits.
	Classes int
	// Confusion, if not nil, is [label][predicted class].
	Confusion [][]int
	// Correct and Top5 count examples, Loss is a sum; a checkpoint may keep
	// them.
	Examples, Correct, Top5 int
	Loss                    float64
}

// Add counts logits [n, Classes] against labels [n]; each label must be in
// 0..Classes-1.
func (t *Tally) Add(logits []float32, labels []int32) {
	for i, y := range labels {
		row := logits[i*t.Classes : (i+1)*t.Classes]
		rank, predicted := place(row, int(y))
		t.Examples++
		if rank == 0 {
			t.Correct++
		}
		if rank < 5 {
			t.Top5++
		}
		t.Loss += crossEntropy(row, int(y))
		if t.Confusion != nil {
			t.Confusion[y][predicted]++
		}
	}
}

// place returns how many logits come before that of class y, and the class of
// the first. Of equal logits the lower class comes first; NaN comes before all,
// so that a broken network is never right.
func place(row []float32, y int) (rank, first int) {
	v := row[y]
	for j, l := range row {
		if j != y && !(l < v || l == v && j > y) {
			rank++
		}
		if l > row[first] {
			first = j
		}
	}
	return rank, first
}

// crossEntropy is -log softmax(row)[y], in float64.
func crossEntropy(row []float32, y int) float64 {
	top := math.Inf(-1)
	for _, l := range row {
		top = math.Max(top, float64(l))
	}
	sum := 0.0
	for _, l := range row {
		sum += math.Exp(float64(l) - top)
	}
	return top + math.Log(sum) - float64(row[y])
}

// Result returns the shares of what was added so far; zero if nothing was.
func (t *Tally) Result() Result {
	if t.Examples == 0 {
		return Result{}
	}
	n := float64(t.Examples)
	a := float64(t.Correct) / n
	return Result{
		Accuracy: a, Top5: float64(t.Top5) / n, Loss: t.Loss / n, Examples: t.Examples,
		StandardError: math.Sqrt(a * (1 - a) / n), Confusion: t.Confusion,
	}
}

// Correct counts the rows of logits [n, classes] whose largest is the label's,
// as Result.Accuracy does; each label must be below classes, and rows of negative
// labels do not count.
func Correct(logits []float32, labels []int32, classes int) int {
	n := 0
	for i, y := range labels {
		if y < 0 {
			continue
		}
		if rank, _ := place(logits[i*classes:(i+1)*classes], int(y)); rank == 0 {
			n++
		}
	}
	return n
}
