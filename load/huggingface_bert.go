package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"lowbit/format/safetensors"
	"lowbit/format/torchzip"
	"lowbit/graph"
	"lowbit/model"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/text"
	"lowbit/train"
)

// Encoder is a BERT with its tokenizer.
type Encoder struct {
	Spec   string     // what the user named
	Config model.Bert // Graph builds its graphs, of any batch and length
	// Store holds the parameters of Config's graphs under Hugging Face's names,
	// float32.
	Store     *tensor.Store
	Tokenizer *text.Tokenizer
	// MaxTokens is the length that texts are cut to: that of sentence-transformers
	// if the folder has it, else the network's.
	MaxTokens int
	Source    string // the file of the weights
	folder    string // of the tokenizer	// Run is a run directory's network, with or without quantizers, of one batch
	// size and length, and Record its record; nil for other folders.
	Run    *graph.Graph
	Record *train.Record

	// pooler holds the folder's pooler where the network has none.
	pooler *tensor.Store
}

// bertHeads are the architectures that are read, with what stands on the
// encoder.
var bertHeads = map[string]model.BertHead{
	"BertModel":                     model.BertHidden,
	"BertForMaskedLM":               model.BertHidden,
	"BertForPreTraining":            model.BertHidden,
	"BertForSequenceClassification": model.BertClassify,
	"BertForQuestionAnswering":      model.BertSpan,
}

// maxBertLayers bounds the graph that a description asks for; public encoders
// have up to 48 layers.
const maxBertLayers = 1024

// hfBert is what is read of an encoder's config.json.
type hfBert struct {
	Architectures []string          `json:"architectures"`
	ModelType     string            `json:"model_type"`
	VocabSize     int               `json:"vocab_size"`
	HiddenSize    int               `json:"hidden_size"`
	Layers        int               `json:"num_hidden_layers"`
	Heads         int               `json:"num_attention_heads"`
	Intermediate  int               `json:"intermediate_size"`
	Positions     int               `json:"max_position_embeddings"`
	Types         int               `json:"type_vocab_size"`
	NormEps       *float64          `json:"layer_norm_eps"`
	Activation    string            `json:"hidden_act"`
	Dropout       *float64          `json:"hidden_dropout_prob"`
	PositionType  string            `json:"position_embedding_type"`
	Decoder       bool              `json:"is_decoder"`
	Labels        map[string]string `json:"id2label"`
	NumLabels     int               `json:"num_labels"`
}

// IsEncoder reports whether spec is a Hugging Face folder of a BERT, or an ONNX
// file of one.
func IsEncoder(spec string) bool {
	if isONNX(spec) {
		return isBertONNX(spec)
	}
	var h hfBert
	return readSmallJSON(filepath.Join(spec, configName), &h) == nil && h.isBert()
}

func (h hfBert) isBert() bool {
	return h.ModelType == "bert" || h.ModelType == "" && len(h.Architectures) > 0 && strings.HasPrefix(h.Architectures[0], "Bert")
}

// readSmallJSON reads a description of bounded size.
func readSmallJSON(path string, v any) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxConfigBytes {
		return fmt.Errorf("%s: %d bytes, want at most %d", path, info.Size(), maxConfigBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// OpenEncoder loads a Hugging Face folder of a BERT: config.json, weights in
// *.safetensors or pytorch_model.bin, and tokenizer.json or vocab.txt; or the run
// directory of one that was trained; or an ONNX file that PyTorch's exporters made
// of a Hugging Face BERT, with the tokenizer's files in its folder or in the one
// above. With the modules.json of sentence-transformers the network gives sentence
// vectors. Names, shapes and values are checked as Model checks them.
func OpenEncoder(dir string) (*Encoder, error) {
	open := openBert
	if isONNX(dir) {
		open = openBertONNX
	}
	n, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	n.Spec = dir
	return n, nil
}

func openBert(dir string) (*Encoder, error) {
	var h hfBert
	path := filepath.Join(dir, configName)
	if err := readSmallJSON(path, &h); err != nil {
		return nil, err
	}
	n := &Encoder{folder: dir}
	var err error
	if n.Config, err = h.bert(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	n.MaxTokens = n.Config.Positions
	if err := n.sentence(dir); err != nil {
		return nil, err
	}
	if err := n.weights(dir); err != nil {
		return nil, err
	}
	return n, n.tokenizer()
}

// tokenizer reads the folder's tokenizer.
func (n *Encoder) tokenizer() (err error) {
	if n.Tokenizer, err = text.Open(n.folder); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: no tokenizer.json and no vocab.txt", n.folder)
	}
	if err == nil && n.Tokenizer.Size() > n.Config.Vocab {
		err = fmt.Errorf("%s: the tokenizer has %d tokens, the network %d", n.folder, n.Tokenizer.Size(), n.Config.Vocab)
	}
	return err
}

// weights fills the store from a folder's weights, or from its run.
func (n *Encoder) weights(dir string) error {
	if exists(filepath.Join(dir, "run.json")) {
		l, err := run(dir, "")
		if err != nil {
			return err
		}
		n.Run, n.Record, n.Store, n.Source = l.Graph, l.Record, l.Store, l.Weights
		n.Config.Prefix = bertPrefix
		return nil
	}
	weights, err := n.read(dir)
	if err != nil {
		return err
	}
	g, err := n.Config.Graph(1, 1)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, configName), err)
	}
	if n.Store, err = fit(g, weights, func(name string) bool { return optim.IsState(name) || n.aside(name) }); err != nil {
		return fmt.Errorf("%s: %w", n.Source, err)
	}
	return n.keepPooler(weights)
}

// bert turns the description into a Bert.
func (h hfBert) bert() (model.Bert, error) {
	c := model.Bert{
		Vocab: h.VocabSize, Dim: h.HiddenSize, Layers: h.Layers, Heads: h.Heads, Hidden: h.Intermediate,
		Positions: h.Positions, Types: h.Types, NormEps: 1e-12, Dropout: 0.1,
	}
	if len(h.Architectures) == 0 {
		return c, errors.New("it names no architecture")
	}
	head, ok := bertHeads[h.Architectures[0]]
	switch {
	case !ok:
		return c, unsupported(h.Architectures[0], bertHeads)
	case h.Decoder:
		return c, errors.New("is_decoder: want an encoder")
	case h.PositionType != "" && h.PositionType != "absolute":
		return c, fmt.Errorf("position_embedding_type %q is not supported, have absolute", h.PositionType)
	}
	switch h.Activation {
	case "", "gelu", "gelu_python":
	case "gelu_new", "gelu_pytorch_tanh":
		c.TanhGELU = true
	default:
		return c, fmt.Errorf("hidden_act %q is not supported, have gelu, gelu_new, gelu_pytorch_tanh", h.Activation)
	}
	if h.NormEps != nil {
		c.NormEps = *h.NormEps
	}
	if h.Dropout != nil {
		c.Dropout = *h.Dropout
	}
	if c.Head = head; head == model.BertClassify {
		c.Classes = 2 // what the library takes where the file says nothing
		if n := max(len(h.Labels), h.NumLabels); n > 0 {
			c.Classes = n
		}
	}
	for _, v := range []int{c.Vocab, c.Dim, c.Layers, c.Heads, c.Hidden, c.Positions, c.Types, c.Classes} {
		if v > 1<<24 {
			return c, fmt.Errorf("a size of %d in the description of the network, want at most %d", v, 1<<24)
		}
	}
	if c.Layers > maxBertLayers {
		return c, fmt.Errorf("%d layers in the description of the network, want at most %d", c.Layers, maxBertLayers)
	}
	if total := float64(c.Vocab+c.Positions)*float64(c.Dim) + float64(c.Layers)*float64(c.Dim)*float64(4*c.Dim+2*c.Hidden); total > math.MaxInt32 {
		return c, fmt.Errorf("the description asks for %.3g parameters, want fewer than %.3g", total, float64(math.MaxInt32))
	}
	return c, c.Validate()
}

// sentence reads what sentence-transformers adds to a folder: the length that
// texts are cut to, which runs have, too, and what makes vectors of tokens.
func (n *Encoder) sentence(dir string) error {
	var s struct {
		MaxTokens int `json:"max_seq_length"`
	}
	if err := readSmallJSON(filepath.Join(dir, "sentence_bert_config.json"), &s); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if s.MaxTokens > 0 {
		n.MaxTokens = min(n.MaxTokens, s.MaxTokens)
	}
	path := filepath.Join(dir, "modules.json")
	var modules []struct{ Path, Type string }
	if err := readSmallJSON(path, &modules); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, m := range modules {
		switch kind := m.Type[strings.LastIndexByte(m.Type, '.')+1:]; kind {
		case "Transformer", "Normalize": // vectors are compared by their direction
		case "Pooling":
			if err := meanPooling(filepath.Join(dir, filepath.Base(m.Path), configName)); err != nil {
				return err
			}
			n.Config.Head = model.BertSentence
		default:
			return fmt.Errorf("%s: module %q is not supported, have Transformer, Pooling, Normalize", path, m.Type)
		}
	}
	return nil
}

// meanPooling demands that sentence vectors are means over tokens alone.
func meanPooling(path string) error {
	var modes map[string]any
	if err := readSmallJSON(path, &modes); err != nil {
		return err
	}
	for name, on := range modes {
		if strings.HasPrefix(name, "pooling_mode_") && (on == true) != (name == "pooling_mode_mean_tokens") {
			return fmt.Errorf("%s: %s is %v; only the mean over the tokens is supported", path, name, on)
		}
	}
	return nil
}

// read returns the folder's tensors, and sets Source and the prefix of names.
func (n *Encoder) read(dir string) (*tensor.Store, error) {
	from, err := n.open(dir)
	if err != nil {
		return nil, err
	}
	return n.named(from)
}

// named gives tensors the names that networks of this package have, and sets the
// prefix of names. Norms of old checkpoints call their parameters gamma and beta.
func (n *Encoder) named(from *tensor.Store) (*tensor.Store, error) {
	weights := tensor.NewStore()
	for _, name := range from.Names() {
		t := from.Get(name)
		name = strings.TrimPrefix(name, "module.")
		if strings.HasPrefix(name, bertPrefix) {
			n.Config.Prefix = bertPrefix
		}
		for old, now := range map[string]string{"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"} {
			if base, ok := strings.CutSuffix(name, old); ok {
				name = base + now
			}
		}
		if err := weights.Put(name, t); err != nil {
			return nil, fmt.Errorf("%s: %w", n.Source, err)
		}
	}
	return weights, nil
}

// open reads the weights of a folder in one form or the other.
func (n *Encoder) open(dir string) (*tensor.Store, error) {
	if files, err := filepath.Glob(filepath.Join(dir, "*.safetensors")); err == nil && len(files) == 0 {
		n.Source = filepath.Join(dir, "pytorch_model.bin")
		return torchzip.Read(n.Source)
	}
	n.Source = dir
	f, err := safetensors.OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	store := tensor.NewStore()
	for _, name := range f.Names() {
		t, err := f.Tensor(name)
		if err == nil {
			err = store.Put(name, t.Clone())
		}
		if err != nil {
			return nil, err
		}
	}
	return store, nil
}

// aside reports whether a tensor is none of the network's: numbers of positions,
// the heads of pretraining, a pooler that nothing reads.
func (n *Encoder) aside(name string) bool {
	name = strings.TrimPrefix(name, n.Config.Prefix)
	return name == "embeddings.position_ids" || strings.HasPrefix(name, "cls.") ||
		n.Config.Head != model.BertClassify && strings.HasPrefix(name, "pooler.")
}

// Graph builds the network for batches of sequences.
func (n *Encoder) Graph(batch, seq int) (*graph.Graph, error) {
	if n.Run == nil {
		return n.Config.Graph(batch, seq)
	}
	g, err := graph.WithShape(n.Run, batch, seq)
	if err != nil {
		return nil, fmt.Errorf("load: %s: %w", n.Spec, err)
	}
	return g, nil
}

// Gives says what the network's output is.
func (n *Encoder) Gives() string {
	switch n.Config.Head {
	case model.BertSentence:
		return "sentence vectors"
	case model.BertSpan:
		return "answers as spans"
	case model.BertClassify:
		return fmt.Sprintf("%d classes", n.Config.Classes)
	}
	return "hidden states"
}
