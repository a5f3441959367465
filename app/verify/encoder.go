package verify

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"lowbit/format/onnx"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/model"
	"lowbit/nn"
)

// Tolerances of an encoder's file read back, as shares of the largest result:
// attention is written out, so that its sums run in another order; where
// activations are rounded, a sum close to the middle of two codes may get the
// other one.
const (
	encoderTol = 1e-3
	codesTol   = 0.1
)

// EncoderONNX writes an encoder as an ONNX model with the inputs of Hugging Face's
// exports, and its tokenizer's files beside it; then reads it back and runs it on
// tokens beside the encoder. A quantized one becomes QDQ, in the style Int4 with
// quantized weights alone.
func EncoderONNX(path string, n *load.Encoder, style ONNXStyle) (Exported, error) {
	e := Exported{Path: path}
	build := n.Graph
	g, err := build(1, 2)
	if err != nil {
		return e, err
	}
	integers, tol := style == QCDQ && hasQuantizers(g), encoderTol
	if integers {
		tol = codesTol
	} else {
		build = func(batch, seq int) (*graph.Graph, error) {
			g, err := n.Graph(batch, seq)
			if err != nil {
				return nil, err
			}
			return floatActivations(g)
		}
	}
	about, err := json.Marshal(map[string]string{"name": filepath.Base(n.Spec), "gives": n.Gives()})
	if err != nil {
		return e, fmt.Errorf("verify: %w", err)
	}
	in := onnx.EncoderInputs{IDs: nn.InputName, Types: model.TypesName, Lengths: nn.LengthsName}
	m, err := onnx.ExportEncoder(g, n.Store, in, integers, string(about))
	if err != nil {
		return e, err
	}
	if err := n.KeepTokenizer(filepath.Dir(path)); err != nil {
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
	back, err := load.ReadBertONNX(path)
	if err == nil {
		err = n.Matches(back, build, tol)
	}
	if err != nil {
		return e, fmt.Errorf("verify: %s read back: %w", path, err)
	}
	e.Verified = true
	return e, nil
}
