// Package verify packs quantized networks into files and holds what runs on
// integers against what it was made from: a file against its run, code for code,
// and its accuracy on a dataset.
package verify

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"lowbit/data"
	"lowbit/graph"
	"lowbit/infer"
	"lowbit/load"
	"lowbit/model"
	"lowbit/tensor"
)

// Network is a quantized network ready to run on integers, beside the graph that
// it computes.
type Network struct {
	Model *infer.Model
	Graph *graph.Graph  // with quantizers
	Store *tensor.Store // the graph's parameters; of a packed file, the codes times their steps
	Info  model.Info    // input and normalisation, as far as they are known
	// Packed reports that it came from a packed file; Source names the file that
	// the weights came from.
	Packed bool
	Source string
	// foreign: it came from another format, whose reader names more values.
	foreign bool
}

// Open opens a packed file, or lowers what load.Model opens.
func Open(spec string, o load.Options) (*Network, error) {
	stat, err := os.Stat(spec)
	if _, zoo := model.Lookup(spec); !zoo && err == nil && !stat.IsDir() && strings.HasSuffix(spec, ".safetensors") && o.Weights == "" {
		m, err := infer.Load(spec)
		if err == nil {
			return openPacked(m, spec)
		}
		if !errors.Is(err, infer.ErrNotPacked) {
			return nil, err
		}
	}
	l, err := load.Model(spec, o)
	if err != nil {
		return nil, err
	}
	return Lower(l)
}

// Lower makes a loaded network ready to run on integers. The error lists every
// operation that does not fit.
func Lower(l *load.Loaded) (*Network, error) {
	quantizer := func(n *graph.Node) bool { _, ok := n.Op().(graph.FakeQuant); return ok }
	if !slices.ContainsFunc(l.Graph.Nodes(), quantizer) {
		return nil, fmt.Errorf("verify: %s is in full precision, want a quantized network to run on integers", l.Spec)
	}
	m, err := infer.Lower(l.Graph, l.Store)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.Spec, err)
	}
	return &Network{Model: m, Graph: l.Graph, Store: l.Store, Info: l.Info, Source: l.Weights, foreign: strings.HasSuffix(l.Spec, ".onnx")}, nil
}

func openPacked(m *infer.Model, path string) (*Network, error) {
	store, err := m.Parameters()
	if err != nil {
		m.Close()
		return nil, err
	}
	n := &Network{Model: m, Graph: m.Graph(), Store: store, Packed: true, Source: path}
	n.Info = model.Info{Name: m.Info().Name, InputShape: m.InputShape()}
	if p := m.Info().Preprocess; p != nil {
		n.Info.Mean, n.Info.Std = p.Mean, p.Std
	}
	return n, nil
}

// Close gives a packed file's mapping back.
func (n *Network) Close() error { return n.Model.Close() }

// Exported is a file that was written and read back.
type Exported struct {
	Path      string `json:"path"`
	SizeBytes int64  `json:"size_bytes"`
	// Verified is true once the file was read back and a picture of noise gave
	// the codes of the network that was written, in every layer.
	Verified bool     `json:"verified"`
	Labels   []string `json:"labels,omitempty"`
	// Preprocess tells how pictures enter; nil if that is not known.
	Preprocess *infer.Preprocess `json:"preprocess,omitempty"`
}

// Pack writes a packed file of a quantized network and verifies it. Labels and
// normalisation are those of ds, which may be nil, else those that the network's
// info names. Compare with examples shows more than Pack's own check.
func Pack(path string, l *load.Loaded, ds *data.Dataset) (Exported, error) {
	info := describe(l, ds)
	e := Exported{Path: path, Labels: info.Labels, Preprocess: info.Preprocess}
	if err := infer.Write(path, l.Graph, l.Store, info); err != nil {
		return e, err
	}
	stat, err := os.Stat(path)
	if err != nil {
		return e, err
	}
	e.SizeBytes = stat.Size()
	m, err := infer.Load(path)
	if err != nil {
		return e, err
	}
	defer m.Close()
	r, err := infer.NewReference(l.Graph, l.Store)
	if err != nil {
		return e, err
	}
	c, err := m.Compare(r, noise(m.InputShape()))
	if err != nil {
		return e, err
	}
	if !c.Equal() {
		return e, fmt.Errorf("verify: %s is not the network that was written: %v", path, c.First)
	}
	e.Verified = true
	return e, nil
}

// describe says what is known of a network.
func describe(l *load.Loaded, ds *data.Dataset) infer.Info {
	shape := l.Graph.InputNode("input").Shape()
	classes := 0
	if out := l.Graph.OutputNode("logits"); out != nil {
		classes = out.Shape()[len(out.Shape())-1]
	}
	info := infer.Info{Name: l.Info.Name, Labels: data.Classes(l.Info.Dataset)}
	if l.Record != nil && len(l.Record.Classes) > 0 {
		info.Labels = l.Record.Classes // a zoo network may have learned other images
	}
	mean, std := l.Info.Mean, l.Info.Std
	if ds != nil {
		info.Labels = ds.Classes
		if len(mean) != ds.Channels {
			mean, std = ds.Normalize.Mean, ds.Normalize.Std
		}
	}
	if len(info.Labels) != classes {
		info.Labels = nil
	}
	if len(shape) == 4 && len(mean) == shape[1] && len(std) == shape[1] {
		p := &infer.Preprocess{Channels: shape[1], Height: shape[2], Width: shape[3], Mean: mean, Std: std}
		if f := data.DefaultFolderConfig(); p.Height == f.Crop && p.Width == f.Crop {
			p.Resize = f.Resize
		}
		info.Preprocess = p
	}
	return info
}
