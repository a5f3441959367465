package infer

import (
	"context"
	"fmt"
	"slices"

	"lowbit/graph"
	"lowbit/mixed"
	"lowbit/quant"
	"lowbit/tensor"
)

// Latency is a mixed.CostModel of measured times: what a layer takes in the
// integer runtime, on this machine, at a width. It may be stored as JSON, so
// that a selection can be repeated.
type Latency struct {
	Kernel  string      `json:"kernel"`
	Threads int         `json:"threads"`
	Layers  []LayerTime `json:"layers"`
}

// LayerTime is the least time of one example through a layer.
type LayerTime struct {
	Layer string      `json:"layer"`
	Width quant.Width `json:"width"`
	NS    int64       `json:"ns"`
}

var _ mixed.CostModel = (*Latency)(nil)

// LatencyOptions of a measurement.
type LatencyOptions struct {
	Threads int // 0: one for each CPU that Go may use
	Runs    int // of each layer, the fastest counts; 0: 20
	// Progress is called before each measurement; nil: not at all.
	Progress func(done, total int)
}

// MeasureLatency times each convolution and linear layer of a graph, with or
// without quantizers, at each width: a network of that layer alone, with codes
// at its input and its output, on noise. Layers of one shape are measured once.
// Where a narrower width came out slower, by noise, the wider one's time
// counts for both: a code of fewer bits can be stored in more. An ended context
// stops it with the context's error.
func MeasureLatency(ctx context.Context, g *graph.Graph, widths []quant.Width, o LatencyOptions) (*Latency, error) {
	if o.Runs <= 0 {
		o.Runs = 20
	}
	if len(widths) == 0 {
		return nil, fmt.Errorf("infer: latency: no widths")
	}
	float, err := mixed.Float(g)
	if err != nil {
		return nil, fmt.Errorf("infer: latency: %w", err)
	}
	if float, err = graph.WithBatch(float, 1); err != nil {
		return nil, fmt.Errorf("infer: latency: %w", err)
	}
	l := &Latency{}
	layers := latencyLayers(float)
	known := map[string]int64{}
	for i, n := range layers {
		for j, w := range slices.Backward(widths) {
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("infer: latency: %w", err)
			}
			if o.Progress != nil {
				o.Progress(i*len(widths)+len(widths)-1-j, len(layers)*len(widths))
			}
			key := fmt.Sprint(n.Op(), n.In()[0].Shape(), n.In()[1].Shape(), w)
			if _, ok := known[key]; !ok {
				if known[key], err = l.measure(n, w, o); err != nil {
					return nil, fmt.Errorf("infer: latency: %s %q at %v: %w", n.Op().Kind(), n.Name(), w, err)
				}
			}
			l.Layers = append(l.Layers, LayerTime{n.Name(), w, known[key]})
		}
	}
	l.smooth()
	return l, nil
}

// latencyLayers are the layers with weights of their own.
func latencyLayers(g *graph.Graph) (out []*graph.Node) {
	for _, n := range g.Nodes() {
		switch n.Op().(type) {
		case graph.Conv2D, graph.MatMul:
			if _, ok := n.In()[1].Op().(graph.Param); ok {
				out = append(out, n)
			}
		}
	}
	return out
}

// measure times one layer.
func (l *Latency) measure(n *graph.Node, w quant.Width, o LatencyOptions) (int64, error) {
	if w.Weight < 2 || w.Act < 1 {
		return 0, fmt.Errorf("the integer runtime has no such width")
	}
	g, store := graph.New(), tensor.NewStore()
	quantizer := func(x *graph.Node, name string, s quant.Spec) *graph.Node {
		step := g.Param(graph.Param{Name: name, Shape: []int{1}, Role: graph.Step, Init: graph.Init{Kind: graph.InitConst, Value: 1}})
		return g.FakeQuant(x, step, graph.FakeQuant{Spec: s, StepGrad: graph.StepLSQ})
	}
	act := quant.Spec{Bits: w.Act}
	x := quantizer(g.Input("input", tensor.F32, n.In()[0].Shape()...), "input_step", act)
	weight := quantizer(g.Param(graph.Param{Name: "weight", Shape: n.In()[1].Shape(), Role: graph.Weight, Init: graph.Init{Kind: graph.InitNormal, Value: 1}}),
		"weight_step", quant.Spec{Bits: w.Weight, Signed: true})
	g.Output(outputName, quantizer(g.Apply(n.Op(), x, weight).Named("layer"), "output_step", act))
	if err := g.Err(); err != nil {
		return 0, err
	}
	if err := graph.InitParams(g, store, 1); err != nil {
		return 0, err
	}
	m, err := Lower(g, store)
	if err != nil {
		return 0, err
	}
	s := m.NewSession(Options{Threads: o.Threads})
	defer s.Close()
	times, err := s.Profile(make([]float32, product(m.InputShape())), o.Runs)
	if err != nil {
		return 0, err
	}
	l.Kernel, l.Threads = m.Kernel(), s.Threads()
	for _, t := range times {
		if t.Name == "layer" {
			return max(1, int64(t.Seconds*1e9)), nil
		}
	}
	return 0, fmt.Errorf("the layer is not among its network's instructions")
}

// smooth makes no width slower than one that has at least its bits.
func (l *Latency) smooth() {
	for i := range l.Layers {
		a := &l.Layers[i]
		for _, b := range l.Layers {
			if a.Layer == b.Layer && a.Width.Weight <= b.Width.Weight && a.Width.Act <= b.Width.Act {
				a.NS = min(a.NS, b.NS)
			}
		}
	}
}

// Name implements mixed.CostModel.
func (*Latency) Name() string { return "latency" }

// Unit implements mixed.CostModel.
func (*Latency) Unit() string { return "ns" }

// Cost implements mixed.CostModel. A layer or width that was not measured is
// an error.
func (l *Latency) Cost(layer mixed.Layer, w quant.Width) (int64, error) {
	for _, t := range l.Layers {
		if t.Layer == layer.Name && t.Width == w {
			return t.NS, nil
		}
	}
	return 0, fmt.Errorf("infer: latency of %q at %v was not measured", layer.Name, w)
}
