package verify

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/format/onnx"
	"lowbit/graph"
	"lowbit/infer"
	"lowbit/load"
	"lowbit/tensor"
)

// ONNXStyle names how a quantized network is written as ONNX.
type ONNXStyle string

// Styles. QCDQ is the deploy form, which runtimes compute in integers with the
// same codes. Int4 holds weights of up to 4 bits as INT4 or INT2 and leaves
// activations in floats. Networks in full precision have one form.
const (
	QCDQ ONNXStyle = "qcdq"
	Int4 ONNXStyle = "int4"
)

// ONNX writes a network as an ONNX model, with labels and normalisation as
// Pack's, and reads it back: of a deploy form, a picture of noise must give the
// same codes in every layer; else, the same result within floatTol.
func ONNX(path string, l *load.Loaded, ds *data.Dataset, style ONNXStyle) (Exported, error) {
	info := describe(l, ds)
	e := Exported{Path: path, Labels: info.Labels, Preprocess: info.Preprocess}
	about, err := json.Marshal(info)
	if err != nil {
		return e, fmt.Errorf("verify: %w", err)
	}
	integers := style == QCDQ && hasQuantizers(l.Graph)
	var m *onnx.Model
	if integers {
		m, err = infer.ONNX(l.Graph, l.Store, info)
	} else {
		m, err = onnx.Export(l.Graph, l.Store, string(about))
	}
	if err != nil {
		return e, err
	}
	if err := m.Write(path); err != nil {
		return e, err
	}
	stat, err := os.Stat(path)
	if err != nil {
		return e, err
	}
	e.SizeBytes = stat.Size()
	back, err := load.Model(path, load.Options{})
	if err == nil && integers {
		err = sameCodes(back, l)
	} else if err == nil {
		err = sameLogits(back, l)
	}
	if err != nil {
		return e, fmt.Errorf("verify: %s read back: %w", path, err)
	}
	e.Verified = true
	return e, nil
}

func hasQuantizers(g *graph.Graph) bool {
	return slices.ContainsFunc(g.Nodes(), func(n *graph.Node) bool { _, ok := n.Op().(graph.FakeQuant); return ok })
}

// sameCodes compares two networks layer by layer on a picture of noise.
func sameCodes(got, want *load.Loaded) error {
	m, err := infer.Lower(got.Graph, got.Store)
	if err != nil {
		return err
	}
	r, err := infer.NewReference(want.Graph, want.Store)
	if err != nil {
		return err
	}
	c, err := m.CompareNamed(r, noise(m.InputShape()))
	if err == nil && !c.Equal() {
		err = fmt.Errorf("it is not the network that was written: %v", c.First)
	}
	return err
}

// floatTol bounds the difference of two results in floats, over the largest:
// sums in another order.
const floatTol = 1e-5

// sameLogits compares the results of two networks in floats, without quantizers
// of activations, on a picture of noise.
func sameLogits(got, want *load.Loaded) error {
	var results [2][]float32
	for i, l := range []*load.Loaded{got, want} {
		var err error
		if results[i], err = floatResult(l); err != nil {
			return err
		}
	}
	var diff, most float64
	for i, v := range results[1] {
		diff, most = math.Max(diff, math.Abs(float64(results[0][i]-v))), math.Max(most, math.Abs(float64(v)))
	}
	if len(results[0]) != len(results[1]) || !(diff <= floatTol*most) {
		return fmt.Errorf("results differ by %g, the largest being %g", diff, most)
	}
	return nil
}

// floatActivations takes the quantizers of activations out of a graph.
func floatActivations(g *graph.Graph) (*graph.Graph, error) {
	return graph.Rewrite(g, func(_ *graph.Graph, n *graph.Node, in []*graph.Node) *graph.Node {
		if _, ok := n.Op().(graph.FakeQuant); ok {
			if _, weight := n.In()[0].Op().(graph.Param); !weight {
				return in[0]
			}
		}
		return nil
	})
}

func floatResult(l *load.Loaded) ([]float32, error) {
	g, err := floatActivations(l.Graph)
	if err == nil {
		g, err = graph.Inference(g)
	}
	if err == nil {
		g, err = graph.WithBatch(g, 1)
	}
	if err == nil {
		g, err = graph.Prune(g)
	}
	if err != nil {
		return nil, err
	}
	e := engine.New(1)
	defer e.Close()
	p, err := e.Compile(g, l.Store)
	if err != nil {
		return nil, err
	}
	in := g.InputNode("input").Shape()
	if err := p.SetInput("input", tensor.FromFloat32s(noise(in[1:]), in...)); err != nil {
		return nil, err
	}
	if err := p.Run(); err != nil {
		return nil, err
	}
	return slices.Clone(p.Output("logits").Float32s()), nil
}
