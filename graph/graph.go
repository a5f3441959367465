// Package graph is the spine of lowbit: a typed, static list of operations in
// topological order with named parameters. It says what a network means; it
// runs nothing. Engines, formats, methods and the integer runtime are its
// consumers and do not know each other.
//
// A Graph is built once for one batch size (WithBatch makes the same graph for
// another) and never changed afterwards; passes return new graphs. Building
// never panics: the first mistake is kept and returned by Err, with the node,
// the op and the shapes.
package graph

import (
	"errors"
	"fmt"

	"lowbit/tensor"
)

// Type is the element type and shape of a node's value. The logical order of a
// four-dimensional value is batch, channel, height, width.
type Type struct {
	DType tensor.DType
	Shape tensor.Shape
}

// String returns such as "f32[128 3 32 32]".
func (t Type) String() string { return t.DType.String() + t.Shape.String() }

// F32 returns the type of a float32 value.
func F32(shape ...int) Type { return Type{tensor.F32, shape} }

// Op is an operation: its meaning, shape rule and attributes. An Op is a plain
// value without state; everything an executor needs stands in it.
type Op interface {
	// Kind is the op's name in files and messages, such as "conv2d".
	Kind() string
	// Infer returns the type of the result, or an error that names what does
	// not fit.
	Infer(in []Type) (Type, error)
}

// Differentiable is an Op with a gradient.
type Differentiable interface {
	Op
	// Gradient returns the gradient of each input of n, given that of its
	// result; nil for inputs without one.
	Gradient(g *Graph, n, dy *Node) []*Node
}

// Coster is an Op whose multiply-accumulate operations count.
type Coster interface {
	// MACs of one evaluation at the node's shapes.
	MACs(n *Node) int64
}

// Node is one value of a graph.
type Node struct {
	id   int
	op   Op
	in   []*Node
	typ  Type
	name string
}

// ID is the node's position in Graph.Nodes.
func (n *Node) ID() int { return n.id }

// Op returns the operation that computes the node.
func (n *Node) Op() Op { return n.op }

// In returns the operands; the caller must not change the slice.
func (n *Node) In() []*Node { return n.in }

// Type returns the node's type.
func (n *Node) Type() Type { return n.typ }

// Shape returns the node's dimensions.
func (n *Node) Shape() tensor.Shape { return n.typ.Shape }

// Name is the node's name: given, or made from its kind and position.
func (n *Node) Name() string {
	if n.name != "" {
		return n.name
	}
	return fmt.Sprintf("%s#%d", n.op.Kind(), n.id)
}

// Named sets the node's name and returns it; used while building.
func (n *Node) Named(name string) *Node {
	n.name = name
	return n
}

// Output is a named result.
type Output struct {
	Name string
	Node *Node
}

// Update replaces a parameter's value by a node's when a run has ended: running
// statistics, optimizer steps. Every other reader in the same run sees the old
// value.
type Update struct {
	Param, Value *Node
}

// Graph is a list of nodes in topological order.
type Graph struct {
	nodes   []*Node
	outputs []Output
	updates []Update
	params  map[string]*Node
	inputs  map[string]*Node
	err     error
}

// New returns an empty graph.
func New() *Graph { return &Graph{params: map[string]*Node{}, inputs: map[string]*Node{}} }

// Err returns the first mistake made while building, or nil.
func (g *Graph) Err() error { return g.err }

// Fail records a mistake of a builder; the first one is kept.
func (g *Graph) Fail(err error) {
	if g.err == nil {
		g.err = err
	}
}

// Nodes returns all nodes, operands before their users.
func (g *Graph) Nodes() []*Node { return g.nodes }

// Outputs returns the named results in the order they were added.
func (g *Graph) Outputs() []Output { return g.outputs }

// Updates returns the parameter updates in the order they were added.
func (g *Graph) Updates() []Update { return g.updates }

// Output adds a named result.
func (g *Graph) Output(name string, n *Node) {
	for _, o := range g.outputs {
		if o.Name == name {
			g.Fail(fmt.Errorf("graph: two outputs named %q", name))
		}
	}
	g.outputs = append(g.outputs, Output{name, n})
}

// OutputNode returns the node of a named result, or nil.
func (g *Graph) OutputNode(name string) *Node {
	for _, o := range g.outputs {
		if o.Name == name {
			return o.Node
		}
	}
	return nil
}

// Update adds the replacement of a parameter's value; see Update.
func (g *Graph) Update(param, value *Node) {
	if _, ok := param.op.(Param); !ok {
		g.Fail(fmt.Errorf("graph: update of %q, which is a %s and no param", param.Name(), param.op.Kind()))
		return
	}
	if !param.typ.Shape.Equal(value.typ.Shape) {
		g.Fail(fmt.Errorf("graph: update of %q: %w: %v by %v", param.Name(), tensor.ErrShape, param.typ, value.typ))
		return
	}
	g.updates = append(g.updates, Update{param, value})
}

// Find returns the node of that name, or nil.
func (g *Graph) Find(name string) *Node {
	for _, n := range g.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

// errPoisoned marks nodes built from a node that already failed.
var errPoisoned = errors.New("operand failed")

// Apply adds a node. On a type error it records the error, naming node, op and
// operand types, and returns a node that poisons its users silently.
func (g *Graph) Apply(op Op, in ...*Node) *Node {
	n := &Node{id: len(g.nodes), op: op, in: in}
	types := make([]Type, len(in))
	for i, x := range in {
		if x == nil || x.typ.DType == tensor.Invalid {
			g.Fail(fmt.Errorf("graph: %s: operand %d: %w", op.Kind(), i, errPoisoned))
			return n
		}
		types[i] = x.typ
	}
	t, err := op.Infer(types)
	if err != nil {
		g.Fail(fmt.Errorf("graph: node %s (%s of %s): %w", n.Name(), op.Kind(), describe(in), err))
		return n
	}
	n.typ = t
	g.nodes = append(g.nodes, n)
	return n
}

func describe(in []*Node) string {
	s := ""
	for i, x := range in {
		if i > 0 {
			s += ", "
		}
		s += x.Name() + " " + x.typ.String()
	}
	return s
}

// Input adds a value that each run is given.
func (g *Graph) Input(name string, dtype tensor.DType, shape ...int) *Node {
	if g.inputs[name] != nil {
		g.Fail(fmt.Errorf("graph: two inputs named %q", name))
	}
	return g.input(Input{Name: name, DType: dtype, Shape: shape})
}

// FixedInput adds a value that each run is given and whose shape does not
// depend on the batch, such as a seed or a learning rate. Asking again for a
// name returns the same node.
func (g *Graph) FixedInput(name string, dtype tensor.DType, shape ...int) *Node {
	o := Input{Name: name, DType: dtype, Shape: shape, Fixed: true}
	n := g.inputs[name]
	if n == nil {
		return g.input(o)
	}
	if have := n.op.(Input); !have.Fixed || have.DType != dtype || !n.typ.Shape.Equal(shape) {
		g.Fail(fmt.Errorf("graph: input %q: %w: have %v, want a fixed %v%v", name, tensor.ErrShape, n.typ, dtype, tensor.Shape(shape)))
	}
	return n
}

func (g *Graph) input(o Input) *Node {
	n := g.Apply(o).Named(o.Name)
	g.inputs[o.Name] = n
	return n
}

// InputNode returns the input of that name, or nil.
func (g *Graph) InputNode(name string) *Node { return g.inputs[name] }

// Param adds a value that lives in the Store under its name. Asking again for
// a name with the same shape returns the same node, so parameters can be tied.
func (g *Graph) Param(p Param) *Node {
	if n := g.params[p.Name]; n != nil {
		if !n.typ.Shape.Equal(p.Shape) {
			g.Fail(fmt.Errorf("graph: param %q: %w: %v and %v", p.Name, tensor.ErrShape, n.typ.Shape, p.Shape))
		}
		return n
	}
	n := g.Apply(p).Named(p.Name)
	g.params[p.Name] = n
	return n
}

// ParamNode returns the parameter of that name, or nil.
func (g *Graph) ParamNode(name string) *Node { return g.params[name] }

// Params returns all parameter nodes in graph order.
func (g *Graph) Params() []*Node {
	var ps []*Node
	for _, n := range g.nodes {
		if _, ok := n.op.(Param); ok {
			ps = append(ps, n)
		}
	}
	return ps
}

// Inputs returns all input nodes in graph order.
func (g *Graph) Inputs() []*Node {
	var ns []*Node
	for _, n := range g.nodes {
		if _, ok := n.op.(Input); ok {
			ns = append(ns, n)
		}
	}
	return ns
}

// Uses returns, for each node ID, the nodes that read it (a node that reads it
// twice stands twice).
func (g *Graph) Uses() [][]*Node {
	u := make([][]*Node, len(g.nodes))
	for _, n := range g.nodes {
		for _, x := range n.in {
			u[x.id] = append(u[x.id], n)
		}
	}
	return u
}
