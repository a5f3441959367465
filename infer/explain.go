package infer

import (
	"lowbit/graph"
	"lowbit/internal/kernel"
)

// OpInfo describes one instruction of a network.
type OpInfo struct {
	Name       string `json:"name"`                  // of the layer or node
	Kind       string `json:"kind"`                  // such as "conv2d", "add"
	Integer    bool   `json:"integer"`               // sums and results in integers; else a float island
	Why        string `json:"why,omitempty"`         // of a float island
	WeightBits int    `json:"weight_bits,omitempty"` // of a layer
	ActBits    int    `json:"act_bits,omitempty"`    // of a layer's input
	MACs       int64  `json:"macs,omitempty"`        // of one example
	Kernel     string `json:"kernel,omitempty"`      // of an integer sum: what computes it
	MemoryBits int    `json:"memory_bits,omitempty"` // of a layer: in which its weights lie in memory
	// WeightBytes is the memory of a layer's packed weights.
	WeightBytes int `json:"weight_bytes,omitempty"`
	// Inputs and Outputs are the forms of the values: "u4", "s8", "float".
	Inputs  []string `json:"inputs"`
	Outputs []string `json:"outputs"`
	Shape   [3]int   `json:"shape"` // channels, height, width of the result
}

// info describes a node that has no weights.
func (l *lowering) info(n *graph.Node, to target) OpInfo {
	return OpInfo{Name: n.Name(), Kind: n.Op().Kind(), Integer: to.codes}
}

// layerInfo describes an integer sum.
func (l *lowering) layerInfo(t *root) OpInfo {
	i := OpInfo{Name: t.node.Name(), Kind: t.node.Op().Kind(), Integer: true, WeightBits: t.bits}
	if t.bits > 0 {
		i.ActBits = t.in.bits
	}
	if c, ok := t.node.Op().(graph.Coster); ok {
		i.MACs = c.MACs(t.node)
	}
	return i
}

// explain completes what is known of an instruction when all of them are.
func (i *instruction) explain(k *kernel.Table) OpInfo {
	info := i.info
	for _, v := range i.in {
		info.Inputs = append(info.Inputs, v.to.String())
	}
	for _, v := range i.out {
		info.Outputs = append(info.Outputs, v.to.String())
		info.Shape = [3]int{v.c, v.h, v.w}
	}
	switch o := i.op.(type) {
	case *inputOp:
		info.Inputs, info.Integer = []string{"float"}, true
	case *sumOp:
		info.Kernel, info.MemoryBits = k.IntKernel(&o.layer)
		info.WeightBytes = len(o.layer.Packed)
		for _, s := range o.sinks {
			if !s.out.to.codes {
				info.Why = "its result is wanted in floats"
			}
		}
	case *floatOp:
		info.Integer = true
		for _, v := range append(i.in[:len(i.in):len(i.in)], i.out...) {
			if !v.to.codes {
				info.Integer, info.Why = false, "an operand or the result has no quantizer"
			}
		}
	case *meanOp:
		info.Why = "its operand has no quantizer"
	case *softmaxOp:
		info.Why = "it is computed in floats"
	case *maxPoolOp, *moveOp:
		if !info.Integer {
			info.Why = "its operand has no quantizer"
		}
	}
	return info
}
