package load

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"lowbit/model"
	"lowbit/tensor"
	"lowbit/text"
)

// openLlama2C reads the .bin file of llama2.c (version 0): seven int32 (dim,
// hidden, layers, heads, key heads, vocabulary, context; a negative vocabulary
// says that the head has its own weights), then float32 tensors in a fixed
// order, little endian. The tokenizer is tokenizer.bin, or tokN.bin for a
// vocabulary of N, beside it.
func openLlama2C(path string) (*Language, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	l, err := readLlama2C(bufio.NewReaderSize(f, 1<<20), stat.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, l.llama2cTokenizer(filepath.Dir(path))
}

func readLlama2C(r io.Reader, size int64) (*Language, error) {
	var head [7]int32
	if err := binary.Read(r, binary.LittleEndian, &head); err != nil {
		return nil, fmt.Errorf("the head of 28 bytes: %w", err)
	}
	c := model.Llama{
		Dim: int(head[0]), Hidden: int(head[1]), Layers: int(head[2]), Heads: int(head[3]), KVHeads: int(head[4]),
		Vocab: int(head[5]), Context: int(head[6]), NormEps: 1e-5, Theta: 10000, Adjacent: true, Tied: head[5] > 0,
	}
	if c.Vocab < 0 {
		c.Vocab = -c.Vocab
	}
	if err := checkSize(c, size); err != nil {
		return nil, fmt.Errorf("no file of llama2.c: %w", err)
	}
	l := &Language{Form: "llama2.c", Config: c, Types: map[string]int{"f32": 0}}
	weights, rest := tensor.NewStore(), size-28
	for _, p := range llama2cOrder(c) {
		n := int64(p.layers) * int64(p.shape.Size()) * 4
		if rest -= n; rest < 0 {
			return nil, fmt.Errorf("%s needs %d bytes more than the file has", p.name, -rest)
		}
		for i := range p.layers {
			t, err := readFloats(r, p.shape)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			if p.name == "" {
				continue // the table of rotary angles
			}
			l.Types["f32"]++
			name := p.name
			if p.layered {
				name = fmt.Sprintf(p.name, i)
			}
			if err := weights.Put(name, t); err != nil {
				return nil, err
			}
		}
	}
	if rest != 0 {
		return nil, fmt.Errorf("%d bytes behind the last tensor", rest)
	}
	return l, l.place(weights)
}

// llama2cPart is a run of tensors of one shape, one for each layer if layered.
type llama2cPart struct {
	name    string
	layered bool
	layers  int
	shape   tensor.Shape
}

func llama2cOrder(c model.Llama) []llama2cPart {
	d, kv := c.Dim, c.KVHeads*c.HeadWidth()
	layer := func(name string, shape ...int) llama2cPart {
		return llama2cPart{"model.layers.%d." + name + ".weight", true, c.Layers, shape}
	}
	one := func(name string, shape ...int) llama2cPart { return llama2cPart{name, false, 1, shape} }
	parts := []llama2cPart{
		one("model.embed_tokens.weight", c.Vocab, d),
		layer("input_layernorm", d),
		layer("self_attn.q_proj", d, d), layer("self_attn.k_proj", kv, d), layer("self_attn.v_proj", kv, d), layer("self_attn.o_proj", d, d),
		layer("post_attention_layernorm", d),
		layer("mlp.gate_proj", c.Hidden, d), layer("mlp.down_proj", d, c.Hidden), layer("mlp.up_proj", c.Hidden, d),
		one("model.norm.weight", d),
		one("", c.Context, c.HeadWidth()), // cosines, then sines, half a head each
	}
	if !c.Tied {
		parts = append(parts, one("lm_head.weight", c.Vocab, d))
	}
	return parts
}

func readFloats(r io.Reader, shape tensor.Shape) (*tensor.Tensor, error) {
	t := tensor.New(tensor.F32, shape...)
	b := make([]byte, 1<<16)
	for v := t.Float32s(); len(v) > 0; {
		n := min(len(v)*4, len(b))
		if _, err := io.ReadFull(r, b[:n]); err != nil {
			return nil, err
		}
		for i := range n / 4 {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		v = v[n/4:]
	}
	return t, nil
}

// llama2cTokenizer opens the tokenizer in a folder, if there is one.
func (l *Language) llama2cTokenizer(dir string) error {
	path, ok := l.llama2cFile(dir)
	if !ok {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if l.Tokenizer, err = text.ParseLlama2C(bufio.NewReader(f), l.Config.Vocab); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// llama2cFile finds the tokenizer in a folder.
func (l *Language) llama2cFile(dir string) (string, bool) {
	for _, name := range []string{llama2cTokenizer, fmt.Sprintf("tok%d.bin", l.Config.Vocab)} {
		if path := filepath.Join(dir, name); exists(path) {
			return path, true
		}
	}
	return "", false
}

// llama2cTable is the path of the model's own tokenizer.
func (l *Language) llama2cTable() (string, error) {
	dir := l.Source
	if l.Form == "llama2.c" {
		dir = filepath.Dir(dir)
	}
	path, ok := l.llama2cFile(dir)
	if !ok {
		return "", fmt.Errorf("%s: the tokenizer is gone", dir)
	}
	return path, nil
}
