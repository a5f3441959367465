package neuro

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"lowbit/format/safetensors"
	"lowbit/internal/atomicfile"
	"lowbit/tensor"
)

// A core network file is a safetensors file. Its metadata has one key, whose
// value is JSON: version, sizes and layers. Neurons of all cores follow each
// other, used slots only.
//
//	core.layer      i32 [cores]         layer, and 1<<16 for a splitter
//	core.place      i32 [cores, 2]      x, y
//	core.neurons    i32 [cores]         used slots
//	core.axon_type  u8  [cores, 256]
//	neuron.synapses u8  [neurons, 32]   axon a in bit a%8 of byte a/8
//	neuron.weights  i16 [neurons, 4]
//	neuron.values   i32 [neurons, 6]    leak, threshold, negative threshold, reset potential, target, unit
//	neuron.modes    u8  [neurons, 3]    reset, delay, target axon
//	route           i32 [routes, 3]     input, core, axon
const (
	// FileVersion is the version that is written and the only one that is read.
	FileVersion = 1
	metaKey     = "lowbit.cores"
	splitterBit = 1 << 16
	valueCount  = 6
	modeCount   = 3
)

type fileHead struct {
	Version int         `json:"version"`
	Inputs  int         `json:"inputs"`
	Outputs int         `json:"outputs"`
	Actions int         `json:"actions"`
	Latency int         `json:"latency"`
	Width   int         `json:"width"`
	Layers  []LayerInfo `json:"layers"`
}

// Write makes path a file of the network, which must be valid. On any error
// path keeps what it held.
func Write(path string, nw *Network) error {
	return atomicfile.Write(path, func(w io.Writer) error { return Encode(w, nw) })
}

// Encode writes the content of such a file to w; equal networks give equal
// bytes.
func Encode(w io.Writer, nw *Network) error {
	if err := nw.Validate(); err != nil {
		return err
	}
	head, err := json.Marshal(fileHead{FileVersion, nw.Inputs, nw.Outputs, nw.Actions, nw.Latency, nw.Width, nw.Layers})
	if err != nil {
		return fmt.Errorf("neuro: file: %w", err)
	}
	s := tensor.NewStore()
	if err := nw.putCores(s); err != nil {
		return fmt.Errorf("neuro: file: %w", err)
	}
	if err := safetensors.Encode(w, s, map[string]string{metaKey: string(head)}); err != nil {
		return fmt.Errorf("neuro: file: %w", err)
	}
	return nil
}

func (nw *Network) putCores(s *tensor.Store) error {
	cores, neurons := len(nw.Cores), 0
	for i := range nw.Cores {
		neurons += len(nw.Cores[i].Neurons)
	}
	layer, place, count := make([]int32, 0, cores), make([]int32, 0, 2*cores), make([]int32, 0, cores)
	types := make([]byte, 0, cores*CoreAxons)
	synapses, weights, modes := make([]byte, 0, 32*neurons), make([]byte, 0, 2*AxonTypes*neurons), make([]byte, 0, modeCount*neurons)
	values := make([]int32, 0, valueCount*neurons)
	for i := range nw.Cores {
		c := &nw.Cores[i]
		l := c.Layer
		if c.Splitter {
			l |= splitterBit
		}
		layer, place, count = append(layer, l), append(place, c.X, c.Y), append(count, int32(len(c.Neurons)))
		types = append(types, c.Type[:]...)
		for k := range c.Neurons {
			n := &c.Neurons[k]
			for _, w := range n.Conn {
				synapses = binary.LittleEndian.AppendUint64(synapses, w)
			}
			for _, w := range n.Weights {
				weights = binary.LittleEndian.AppendUint16(weights, uint16(w))
			}
			values = append(values, n.Leak, n.Theta, n.NegTheta, n.VReset, n.Target, n.Unit)
			modes = append(modes, byte(n.Reset), n.Delay, n.Axon)
		}
	}
	routes := make([]int32, 0, 3*len(nw.Routes))
	for _, r := range nw.Routes {
		routes = append(routes, r.Input, r.Core, int32(r.Axon))
	}
	put := func(name string, dtype tensor.DType, data []byte, shape ...int) error {
		t, err := tensor.FromBytes(dtype, shape, data)
		if err != nil {
			return err
		}
		return s.Put(name, t)
	}
	return errors.Join(
		s.Put("core.layer", tensor.FromInt32s(layer, cores)),
		s.Put("core.place", tensor.FromInt32s(place, cores, 2)),
		s.Put("core.neurons", tensor.FromInt32s(count, cores)),
		put("core.axon_type", tensor.U8, types, cores, CoreAxons),
		put("neuron.synapses", tensor.U8, synapses, neurons, 32),
		put("neuron.weights", tensor.I16, weights, neurons, AxonTypes),
		s.Put("neuron.values", tensor.FromInt32s(values, neurons, valueCount)),
		put("neuron.modes", tensor.U8, modes, neurons, modeCount),
		s.Put("route", tensor.FromInt32s(routes, len(nw.Routes), 3)),
	)
}

// Read reads a file and validates the network.
func Read(path string) (*Network, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("neuro: file: %w", err)
	}
	nw, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return nw, nil
}

// Decode reads a file's content and validates the network. It allocates at
// most a small multiple of len(b).
func Decode(b []byte) (*Network, error) {
	store, meta, err := safetensors.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("neuro: file: %w", err)
	}
	nw, err := decodeHead(meta)
	if err == nil {
		err = nw.getCores(store)
	}
	if err != nil {
		return nil, fmt.Errorf("neuro: file: %w", err)
	}
	if err := nw.Validate(); err != nil {
		return nil, err
	}
	return nw, nil
}

func decodeHead(meta map[string]string) (*Network, error) {
	text, ok := meta[metaKey]
	if !ok {
		return nil, fmt.Errorf("metadata lacks %q: not a core network", metaKey)
	}
	var h fileHead
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&h); err != nil {
		return nil, fmt.Errorf("metadata %q: %w", metaKey, err)
	}
	if h.Version != FileVersion {
		return nil, fmt.Errorf("version %d, want %d", h.Version, FileVersion)
	}
	if len(h.Layers) >= splitterBit {
		return nil, fmt.Errorf("%d layers, want fewer than %d", len(h.Layers), splitterBit)
	}
	return &Network{Inputs: h.Inputs, Outputs: h.Outputs, Actions: h.Actions, Latency: h.Latency, Width: h.Width, Layers: h.Layers}, nil
}

// fileTensors are the tensors of a file, shapes checked.
type fileTensors struct {
	layer, place, count, values, routes []int32
	types, synapses, weights, modes     []byte
}

func openTensors(s *tensor.Store) (*fileTensors, error) {
	var f fileTensors
	var err error
	get := func(name string, dtype tensor.DType, cols int) *tensor.Tensor {
		t := s.Get(name)
		if t == nil {
			err = errors.Join(err, fmt.Errorf("tensor %q is missing", name))
			return tensor.New(dtype, 0)
		}
		sh := t.Shape()
		if t.DType() != dtype || cols == 0 && len(sh) != 1 || cols > 0 && (len(sh) != 2 || sh[1] != cols) {
			err = errors.Join(err, fmt.Errorf("tensor %q is %v, want %v with %d columns", name, t, dtype, cols))
			return tensor.New(dtype, 0)
		}
		return t
	}
	f.layer = get("core.layer", tensor.I32, 0).Int32s()
	f.place = get("core.place", tensor.I32, 2).Int32s()
	f.count = get("core.neurons", tensor.I32, 0).Int32s()
	f.types = get("core.axon_type", tensor.U8, CoreAxons).Bytes()
	f.synapses = get("neuron.synapses", tensor.U8, 32).Bytes()
	f.weights = get("neuron.weights", tensor.I16, AxonTypes).Bytes()
	f.values = get("neuron.values", tensor.I32, valueCount).Int32s()
	f.modes = get("neuron.modes", tensor.U8, modeCount).Bytes()
	f.routes = get("route", tensor.I32, 3).Int32s()
	if err != nil {
		return nil, err
	}
	cores, neurons := len(f.layer), len(f.values)/valueCount
	if len(f.place) != 2*cores || len(f.count) != cores || len(f.types) != CoreAxons*cores {
		return nil, fmt.Errorf("%d cores, but tensors of other lengths", cores)
	}
	if len(f.synapses) != 32*neurons || len(f.weights) != 2*AxonTypes*neurons || len(f.modes) != modeCount*neurons {
		return nil, fmt.Errorf("%d neurons, but tensors of other lengths", neurons)
	}
	if s.Len() != 9 {
		return nil, fmt.Errorf("%d tensors, want 9", s.Len())
	}
	return &f, nil
}

func (nw *Network) getCores(s *tensor.Store) error {
	f, err := openTensors(s)
	if err != nil {
		return err
	}
	nw.Cores = make([]Core, len(f.layer))
	next, all := 0, len(f.values)/valueCount
	for i := range nw.Cores {
		c := &nw.Cores[i]
		c.Layer, c.Splitter = f.layer[i]&^splitterBit, f.layer[i]&splitterBit != 0
		c.X, c.Y = f.place[2*i], f.place[2*i+1]
		copy(c.Type[:], f.types[i*CoreAxons:])
		n := int(f.count[i])
		if n < 0 || n > all-next {
			return fmt.Errorf("core %d: %d neurons of %d that are left", i, n, all-next)
		}
		c.Neurons = make([]Neuron, n)
		for k := range c.Neurons {
			c.Neurons[k] = f.neuron(next)
			next++
		}
	}
	if next != all {
		return fmt.Errorf("%d neurons of %d belong to no core", all-next, all)
	}
	nw.Routes = make([]Route, len(f.routes)/3)
	for i := range nw.Routes {
		r := f.routes[3*i:]
		if r[2] < 0 || r[2] >= CoreAxons {
			return fmt.Errorf("route %d: axon %d, want 0..%d", i, r[2], CoreAxons-1)
		}
		nw.Routes[i] = Route{r[0], r[1], uint8(r[2])}
	}
	return nil
}

func (f *fileTensors) neuron(i int) Neuron {
	v, m := f.values[valueCount*i:], f.modes[modeCount*i:]
	n := Neuron{Leak: v[0], Theta: v[1], NegTheta: v[2], VReset: v[3], Target: v[4], Unit: v[5], Reset: Reset(m[0]), Delay: m[1], Axon: m[2]}
	for k := range n.Conn {
		n.Conn[k] = binary.LittleEndian.Uint64(f.synapses[32*i+8*k:])
	}
	for k := range n.Weights {
		n.Weights[k] = int16(binary.LittleEndian.Uint16(f.weights[2*(AxonTypes*i+k):]))
	}
	return n
}
