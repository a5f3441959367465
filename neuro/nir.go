package neuro

import (
	"fmt"
	"io"

	"lowbit/format/hdf5"
	"lowbit/internal/atomicfile"
)

// nirVersion is the version of NIR whose nodes are written.
const nirVersion = "1.0"

// WriteNIR makes path a file of the net in the neuromorphic intermediate
// representation (NIR, an HDF5 layout): a chain of Conv2d or Flatten and
// Affine nodes, each followed by a Threshold.
//
// NIR's threshold fires above its value, so it is the integer threshold less
// one half. NIR has no channel permutation and its reader takes the input
// channels from the weights, so convolutions are written with one group:
// permutation and groups stand in the weights, as zeros elsewhere.
func WriteNIR(path string, net *Net) error {
	return atomicfile.Write(path, func(w io.Writer) error { return EncodeNIR(w, net) })
}

// EncodeNIR writes the content of such a file; equal nets give equal bytes.
func EncodeNIR(w io.Writer, net *Net) error {
	if err := net.Check(); err != nil {
		return err
	}
	root := hdf5.NewFile()
	root.Text("version", []string{nirVersion})
	node := root.Group("node")
	node.Text("type", []string{"NIRGraph"})
	c := &nirChain{nodes: node.Group("nodes")}
	c.shape("input", "Input", net.Input)
	in := net.Input
	flat := false
	for i := range net.Layers {
		l := &net.Layers[i]
		if l.Kind == Linear && !flat {
			c.flatten(fmt.Sprintf("%02d_flatten", i), in)
			flat = true
		}
		c.layer(i, l, flat)
		in = l.OutShape()
	}
	if flat {
		c.ints("output", "Output", int64(in.Size()))
	} else {
		c.shape("output", "Output", in)
	}
	node.Text("edges", c.edges, len(c.edges)/2, 2)
	if err := root.Encode(w); err != nil {
		return fmt.Errorf("neuro: nir: %w", err)
	}
	return nil
}

// nirChain adds nodes, each with an edge from the one before.
type nirChain struct {
	nodes *hdf5.Group
	last  string
	edges []string
}

func (c *nirChain) node(name, kind string) *hdf5.Group {
	if c.last != "" {
		c.edges = append(c.edges, c.last, name)
	}
	c.last = name
	g := c.nodes.Group(name)
	g.Text("type", []string{kind})
	return g
}

func (c *nirChain) ints(name, kind string, shape ...int64) {
	c.node(name, kind).Int64("shape", shape, len(shape))
}

func (c *nirChain) shape(name, kind string, s Shape) {
	c.ints(name, kind, int64(s.C), int64(s.H), int64(s.W))
}

func (c *nirChain) flatten(name string, s Shape) {
	g := c.node(name, "Flatten")
	g.Int64("start_dim", []int64{0})
	g.Int64("end_dim", []int64{-1})
	g.Int64("input_type", []int64{int64(s.C), int64(s.H), int64(s.W)}, 3)
}

// layer adds the weights of layer i and its threshold. After a flatten node
// all is flat: a linear layer's output has one element a feature.
func (c *nirChain) layer(i int, l *Layer, flat bool) {
	geo := l.geometry()
	if !flat {
		g := c.node(fmt.Sprintf("%02d_conv", i), "Conv2d")
		g.Float32("weight", l.dense(&geo), l.Out, geo.in.C, geo.kh, geo.kw)
		g.Float32("bias", make([]float32, l.Out), l.Out)
		pair := func(name string, a, b int) { g.Int64(name, []int64{int64(a), int64(b)}, 2) }
		pair("stride", geo.sh, geo.sw)
		pair("padding", geo.ph, geo.pw)
		pair("dilation", 1, 1)
		pair("input_shape", geo.in.H, geo.in.W)
		g.Int64("groups", []int64{1})
	} else {
		g := c.node(fmt.Sprintf("%02d_affine", i), "Affine")
		g.Float32("weight", l.dense(&geo), l.Out, geo.in.C)
		g.Float32("bias", make([]float32, l.Out), l.Out)
	}
	area := geo.out.H * geo.out.W
	t := make([]float32, geo.out.Size())
	for k := range t {
		// A threshold of more than 2^23 has no half in float32; the fan-in is
		// smaller, so the bits stay the same.
		v := max(int32(-geo.fanIn), min(int32(geo.fanIn+1), l.Thresholds[k/area]))
		t[k] = float32(v) - 0.5
	}
	g := c.node(fmt.Sprintf("%02d_threshold", i), "Threshold")
	if flat {
		g.Float32("threshold", t, len(t))
	} else {
		g.Float32("threshold", t, geo.out.C, geo.out.H, geo.out.W)
	}
}

// dense returns the weights as [Out, C, kernel height, kernel width] over all
// input channels in the previous layer's order.
func (l *Layer) dense(g *geometry) []float32 {
	area := g.kh * g.kw
	w := make([]float32, l.Out*g.in.C*area)
	for o := range l.Out {
		first := o / g.cout * g.cin
		for c := range g.cin {
			from := l.Weights[o*g.fanIn+c*area:]
			to := w[(o*g.in.C+l.channel(first+c))*area:]
			for k := range area {
				to[k] = float32(from[k])
			}
		}
	}
	return w
}

// channel is the previous layer's channel that the layer sees as c.
func (l *Layer) channel(c int) int {
	if l.Perm != nil {
		return int(l.Perm[c])
	}
	return c
}
