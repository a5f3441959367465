package infer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/internal/atomicfile"
	"lowbit/quant"
	"lowbit/tensor"
)

// A packed file is a safetensors file. Its metadata hold the version, the
// quantized inference graph (package graph's JSON form) and Info; its tensors
// the graph's parameters by name. A weight whose only reader is its quantizer
// stands there as codes, in the tensor NAME_packed, i32 [rows, words]: one row
// for each index of dimension 0, packed as in pack.go; within a row, the input
// channels of a convolution vary fastest (rows, columns, channels), other
// weights are row-major. Bits and shape are those of the graph.
//
// Version 2 has the tensors of version 1 and another meaning: biases are whole
// numbers of the finer units of root.refine. A file of version 1 is read, and
// computed with these too, as every network is.
const (
	fileVersion = 2
	metaVersion = "lowbit.packed"
	metaGraph   = "lowbit.graph"
	metaInfo    = "lowbit.packed.info"
	packedName  = "_packed"
)

// ErrNotPacked is wrapped by the error for a file that is no packed network.
var ErrNotPacked = errors.New("not a packed network")

// Write makes path a packed file of an inference graph with quantizers, of the
// store that holds its parameters, and of what info says. What it holds is what
// Lower accepts. On an error path keeps what it held before.
func Write(path string, g *graph.Graph, store *tensor.Store, info Info) (err error) {
	defer guard("write", &err)
	packed, meta, err := encode(g, store, info)
	if err == nil {
		err = atomicfile.Write(path, func(w io.Writer) error { return safetensors.Encode(w, packed, meta) })
	}
	if err != nil {
		return fmt.Errorf("infer: write %s: %w", path, err)
	}
	return nil
}

// Encode writes the content of a packed file to w; see Write.
func Encode(w io.Writer, g *graph.Graph, store *tensor.Store, info Info) (err error) {
	defer guard("encode", &err)
	packed, meta, err := encode(g, store, info)
	if err == nil {
		err = safetensors.Encode(w, packed, meta)
	}
	if err != nil {
		return fmt.Errorf("infer: encode: %w", err)
	}
	return nil
}

func encode(g *graph.Graph, store *tensor.Store, info Info) (*tensor.Store, map[string]string, error) {
	one, err := prepare(g)
	if err != nil {
		return nil, nil, err
	}
	if err := info.check(one); err != nil {
		return nil, nil, err
	}
	r := newRules(one, storeSource{store})
	if _, err := lower(one, r.params); err != nil {
		return nil, nil, err
	}
	quantizers := weightQuantizers(one)
	out := tensor.NewStore()
	for _, n := range one.Params() {
		name := n.Op().(graph.Param).Name
		t := store.Get(name)
		if t == nil || t.DType() != tensor.F32 || !t.Shape().Equal(n.Shape()) {
			return nil, nil, fmt.Errorf("parameter %q: %v, want f32%v", name, t, n.Shape())
		}
		if q := quantizers[name]; q != nil {
			axis := q.Op().(graph.FakeQuant).Spec.Axis
			codes, _, bits, err := r.weightCodes(q, axis)
			if err != nil {
				return nil, nil, fmt.Errorf("parameter %q: %w", name, err)
			}
			w, _ := codes()
			name, t = name+packedName, packTensor(w, n.Shape(), bits)
		}
		if err := out.Put(name, t); err != nil {
			return nil, nil, err
		}
	}
	text, err := graph.Encode(one)
	if err != nil {
		return nil, nil, err
	}
	about, err := json.Marshal(info)
	if err != nil {
		return nil, nil, err
	}
	return out, map[string]string{metaVersion: strconv.Itoa(fileVersion), metaGraph: string(text), metaInfo: string(about)}, nil
}

// weightQuantizers returns, for each parameter that only a quantizer of weights
// reads, that quantizer.
func weightQuantizers(g *graph.Graph) map[string]*graph.Node {
	uses, out := g.Uses(), map[string]*graph.Node{}
	for _, n := range g.Params() {
		if u := uses[n.ID()]; len(u) == 1 && u[0].In()[0] == n {
			o, ok := u[0].Op().(graph.FakeQuant)
			if s := o.Spec; ok && s.Signed && s.Bits <= 8 && s.Granularity <= quant.PerChannel && len(n.Shape()) > 1 {
				out[n.Op().(graph.Param).Name] = u[0]
			}
		}
	}
	return out
}

func packTensor(w []int8, shape tensor.Shape, bits int) *tensor.Tensor {
	rows, n := shape[0], shape[1:].Size()
	if len(shape) == 4 {
		w = channelsLast(w, rows, shape[1], shape[2]*shape[3])
	}
	t := tensor.New(tensor.I32, rows, packedWords(n, bits))
	packCodes(t.Bytes(), w, n, bits)
	return t
}

// fileSource gives the parameters of a packed file.
type fileSource struct {
	get   func(name string) *tensor.Tensor
	codeq map[string]*graph.Node
}

func (s *fileSource) floats(name string) []float32 {
	if t := s.get(name); t != nil && t.DType() == tensor.F32 {
		return t.Float32s()
	}
	return nil
}

func (s *fileSource) codes(name string) func() ([]int8, bool) {
	q := s.codeq[name]
	if q == nil {
		return nil
	}
	return func() ([]int8, bool) {
		shape, bits := q.Shape(), q.Op().(graph.FakeQuant).Spec.Bits
		w := make([]int8, shape.Size())
		unpackCodes(w, s.get(name+packedName).Bytes(), shape[1:].Size(), bits)
		return w, len(shape) == 4
	}
}

// Load makes a model of a packed file. The file is mapped into memory until
// Close; the model itself holds its weights in the form of the CPU's kernels.
func Load(path string) (m *Model, err error) {
	defer guard("load", &err)
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, fmt.Errorf("infer: load: %w", err)
	}
	m, err = open(f.Metadata(), f.Names(), func(name string) *tensor.Tensor {
		t, err := f.Tensor(name)
		if err != nil {
			return nil
		}
		return t
	})
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("infer: load %s: %w", path, err)
	}
	m.closer = f
	return m, nil
}

// Decode makes a model of a packed file's content, such as one embedded in a
// program.
func Decode(b []byte) (m *Model, err error) {
	defer guard("decode", &err)
	store, meta, err := safetensors.Decode(b)
	if err == nil {
		m, err = open(meta, store.Names(), store.Get)
	}
	if err != nil {
		return nil, fmt.Errorf("infer: decode: %w", err)
	}
	return m, nil
}

func open(meta map[string]string, names []string, get func(string) *tensor.Tensor) (*Model, error) {
	switch v, ok := meta[metaVersion]; {
	case !ok:
		return nil, fmt.Errorf("%w: its metadata lack %q", ErrNotPacked, metaVersion)
	case v != "1" && v != strconv.Itoa(fileVersion):
		return nil, fmt.Errorf("packed version %q, want 1 or %d", v, fileVersion)
	}
	g, err := graph.Decode([]byte(meta[metaGraph]))
	if err != nil {
		return nil, err
	}
	var info Info
	if err := json.Unmarshal([]byte(meta[metaInfo]), &info); err != nil {
		return nil, fmt.Errorf("%s: %w", metaInfo, err)
	}
	if g, err = prepare(g); err != nil {
		return nil, err
	}
	if err := info.check(g); err != nil {
		return nil, err
	}
	s := &fileSource{get: get, codeq: map[string]*graph.Node{}}
	known := map[string]bool{}
	quantizers := weightQuantizers(g)
	for _, n := range g.Params() {
		name := n.Op().(graph.Param).Name
		want := fmt.Sprintf("f32%v", n.Shape())
		stored := name
		if q := quantizers[name]; q != nil {
			s.codeq[name], stored = q, name+packedName
			shape := n.Shape()
			want = fmt.Sprintf("i32%v", tensor.Shape{shape[0], packedWords(shape[1:].Size(), q.Op().(graph.FakeQuant).Spec.Bits)})
		}
		if t := get(stored); t == nil || t.String() != want {
			return nil, fmt.Errorf("tensor %q: %v, want %s", stored, t, want)
		}
		known[stored] = true
	}
	for _, name := range names {
		if !known[name] {
			return nil, fmt.Errorf("tensor %q belongs to no parameter of the graph", name)
		}
	}
	return lowerModel(g, s, info)
}

// Close gives a loaded file's mapping back; sessions may go on, Parameters may
// not.
func (m *Model) Close() error {
	if m.closer == nil {
		return nil
	}
	c := m.closer
	m.closer, m.params = nil, nil
	return c.Close()
}

// Parameters returns the network's parameters as floats, the packed weights as
// step times code, so that Graph with them is the network that was packed:
// quantizing them again gives the same codes.
func (m *Model) Parameters() (*tensor.Store, error) {
	if m.params == nil {
		return nil, errors.New("infer: parameters: the model's file is closed")
	}
	r := newRules(m.graph, m.params)
	quantizers, out := weightQuantizers(m.graph), tensor.NewStore()
	for _, n := range m.graph.Params() {
		name, t := n.Op().(graph.Param).Name, tensor.New(tensor.F32, n.Shape()...)
		if q := quantizers[name]; q != nil {
			if err := r.dequantize(t.Float32s(), q); err != nil {
				return nil, fmt.Errorf("infer: parameter %q: %w", name, err)
			}
		} else if v := m.params.floats(name); len(v) == t.Len() {
			copy(t.Float32s(), v)
		} else {
			return nil, fmt.Errorf("infer: parameter %q is missing", name)
		}
		if err := out.Put(name, t); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// dequantize sets w, row-major, to step*code of a quantizer of weights.
func (r *rules) dequantize(w []float32, q *graph.Node) error {
	axis := q.Op().(graph.FakeQuant).Spec.Axis
	codes, steps, _, err := r.weightCodes(q, axis)
	if err != nil {
		return err
	}
	v, last := codes()
	shape := q.Shape()
	if last {
		v = channelsFirst(v, shape[0], shape[1], shape[2]*shape[3])
	}
	run := shape[axis+1:].Size()
	for i, k := range v {
		w[i] = float32(k) * steps[i/run%len(steps)]
	}
	return nil
}

// channelsFirst turns weights [o, taps, c] into [o, c, taps].
func channelsFirst(w []int8, o, c, taps int) []int8 { return channelsLast(w, o, taps, c) }

// check returns an error if what the info says does not fit the network.
func (i Info) check(g *graph.Graph) error {
	result := g.OutputNode(outputName).Shape()
	if n := len(i.Labels); n > 0 && (len(result) != 2 || result[1] != n) {
		return fmt.Errorf("%d labels for a result of %v", n, result)
	}
	p := i.Preprocess
	if p == nil {
		return nil
	}
	in := g.Inputs()[0].Shape()
	if len(in) != 4 || in[1] != p.Channels || in[2] != p.Height || in[3] != p.Width {
		return fmt.Errorf("preprocessing to [%d %d %d] for an input of %v", p.Channels, p.Height, p.Width, in)
	}
	return p.check()
}
