package load

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"lowbit/format/onnx"
	"lowbit/graph"
	"lowbit/model"
	"lowbit/nn"
)

func isONNX(path string) bool { return strings.EqualFold(filepath.Ext(path), ".onnx") }

// onnxFile opens an ONNX model whose first input are images and whose first
// output are logits.
func onnxFile(path string) (*Loaded, error) {
	if isBertONNX(path) {
		return nil, noRun("file", path)
	}
	m, err := onnx.Read(path)
	if err != nil {
		return nil, err
	}
	net, err := onnx.Import(m, onnx.Options{Input: nn.InputName, Output: nn.LogitsName})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l := &Loaded{Graph: net.Graph, Store: net.Store, Weights: path, Metadata: map[string]string{}}
	if err := checkGraph(l.Graph); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if l.Graph, err = graph.WithBatch(l.Graph, 1); err != nil {
		return nil, fmt.Errorf("%s: its batch is fixed: %w", path, err)
	}
	for _, p := range l.Graph.Params() {
		if err := finite(p.Name(), l.Store.Get(p.Name()).Float32s()); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	for _, e := range m.Metadata {
		l.Metadata[e.Key] = e.Value
	}
	info, err := onnxInfo(l.Metadata[onnx.MetaInfo])
	if err != nil {
		return nil, fmt.Errorf("%s: metadata %s: %w", path, onnx.MetaInfo, err)
	}
	l.Info = adapt(info, l.Graph)
	return l, nil
}

// onnxInfo reads what an exported file says about itself; nothing of a file of
// somebody else.
func onnxInfo(text string) (model.Info, error) {
	if text == "" {
		return model.Info{}, nil
	}
	var about struct {
		Name       string `json:"name"`
		Preprocess *struct {
			Mean []float32 `json:"mean"`
			Std  []float32 `json:"std"`
		} `json:"preprocess"`
	}
	if err := json.Unmarshal([]byte(text), &about); err != nil {
		return model.Info{}, err
	}
	info, _ := model.Lookup(about.Name)
	if info.Name == "" {
		info.Name = about.Name
	}
	if p := about.Preprocess; p != nil {
		info.Mean, info.Std = p.Mean, p.Std
	}
	return info, nil
}
