package onnx

import (
	"fmt"
	"strings"

	"lowbit/tensor"
)

// Named returns the stored floats of a model under the names that they had in
// PyTorch. Its exporters keep all but the weights of products, which they turn
// round and number: those are called after the bias that is added to the product,
// and turned back to [out, in].
func (m *Model) Named() (*tensor.Store, error) {
	stored := map[string]*Tensor{}
	for _, t := range m.Graph.Initializers {
		stored[t.Name] = t
	}
	products := map[string]*Tensor{} // by the result
	names := map[*Tensor]string{}
	for i := range m.Graph.Nodes {
		n := &m.Graph.Nodes[i]
		if len(n.Inputs) != 2 || len(n.Outputs) != 1 {
			continue
		}
		switch n.Op {
		case "MatMul":
			if t := stored[n.Inputs[1]]; t != nil && len(t.Dims) == 2 {
				products[n.Outputs[0]] = t
			}
		case "Add":
			for k, in := range n.Inputs {
				t, bias := products[in], stored[n.Inputs[1-k]]
				if t == nil || bias == nil {
					continue
				}
				if name, ok := strings.CutSuffix(bias.Name, ".bias"); ok {
					names[t] = name + ".weight"
				}
			}
		}
	}
	store := tensor.NewStore()
	for _, t := range m.Graph.Initializers {
		if t.Type != Float && t.Type != Float16 && t.Type != BFloat16 && t.Type != Double {
			continue
		}
		f, err := t.Floats()
		if err != nil {
			return nil, fmt.Errorf("onnx: %w", err)
		}
		name, shape := t.Name, t.Shape()
		if to := names[t]; to != "" && stored[to] == nil {
			name, f, shape = to, turned(f, shape[0], shape[1]), tensor.Shape{shape[1], shape[0]}
		}
		if store.Get(name) != nil {
			return nil, fmt.Errorf("onnx: two weights %q", name)
		}
		if err := store.Put(name, tensor.FromFloat32s(f, shape...)); err != nil {
			return nil, fmt.Errorf("onnx: %w", err)
		}
	}
	return store, nil
}

// turned swaps the axes of a matrix.
func turned(f []float32, rows, cols int) []float32 {
	out := make([]float32, len(f))
	for r := range rows {
		for c := range cols {
			out[c*rows+r] = f[r*cols+c]
		}
	}
	return out
}
