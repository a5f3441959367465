package load

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lowbit/graph"
	"lowbit/internal/atomicfile"
	"lowbit/model"
	"lowbit/tensor"
)

// bertPrefix stands before the encoder's names in networks with a head.
const bertPrefix = "bert."

// classifierName begins the names of the head's parameters.
const classifierName = "classifier."

// Classifier returns the encoder as a BertForSequenceClassification of so many
// classes: a network that is one already as it is, any other with its encoder's
// weights, the pooler of its folder if there is one, and a new head from the
// seed.
func (n *Encoder) Classifier(classes int, seed uint64) (*Encoder, error) {
	if n.Config.Head == model.BertClassify && n.Config.Classes == classes || n.Run != nil {
		if n.Config.Classes != classes {
			return nil, fmt.Errorf("load: %s has %d classes, want %d", n.Spec, n.Config.Classes, classes)
		}
		return n, nil
	}
	c := *n
	c.Config.Head, c.Config.Classes, c.Config.Prefix = model.BertClassify, classes, bertPrefix
	all, err := n.pooled()
	if err != nil {
		return nil, fmt.Errorf("load: %s: %w", n.Spec, err)
	}
	g, err := c.Config.Graph(1, 1)
	if err != nil {
		return nil, fmt.Errorf("load: %s: %w", n.Spec, err)
	}
	c.Store = tensor.NewStore()
	for _, p := range g.Params() {
		name := p.Name()
		t := all.Get(strings.TrimPrefix(name, bertPrefix))
		if t == nil || strings.HasPrefix(name, classifierName) {
			continue
		}
		if !t.Shape().Equal(p.Shape()) {
			return nil, fmt.Errorf("load: %s: %s is %v, want %v", n.Spec, name, t.Shape(), p.Shape())
		}
		if err := c.Store.Put(name, t); err != nil {
			return nil, fmt.Errorf("load: %s: %w", n.Spec, err)
		}
	}
	if err := graph.InitParams(g, c.Store, seed); err != nil {
		return nil, fmt.Errorf("load: %s: %w", n.Spec, err)
	}
	return &c, nil
}

// poolerName begins the names of the pooler's parameters, behind the prefix.
const poolerName = "pooler."

// keepPooler keeps the pooler of a folder's weights for Classifier.
func (n *Encoder) keepPooler(weights *tensor.Store) error {
	n.pooler = tensor.NewStore()
	for _, full := range weights.Names() {
		name := strings.TrimPrefix(full, bertPrefix)
		if !strings.HasPrefix(name, poolerName) || n.Config.Head == model.BertClassify {
			continue
		}
		t, err := weights.Get(full).ToFloat32()
		if err == nil {
			err = finite(full, t.Float32s())
		}
		if err == nil {
			err = n.pooler.Put(name, t)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", n.Source, err)
		}
	}
	return nil
}

// pooled returns the encoder's weights without the prefix, and the pooler's if
// the folder holds them.
func (n *Encoder) pooled() (*tensor.Store, error) {
	all := tensor.NewStore()
	for _, from := range []*tensor.Store{n.Store, n.pooler} {
		for _, name := range from.Names() {
			if err := all.Put(strings.TrimPrefix(name, bertPrefix), from.Get(name).Clone()); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// Keep puts into a run directory what makes it a model by itself: the
// description of the network in Hugging Face's form, and the tokenizer's files.
func (n *Encoder) Keep(dir string) error {
	c := n.Config
	h := hfBert{
		Architectures: []string{"BertForSequenceClassification"}, ModelType: "bert",
		VocabSize: c.Vocab, HiddenSize: c.Dim, Layers: c.Layers, Heads: c.Heads, Intermediate: c.Hidden,
		Positions: c.Positions, Types: c.Types, NormEps: &c.NormEps, Activation: "gelu", Dropout: &c.Dropout, NumLabels: c.Classes,
	}
	if c.TanhGELU {
		h.Activation = "gelu_new"
	}
	if c.Head != model.BertClassify {
		return fmt.Errorf("load: %s gives %s, want classes", n.Spec, n.Gives())
	}
	err := errors.Join(
		copyTokenizer(n.folder, dir),
		atomicfile.WriteJSON(filepath.Join(dir, configName), h),
		atomicfile.WriteJSON(filepath.Join(dir, "sentence_bert_config.json"), map[string]int{"max_seq_length": n.MaxTokens}),
	)
	if err != nil {
		return fmt.Errorf("load: %s: %w", dir, err)
	}
	return nil
}

// KeepTokenizer copies the tokenizer's files into a folder. Files of another
// tokenizer that stand there are an error, and stay.
func (n *Encoder) KeepTokenizer(dir string) error {
	for _, name := range tokenizerFiles {
		there, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		own, missing := os.ReadFile(filepath.Join(n.folder, name))
		if err != nil || missing != nil || !bytes.Equal(there, own) {
			return fmt.Errorf("load: %s holds %s of another tokenizer: name a file in a folder of its own", dir, name)
		}
	}
	if err := copyTokenizer(n.folder, dir); err != nil {
		return fmt.Errorf("load: %s: %w", dir, err)
	}
	return nil
}
