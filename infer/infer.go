// Package infer runs quantized networks on integers: u8 activations times s8
// weights into int32 sums, and one multiplication and one rounding from a sum
// to the next layer's code.
//
//	m, err := infer.Load("cat.lowbit.safetensors")
//	s := m.NewSession(infer.Options{Threads: 1})
//	err = s.Run(in, out)
//
// Lower makes a Model of an inference graph with quantizers, Write a packed
// file of one, Load a Model of the file. A Model never changes and may be
// shared; a Session holds one caller's memory and threads.
//
// What a network computes is the deploy form: batch norms and biases are folded
// with the steps, in float64, into a float32 multiplier M and an int32 bias for
// each channel, and
//
//	code = clamp(rne(float32(acc+bias)*M) + zero)
//
// with ties to even and no fused multiply-add; a result that stays in floats is
// float32(float32(acc)*M) + shift. Reference computes it in plain
// loops; Compare holds a model against it, code for code. A session gives the
// same bits for any number of threads and on every row of kernels.
package infer

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"lowbit/graph"
	"lowbit/tensor"
)

// outputName is the result of a network.
const outputName = "logits"

// Model is a network ready to run. It is safe for concurrent use.
type Model struct {
	graph  *graph.Graph
	plan   *plan
	info   Info
	params source
	closer io.Closer // of the file behind params
}

// Info is what a packed file says about its network beside the graph.
type Info struct {
	Name   string   `json:"name,omitempty"`   // of the network
	Labels []string `json:"labels,omitempty"` // of the classes
	// Preprocess tells how a picture becomes the network's input; nil if that
	// is not known.
	Preprocess *Preprocess       `json:"preprocess,omitempty"`
	Extra      map[string]string `json:"extra,omitempty"` // anything else: origin, licence, accuracy
}

// Preprocess turns a picture into an input: the short side is resized to
// Resize, the central Height x Width taken, and a pixel p of 0..255 of a channel
// enters as (p/255 - Mean)/Std. One channel takes the picture's luminance.
type Preprocess struct {
	Channels int       `json:"channels"` // 1 or 3
	Height   int       `json:"height"`
	Width    int       `json:"width"`
	Resize   int       `json:"resize,omitempty"` // 0: the short side of Height x Width
	Mean     []float32 `json:"mean"`             // one for each channel
	Std      []float32 `json:"std"`
}

// Lower makes a model of an inference graph whose convolutions and linear
// layers have quantizers on inputs and weights, and of the store that holds its
// parameters. The graph's result is the output "logits", or its only output.
//
// The runtime has: convolutions (any stride, padding, dilation, groups), linear
// layers, batch norms, biases and factors per channel, relu, relu6, adds and
// products of activations, max, average and global average pooling, slices,
// padding, concatenation, flattening and softmax. Activations have one step a
// tensor and at most 8 bits, weights one a tensor or an output channel. The
// error lists everything that does not fit.
func Lower(g *graph.Graph, store *tensor.Store) (m *Model, err error) {
	defer guard("lower", &err)
	m, err = lowerModel(g, storeSource{store}, Info{})
	if err != nil {
		return nil, fmt.Errorf("infer: lower: %w", err)
	}
	return m, nil
}

func lowerModel(g *graph.Graph, params source, info Info) (*Model, error) {
	one, err := prepare(g)
	if err != nil {
		return nil, err
	}
	p, err := lower(one, params)
	if err != nil {
		return nil, err
	}
	return &Model{graph: one, plan: p, info: info, params: params}, nil
}

// Info returns what is known about the network. The caller must not change it.
func (m *Model) Info() Info { return m.info }

// Graph returns the network's graph with its quantizers, for one example. The
// caller must not change it.
func (m *Model) Graph() *graph.Graph { return m.graph }

// InputShape returns the shape of one example: channels, height, width.
func (m *Model) InputShape() []int { return append([]int(nil), m.plan.input...) }

// OutputShape returns the shape of one result, such as [classes].
func (m *Model) OutputShape() []int { return append([]int(nil), m.plan.outputShape...) }

// Kernel returns the row of kernels that the model is packed for.
func (m *Model) Kernel() string { return m.plan.k.Name }

// Explain lists the instructions in the order in which they run.
func (m *Model) Explain() []OpInfo {
	var list []OpInfo
	for _, i := range m.plan.instructions {
		list = append(list, i.explain(m.plan.k))
	}
	return list
}

// WeightBytes is the memory of the packed weights.
func (m *Model) WeightBytes() (n int) {
	for _, i := range m.plan.instructions {
		if o, ok := i.op.(*sumOp); ok {
			n += len(o.layer.Packed)
		}
	}
	return n
}

// ArenaBytes is the memory of one example's activations in a session.
func (m *Model) ArenaBytes() int { return m.plan.arenaBytes }

// guard turns a panic below a public function into an error.
func guard(what string, err *error) {
	if r := recover(); r != nil {
		if e, ok := r.(runtime.Error); ok {
			*err = fmt.Errorf("infer: %s: internal error: %w", what, e)
			return
		}
		*err = fmt.Errorf("infer: %s: internal error: %v", what, r)
	}
}

// errClosed is returned by a session after Close.
var errClosed = errors.New("infer: the session is closed")
