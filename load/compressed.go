package load

import (
	"errors"
	"fmt"

	"lowbit/format/compressedtensors"
	"lowbit/format/safetensors"
	"lowbit/tensor"
)

// readCompressed reads a folder that compressed-tensors describes: quantized
// weights become float32, scale times code.
func (l *Language) readCompressed(f *safetensors.Folder, description []byte) (*tensor.Store, error) {
	c, err := compressedtensors.ParseConfig(description)
	if err != nil {
		return nil, err
	}
	if c.Quantizes() {
		return nil, errors.New("quantization_config: activations are quantized, too, which is not read back yet: want weights alone, or the original")
	}
	return l.decompress(f, c)
}

// decompress reads weights and leaves aside what is said of activations.
func (l *Language) decompress(f *safetensors.Folder, c compressedtensors.Config) (*tensor.Store, error) {
	names := map[string]bool{}
	for _, name := range f.Names() {
		names[name] = true
	}
	get := func(name string) (*tensor.Tensor, error) {
		if !names[name] {
			return nil, nil
		}
		return f.Tensor(name)
	}
	quantized := map[string]bool{} // tensors that are parts of a quantized weight
	weights := tensor.NewStore()
	for _, name := range f.Names() {
		layer, is := compressedtensors.Layer(name)
		if !is || quantized[layer+".weight"] {
			continue
		}
		group, ok, err := c.GroupOf(layer)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("quantization_config: no group has the layer of %q", name)
		}
		w, _, err := compressedtensors.Read(get, layer, group.Weights.Bits)
		if err != nil {
			return nil, err
		}
		v, err := w.Values()
		if err != nil {
			return nil, err
		}
		if err := weights.Put(layer+".weight", v); err != nil {
			return nil, err
		}
		quantized[layer+".weight"] = true
		l.Types[fmt.Sprintf("int%d", group.Weights.Bits)]++
	}
	return weights, l.readPlain(f, weights, func(name string) bool {
		_, part := compressedtensors.Layer(name)
		return part || quantized[name]
	})
}

// CompressedWeights reads the weights of a folder of compressed-tensors as
// float32, scale times code, whatever its description says of activations.
func CompressedWeights(dir string) (*tensor.Store, error) {
	h, err := readConfig(dir)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	c, err := compressedtensors.ParseConfig(h.Quantization)
	if err != nil {
		return nil, fmt.Errorf("load: %s: %w", dir, err)
	}
	f, err := safetensors.OpenFolder(dir)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer f.Close()
	l := &Language{Types: map[string]int{}}
	s, err := l.decompress(f, c)
	if err != nil {
		return nil, fmt.Errorf("load: %s: %w", dir, err)
	}
	return s, nil
}
