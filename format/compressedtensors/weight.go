package compressedtensors

import (
	"fmt"

	"lowbit/tensor"
)

// Parts are the suffixes of a layer's tensors.
const (
	packedPart = ".weight_packed" // int32 [out, words]
	codesPart  = ".weight"        // int8 [out, in], or floats of a layer that is not quantized
	scalePart  = ".weight_scale"  // [1], [out, 1] or [out, in/group]
	shapePart  = ".weight_shape"  // int64 [2]: out, in
)

// Weight is a layer's quantized weight.
type Weight struct {
	Out, In int
	Bits    int
	Codes   []int8         // [out, in]
	Scale   *tensor.Tensor // [out, 1]; floats of any type
}

// Put adds the tensors of a layer to a store, packed.
func (w Weight) Put(to *tensor.Store, layer string) error {
	if len(w.Codes) != w.Out*w.In || w.Scale.Len() != w.Out {
		return fmt.Errorf("compressedtensors: %s: %d codes and %d scales for [%d %d]", layer, len(w.Codes), w.Scale.Len(), w.Out, w.In)
	}
	words, err := Pack(w.Codes, w.In, w.Bits)
	if err != nil {
		return fmt.Errorf("%s: %w", layer, err)
	}
	packed := tensor.New(tensor.I32, w.Out, Words(w.In, w.Bits))
	copy(packed.Int32s(), words)
	shape := tensor.New(tensor.I64, 2)
	copy(shape.Int64s(), []int64{int64(w.Out), int64(w.In)})
	for name, t := range map[string]*tensor.Tensor{packedPart: packed, scalePart: w.Scale, shapePart: shape} {
		if err := to.Put(layer+name, t); err != nil {
			return fmt.Errorf("compressedtensors: %w", err)
		}
	}
	return nil
}

// Values returns scale times code, [out, in] float32.
func (w Weight) Values() (*tensor.Tensor, error) {
	scale, err := w.Scale.ToFloat32()
	if err != nil {
		return nil, fmt.Errorf("compressedtensors: scales: %w", err)
	}
	s, t := scale.Float32s(), tensor.New(tensor.F32, w.Out, w.In)
	if len(s) == 0 || w.Out*w.In%len(s) != 0 {
		return nil, fmt.Errorf("compressedtensors: %d scales for [%d %d]", len(s), w.Out, w.In)
	}
	each := w.Out * w.In / len(s) // codes of one scale; they lie side by side
	v := t.Float32s()
	for i, k := range w.Codes {
		v[i] = s[i/each] * float32(k)
	}
	return t, nil
}

// Read returns the weight of a layer from the folder's tensors by name; false if
// it has no scale and so is not quantized. get returns nil for a name that is not
// there. bits is the width of its group.
func Read(get func(name string) (*tensor.Tensor, error), layer string, bits int) (Weight, bool, error) {
	w := Weight{Bits: bits}
	var err error
	if w.Scale, err = get(layer + scalePart); err != nil || w.Scale == nil {
		return w, false, err
	}
	if packed, err := get(layer + packedPart); err != nil {
		return w, true, err
	} else if packed != nil {
		err = w.unpack(get, layer, packed)
		return w, true, err
	}
	t, err := get(layer + codesPart)
	switch {
	case err != nil:
		return w, true, err
	case t == nil || t.DType() != tensor.I8 || len(t.Shape()) != 2:
		return w, true, fmt.Errorf("compressedtensors: %s has a scale, but neither %s nor %s of int8", layer, packedPart, codesPart)
	}
	w.Out, w.In, w.Codes = t.Shape()[0], t.Shape()[1], t.Int8s()
	return w, true, w.checkScale(layer)
}

func (w *Weight) unpack(get func(string) (*tensor.Tensor, error), layer string, packed *tensor.Tensor) error {
	shape, err := get(layer + shapePart)
	if err != nil {
		return err
	}
	if shape == nil || shape.DType() != tensor.I64 || shape.Len() != 2 {
		return fmt.Errorf("compressedtensors: %s%s is missing or not two numbers", layer, shapePart)
	}
	out, in := shape.Int64s()[0], shape.Int64s()[1]
	const most = 1 << 30
	if packed.DType() != tensor.I32 || len(packed.Shape()) != 2 || out < 1 || in < 1 || in > most || int64(packed.Shape()[0]) != out || packed.Shape()[1] != Words(int(in), w.Bits) {
		return fmt.Errorf("compressedtensors: %s%s is %v, want int32 [%d %d] for [%d %d] of %d bits", layer, packedPart, packed, out, Words(int(max(1, min(in, most))), w.Bits), out, in, w.Bits)
	}
	w.Out, w.In = int(out), int(in)
	if w.Codes, err = Unpack(packed.Int32s(), w.In, w.Bits); err != nil {
		return fmt.Errorf("%s: %w", layer, err)
	}
	return w.checkScale(layer)
}

// checkScale wants one scale for all, for each row, or for groups of each row.
func (w *Weight) checkScale(layer string) error {
	n := w.Scale.Len()
	if n == 1 || n >= w.Out && n%w.Out == 0 && w.In%(n/w.Out) == 0 {
		return nil
	}
	return fmt.Errorf("compressedtensors: %s%s has %d values for a weight of [%d %d]", layer, scalePart, n, w.Out, w.In)
}

// Layer is the name of the layer that a tensor belongs to; false for tensors of
// other kinds than the parts of a quantized weight.
func Layer(name string) (string, bool) {
	for _, part := range []string{packedPart, scalePart, shapePart} {
		if n := len(name) - len(part); n > 0 && name[n:] == part {
			return name[:n], true
		}
	}
	return "", false
}
