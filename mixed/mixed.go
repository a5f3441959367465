// Package mixed chooses the precision of each layer: it links layers that must
// share one, prices them, and solves for the widths that gain most under a
// budget.
//
//	Link        groups of layers, from the graph
//	CostModel   what a layer costs at a width
//	Scorer      what each group gains from each width; one folder in method/ each
//	Select      an exact multiple-choice knapsack over the gains
//	WriteBits   the bits file that a quantizer reads
//
// Problem and notation: EAGL and ALPS (arXiv 2301.13330v2); of that paper only
// abstract and introduction were at hand, see method/eagl/README.md.
package mixed

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"lowbit/graph"
	"lowbit/quant"
)

// Layer is a convolution or matrix product with a weight of its own.
type Layer struct {
	Name   string
	Weight string // the parameter
	MACs   int64  // of one example
	Params int64  // elements of the weight; 0 if an earlier layer has the same
	Group  int    // position in Network.Groups
	// Spec and Step are the weight's quantizer and the parameter of its step,
	// where the network has one.
	Spec quant.Spec
	Step string
}

// Quantized reports whether the weight has a quantizer.
func (l Layer) Quantized() bool { return l.Step != "" }

// Group is a set of layers that share one precision.
type Group struct {
	Name   string       // of its first layer
	Layers []int        // positions in Network.Layers, ascending
	Fixed  *quant.Width // nil: to be selected
}

// Network is a graph seen as layers and groups.
type Network struct {
	Graph *graph.Graph // as given, with or without quantizers
	Float *graph.Graph // without
	// Layers are in graph order; Groups in the order of their first layers.
	Layers []Layer
	Groups []Group
	// Tables are the names of the embeddings' nodes, which have the outer width,
	// and Outer is that width.
	Tables []string
	Outer  int
	// Residual is what the network does to the operands of adds: 8 bits if a
	// quantizer stands in front of one.
	Residual quant.Residual
	// Fingerprint names the network without quantizers and weights, the same
	// for any batch size.
	Fingerprint string
}

// Options of Link.
type Options struct {
	// Outer is the width of weights and inputs of the first and the last layers,
	// which are not selected; 0: 8.
	Outer int
	// Pin fixes further layers by name, and with them their groups.
	Pin map[string]quant.Width
}

// Link finds the layers of a graph in inference form and groups those that must
// share a precision: layers that read the same activation tensor (the first
// convolution and the 1x1 shortcut of a residual block; q, k and v; gate and
// up), seen through quantizers, reshapes and transposes, and layers with the
// same weight. The layers that no other layer stands before or behind are fixed
// at the outer width, and with them their groups; tables of embeddings have that
// width, too, and count as layers before others.
//
// Errors: no layer, two layers of one name, a pinned layer that is not there, a
// group whose fixed layers want different widths.
func Link(g *graph.Graph, o Options) (*Network, error) {
	if o.Outer == 0 {
		o.Outer = 8
	}
	float, err := Float(g)
	if err != nil {
		return nil, err
	}
	n := &Network{Graph: g, Float: float, Residual: residual(g), Outer: o.Outer}
	for _, x := range float.Nodes() {
		if _, ok := x.Op().(graph.Embedding); ok && weightOf(x) == x.In()[0] {
			n.Tables = append(n.Tables, x.Name())
		}
	}
	if n.Fingerprint, err = fingerprint(float); err != nil {
		return nil, err
	}
	nodes, err := n.findLayers(g, float)
	if err != nil {
		return nil, err
	}
	n.link(nodes)
	return n, n.fix(nodes, o)
}

// Float returns the graph without quantizers and what belonged to them alone.
func Float(g *graph.Graph) (*graph.Graph, error) {
	f, err := graph.Rewrite(g, func(_ *graph.Graph, n *graph.Node, in []*graph.Node) *graph.Node {
		if _, ok := n.Op().(graph.FakeQuant); ok {
			return in[0]
		}
		return nil
	})
	if err == nil {
		f, err = graph.Prune(f)
	}
	if err != nil {
		return nil, fmt.Errorf("mixed: %w", err)
	}
	return f, nil
}

func fingerprint(float *graph.Graph) (string, error) {
	one, err := graph.WithBatch(float, 1)
	if err != nil {
		return "", fmt.Errorf("mixed: %w", err)
	}
	code, err := graph.Encode(one)
	if err != nil {
		return "", fmt.Errorf("mixed: %w", err)
	}
	h := sha256.Sum256(code)
	return hex.EncodeToString(h[:]), nil
}

func residual(g *graph.Graph) quant.Residual {
	for _, n := range g.Nodes() {
		if o, ok := n.Op().(graph.Binary); !ok || o.F != graph.Add {
			continue
		}
		for _, x := range n.In() {
			if _, ok := x.Op().(graph.FakeQuant); ok {
				return quant.Residual8
			}
		}
	}
	return quant.ResidualFloat
}

// weightOf returns the weight parameter that a node reads, or nil.
func weightOf(n *graph.Node) *graph.Node {
	for _, x := range n.In() {
		if p, ok := x.Op().(graph.Param); ok && p.Role == graph.Weight {
			return x
		}
	}
	return nil
}

// isLayer reports whether a node of a float graph multiplies its input with a
// weight.
func isLayer(n *graph.Node) bool {
	switch n.Op().(type) {
	case graph.Conv2D, graph.MatMul:
		return weightOf(n) != nil && weightOf(n) == n.In()[1]
	}
	return false
}

// findLayers fills n.Layers and returns their nodes in the float graph.
func (n *Network) findLayers(g, float *graph.Graph) ([]*graph.Node, error) {
	quantizers := map[string]graph.Layer{}
	for _, l := range graph.Layers(g) {
		quantizers[l.Name] = l
	}
	batch := int64(max(float.Batch(), 1))
	var nodes []*graph.Node
	seen, weights := map[string]bool{}, map[string]bool{}
	for _, node := range float.Nodes() {
		if !isLayer(node) {
			continue
		}
		w := weightOf(node)
		l := Layer{Name: node.Name(), Weight: w.Name()}
		if !weights[l.Weight] {
			weights[l.Weight] = true
			l.Params = int64(w.Shape().Size())
		}
		if seen[l.Name] {
			return nil, fmt.Errorf("mixed: two layers named %q", l.Name)
		}
		seen[l.Name] = true
		l.MACs = node.Op().(graph.Coster).MACs(node) / batch
		if q := quantizers[l.Name].WeightQuant; q != nil {
			l.Spec, l.Step = q.Op().(graph.FakeQuant).Spec, q.In()[1].Name()
		}
		n.Layers, nodes = append(n.Layers, l), append(nodes, node)
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("mixed: the graph has no layer with a weight")
	}
	return nodes, nil
}

// source follows a tensor back through ops that only arrange its values.
func source(x *graph.Node) *graph.Node {
	for {
		switch x.Op().(type) {
		case graph.Reshape, graph.Transpose, graph.Dropout:
			x = x.In()[0]
		default:
			return x
		}
	}
}

// link fills n.Groups: a layer joins the group of the first layer that shares
// its input or its weight; where it shares with two groups, they become one.
func (n *Network) link(nodes []*graph.Node) {
	parent := make([]int, len(nodes))
	root := func(i int) int {
		for parent[i] != i {
			i = parent[i]
		}
		return i
	}
	reader := map[*graph.Node]int{}
	for i, node := range nodes {
		parent[i] = i
		for _, x := range []*graph.Node{source(node.In()[0]), node.In()[1]} {
			first, ok := reader[x]
			if !ok {
				reader[x] = i
				continue
			}
			a, b := root(first), root(i)
			parent[max(a, b)] = min(a, b)
		}
	}
	at := map[int]int{}
	for i := range nodes {
		r := root(i)
		if r == i {
			at[i] = len(n.Groups)
			n.Groups = append(n.Groups, Group{Name: n.Layers[i].Name})
		}
		n.Layers[i].Group = at[r]
		n.Groups[at[r]].Layers = append(n.Groups[at[r]].Layers, i)
	}
}

// fix sets the width of groups that are not selected.
func (n *Network) fix(nodes []*graph.Node, o Options) error {
	wanted := map[string]quant.Width{}
	first, last := ends(n.Float)
	for _, node := range nodes {
		if first[node.ID()] || last[node.ID()] {
			wanted[node.Name()] = quant.Width{Weight: o.Outer, Act: o.Outer}
		}
	}
	for name, w := range o.Pin {
		if !slices.ContainsFunc(n.Layers, func(l Layer) bool { return l.Name == name }) {
			return fmt.Errorf("mixed: pinned layer %q is no layer of the network", name)
		}
		wanted[name] = w
	}
	for i := range n.Groups {
		g := &n.Groups[i]
		by := ""
		for _, l := range g.Layers {
			name := n.Layers[l].Name
			w, ok := wanted[name]
			switch {
			case !ok:
			case g.Fixed != nil && *g.Fixed != w:
				return fmt.Errorf("mixed: %s wants %v and %s %v, but they read one tensor or share a weight: no width satisfies the group", by, *g.Fixed, name, w)
			default:
				g.Fixed, by = &w, name
			}
		}
	}
	plan := quant.BitPlan{Layers: wanted}
	if err := plan.Validate(); err != nil {
		return fmt.Errorf("mixed: %w", err)
	}
	return nil
}

// ends marks, by node, the layers that no node with a weight stands before, and
// those that none stands behind. An embedding table counts as a weight.
func ends(g *graph.Graph) (first, last []bool) {
	nodes := g.Nodes()
	first, last = make([]bool, len(nodes)), make([]bool, len(nodes))
	before, behind := make([]bool, len(nodes)), make([]bool, len(nodes))
	for i, n := range nodes {
		for _, x := range n.In() {
			before[i] = before[i] || before[x.ID()] || weightOf(x) != nil
		}
		first[i] = isLayer(n) && !before[i]
	}
	for i := len(nodes) - 1; i >= 0; i-- {
		n := nodes[i]
		last[i] = isLayer(n) && !behind[i]
		for _, x := range n.In() {
			if behind[i] || weightOf(n) != nil {
				behind[x.ID()] = true
			}
		}
	}
	return first, last
}
