package cli

import (
	"os"
	"strings"

	"lowbit/app/verify"
	"lowbit/data"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/model"
	"lowbit/tensor"
)

// floats is what the float engine needs of a network.
type floats struct {
	graph  *graph.Graph
	store  *tensor.Store
	info   model.Info
	source string // of the weights
}

// integers opens a network to run on integers: a packed file, or a quantized
// network that is lowered. Close it.
func (m *modelFlags) integers(ds *data.Dataset) (*verify.Network, error) {
	return verify.Open(m.model, load.Options{Weights: m.weights, Config: m.config(ds)})
}

// floats opens a network for the float engine; a packed file's weights are its
// codes times their steps.
func (m *modelFlags) floats(ds *data.Dataset) (floats, error) {
	if stat, err := os.Stat(m.model); err == nil && !stat.IsDir() && strings.HasSuffix(m.model, packedExt) {
		n, err := m.integers(ds)
		if err != nil {
			return floats{}, err
		}
		defer n.Close()
		return floats{n.Graph, n.Store, n.Info, n.Source}, nil
	}
	l, err := m.load(ds)
	if err != nil {
		return floats{}, err
	}
	return floats{l.Graph, l.Store, l.Info, l.Weights}, nil
}
