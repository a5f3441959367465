package verify

import (
	"fmt"
	"os"

	"lowbit/app/export"
	"lowbit/data"
	"lowbit/graph"
	"lowbit/infer"
	"lowbit/load"
)

// ONNX writes a network as an ONNX model, with labels and normalisation as
// Pack's, and reads it back: of a quantized network in its deploy form, a picture
// of noise must give the same codes in every layer and the same result.
func ONNX(path string, l *load.Loaded, ds *data.Dataset, style export.ONNXStyle) (Exported, error) {
	info := describe(l, ds)
	e := Exported{Path: path, Labels: info.Labels, Preprocess: info.Preprocess}
	m, err := export.ONNX(l, info, style)
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
	if err != nil {
		return e, fmt.Errorf("verify: %s read back: %w", path, err)
	}
	if style == export.QCDQ && Quantized(l.Graph) {
		err = sameCodes(back, l)
	} else {
		err = sameLogits(back, l, style)
	}
	if err != nil {
		return e, fmt.Errorf("verify: %s read back: %w", path, err)
	}
	e.Verified = true
	return e, nil
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
	c, err := m.Compare(r, noise(m.InputShape()))
	if err != nil {
		return err
	}
	if !c.Equal() {
		return fmt.Errorf("it is not the network that was written: %v", c.First)
	}
	return nil
}

// Quantized reports whether a graph has quantizers.
func Quantized(g *graph.Graph) bool {
	for _, n := range g.Nodes() {
		if _, ok := n.Op().(graph.FakeQuant); ok {
			return true
		}
	}
	return false
}
