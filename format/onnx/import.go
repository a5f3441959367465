package onnx

import (
	"fmt"
	"slices"
	"strings"

	"lowbit/graph"
	"lowbit/tensor"
)

// Network is an imported model.
type Network struct {
	Graph *graph.Graph
	Store *tensor.Store // its parameters, f32
}

// Options say what a file leaves open.
type Options struct {
	// Free gives sizes to free dimensions by their name; the first of each input
	// is the batch, and 1.
	Free map[string]int
	// Input and Output, if set, are the names that the first input and the first
	// output get.
	Input, Output string
}

// Opsets that are read. Older ones place attributes elsewhere; newer ones may
// mean what this package does not know.
const (
	minOpset = 7
	maxOpset = 28
)

// maxProblems is the most errors that are listed.
const maxProblems = 100

// importer makes a graph of a model.
type importer struct {
	m        *Model
	o        Options
	g        *graph.Graph
	store    *tensor.Store
	values   map[string]*value
	names    map[string]bool // of nodes and parameters
	params   map[string]*graph.Node
	budget   int // elements of constants that may still be worked out
	problems []string
	indices  map[string]bool // inputs that are rows of a table
}

// value is a result: computed by the graph, known, or on its way between integer
// operations. All nil: it could not be made, which is told already.
type value struct {
	n *graph.Node
	c *constant
	q *coded
	s *sums
	// channels are codes with a scale a channel, dequantized.
	channels *coded
}

// Import makes an inference graph of a model, at batch 1 or the batch that the
// file fixes, and the store of its parameters. One error lists all nodes that
// are not supported.
func Import(m *Model, o Options) (net *Network, err error) {
	defer func() {
		if r := recover(); r != nil {
			net, err = nil, fmt.Errorf("onnx: internal error: %v", r)
		}
	}()
	im := &importer{
		m: m, o: o, g: graph.New(), store: tensor.NewStore(), values: map[string]*value{"": nil}, names: map[string]bool{},
		params: map[string]*graph.Node{}, budget: 1 << 20, indices: map[string]bool{},
	}
	if m.Opset < minOpset || m.Opset > maxOpset {
		return nil, fmt.Errorf("onnx: opset %d, want %d to %d", m.Opset, minOpset, maxOpset)
	}
	if m.Graph.Sparse > 0 {
		return nil, fmt.Errorf("onnx: %d sparse initializers, which are not read", m.Graph.Sparse)
	}
	if err := im.sources(); err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	for i := range m.Graph.Nodes {
		im.node(&m.Graph.Nodes[i])
		if err := im.g.Err(); err != nil {
			im.problem(&m.Graph.Nodes[i], err)
			break
		}
	}
	if len(im.problems) > 0 {
		return nil, fmt.Errorf("onnx: %d nodes cannot be imported: %s", len(im.problems), strings.Join(im.problems, "; "))
	}
	if err := im.outputs(); err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	return im.finish()
}

// finish drops what no output needs.
func (im *importer) finish() (*Network, error) {
	g, err := graph.Prune(im.g)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	store := tensor.NewStore()
	for _, p := range g.Params() {
		if err := store.Put(p.Name(), im.store.Get(p.Name())); err != nil {
			return nil, fmt.Errorf("onnx: %w", err)
		}
	}
	return &Network{Graph: g, Store: store}, nil
}

// passing are operations that leave numbers of rows what they are.
var passing = []string{"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"}

// sources declares initializers and inputs.
func (im *importer) sources() error {
	for _, t := range im.m.Graph.Initializers {
		if im.values[t.Name] != nil {
			return fmt.Errorf("two initializers named %q", t.Name)
		}
		if t.Raw == nil {
			return fmt.Errorf("tensor %q: its external data are not loaded", t.Name)
		}
		im.values[t.Name] = known(t)
		im.budget += 4 * t.Size()
	}
	for i := len(im.m.Graph.Nodes) - 1; i >= 0; i-- {
		n := &im.m.Graph.Nodes[i]
		switch {
		case n.Op == "Gather" && len(n.Inputs) > 1:
			im.indices[n.Inputs[1]] = true
		case slices.Contains(passing, n.Op) && len(n.Inputs) > 0 && len(n.Outputs) == 1 && im.indices[n.Outputs[0]]:
			im.indices[n.Inputs[0]] = true
		}
	}
	first := true
	for _, v := range im.m.Graph.Inputs {
		if im.values[v.Name] != nil { // a default of an input: a constant
			continue
		}
		name := v.Name
		if first && im.o.Input != "" {
			name = im.o.Input
		}
		first = false
		shape, err := im.inputShape(v)
		if err != nil {
			return err
		}
		dtype := tensor.F32
		switch v.Type {
		case Float:
		case Int64, Int32, Bool: // numbers of rows, or a mask of zeros and ones
			if im.indices[v.Name] {
				dtype = tensor.I32
			}
		default:
			return fmt.Errorf("input %q: elements of %v, want float, int32 or int64", v.Name, v.Type)
		}
		im.values[v.Name] = &value{n: im.g.Input(im.unique(name), dtype, shape...)}
	}
	return im.g.Err()
}

func known(t *Tensor) *value {
	return &value{c: &constant{name: t.Name, typ: t.Type, shape: t.Shape(), t: t}}
}

func (im *importer) inputShape(v Value) ([]int, error) {
	if len(v.Dims) == 0 {
		return nil, fmt.Errorf("input %q has no shape, want a batch of something", v.Name)
	}
	shape := make([]int, len(v.Dims))
	for i, d := range v.Dims {
		free := im.o.Free[d.Name]
		switch {
		case d.Size > 0 && d.Size < 1<<24:
			shape[i] = int(d.Size)
		case d.Size == 0 && free > 0:
			shape[i] = free
		case d.Size == 0 && i == 0:
			shape[i] = 1
		default:
			return nil, fmt.Errorf("input %q: dimension %d is %q (%d), want a size", v.Name, i, d.Name, d.Size)
		}
	}
	return shape, nil
}

// outputs declares the results.
func (im *importer) outputs() error {
	if len(im.m.Graph.Outputs) == 0 {
		return fmt.Errorf("the graph has no output")
	}
	for i, o := range im.m.Graph.Outputs {
		v := im.values[o.Name]
		if v == nil {
			return fmt.Errorf("output %q is no node's result", o.Name)
		}
		n, err := im.computed(v)
		if err != nil {
			return fmt.Errorf("output %q: %w", o.Name, err)
		}
		name := o.Name
		if i == 0 && im.o.Output != "" {
			name = im.o.Output
		}
		im.g.Output(name, n)
	}
	return im.g.Err()
}

// problem notes a node that cannot be imported.
func (im *importer) problem(n *Node, err error) {
	if len(im.problems) < maxProblems {
		im.problems = append(im.problems, fmt.Sprintf("%s: %v", n.label(), err))
	}
	for _, out := range n.Outputs {
		if im.values[out] == nil {
			im.values[out] = &value{}
		}
	}
}

// call is a node with its operands.
type call struct {
	*Node
	in []*value // nil: left out
}

// node imports one node.
func (im *importer) node(n *Node) {
	c := call{Node: n}
	for _, name := range n.Inputs {
		v, ok := im.values[name]
		if !ok {
			im.problem(n, fmt.Errorf("operand %q is no result of a node before it (a cycle, or a missing name)", name))
			return
		}
		if v != nil && *v == (value{}) { // its own error is told
			for _, out := range n.Outputs {
				im.values[out] = v
			}
			return
		}
		c.in = append(c.in, v)
	}
	for len(c.in) > 0 && c.in[len(c.in)-1] == nil {
		c.in = c.in[:len(c.in)-1]
	}
	for _, out := range n.Outputs {
		if out != "" && im.values[out] != nil {
			im.problem(n, fmt.Errorf("its result %q is the name of another value", out))
			return
		}
	}
	f := handlers[n.Op]
	if f == nil || n.Domain != "" && n.Domain != "ai.onnx" {
		im.problem(n, fmt.Errorf("not supported"))
		return
	}
	if (len(c.in) == 0 || c.in[0] == nil) && n.Op != "Constant" {
		im.problem(n, fmt.Errorf("its first operand is missing"))
		return
	}
	before := len(im.g.Nodes())
	out, err := f(im, c)
	if err != nil {
		im.problem(n, err)
		return
	}
	for i, v := range out {
		if i >= len(n.Outputs) {
			break
		}
		im.values[n.Outputs[i]] = v
		if v.n != nil && v.n.ID() >= before {
			im.label(v.n, n.Outputs[i])
		}
	}
	for _, name := range n.Outputs[min(len(out), len(n.Outputs)):] {
		im.values[name] = &value{} // such as a dropout's mask: an error if it is used
	}
}

// label names a node that has none.
func (im *importer) label(n *graph.Node, name string) {
	if n.Name() == fmt.Sprintf("%s#%d", n.Op().Kind(), n.ID()) {
		n.Named(im.unique(name))
	}
}

// unique returns a name that nothing has yet.
func (im *importer) unique(name string) string {
	free := name
	for i := 2; im.names[free]; i++ {
		free = fmt.Sprintf("%s@%d", name, i)
	}
	im.names[free] = true
	return free
}

// computed returns a value as a node of the graph.
func (im *importer) computed(v *value) (*graph.Node, error) {
	switch {
	case v == nil:
		return nil, fmt.Errorf("an operand is missing")
	case v.n != nil:
		return v.n, nil
	case v.q != nil:
		return im.dequantize(v.q)
	case v.channels != nil:
		return im.scaledBack(v.channels)
	case v.s != nil:
		return nil, fmt.Errorf("32-bit sums are used other than by adding a bias, Cast and Mul")
	case v.c == nil:
		return nil, fmt.Errorf("the operand could not be imported")
	case !v.c.isFloat():
		return nil, fmt.Errorf("stored elements of %v among computed ones, want float", v.c.typ)
	}
	role := graph.Weight
	if len(v.c.shape) <= 1 {
		role = graph.Bias
	}
	return im.param(v.c, role)
}

// param makes a parameter of a constant, and a quantizer behind it if it has
// one; a single number becomes a constant of the graph.
func (im *importer) param(c *constant, role graph.Role) (*graph.Node, error) {
	f, err := c.floats()
	if err != nil {
		return nil, err
	}
	if len(f) == 1 && c.grid == nil && len(c.shape) == 0 {
		return im.g.Scalar(f[0]), nil
	}
	if c.grid != nil && role != graph.Weight { // a vector's values, whatever they were stored in
		plain := *c
		plain.grid = nil
		c = &plain
	}
	key := fmt.Sprintf("%s %v %v", c.name, c.shape, role)
	if c.grid != nil {
		key += fmt.Sprint(c.grid.spec, c.grid.steps)
	}
	if n := im.params[key]; n != nil {
		return n, nil
	}
	n, err := im.stored(c.name, f, c.shape, role)
	if err == nil && c.grid != nil {
		n, err = im.quantizer(n, c.grid.spec, c.grid.steps, n.Name()+"_step")
	}
	im.params[key] = n
	return n, err
}

// stored puts values into the store under a free name.
func (im *importer) stored(name string, f []float32, shape tensor.Shape, role graph.Role) (*graph.Node, error) {
	if name == "" {
		name = "constant"
	}
	name = im.unique(strings.TrimPrefix(name, "onnx::"))
	if err := im.store.Put(name, tensor.FromFloat32s(f, shape...)); err != nil {
		return nil, err
	}
	return im.g.Param(graph.Param{Name: name, Shape: slices.Clone(shape), Role: role}), nil
}
