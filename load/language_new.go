package load

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"lowbit/format/gguf"
	"lowbit/graph"
	"lowbit/internal/atomicfile"
	"lowbit/model"
	"lowbit/tensor"
	"lowbit/text"
)

// formNew is the Form of a decoder with random weights.
const formNew = "new"

// maxNewElements bounds the weights that a description may ask for; checkSize wants
// an eighth of them in a file.
const maxNewElements = 1 << 31

// IsNewLanguage reports whether spec is a language model without weights: a name
// of the zoo, or a folder with a Hugging Face config.json and no weights.
func IsNewLanguage(spec string) bool {
	if _, zoo := model.LookupLlama(spec); zoo {
		return true
	}
	if !exists(filepath.Join(spec, configName)) || exists(filepath.Join(spec, "run.json")) || IsEncoder(spec) {
		return false
	}
	files, err := filepath.Glob(filepath.Join(spec, "*.safetensors"))
	return err == nil && len(files) == 0
}

// NewLanguage makes such a model with random weights from the seed. Its tokens are
// those of a tokenizer.json, of a folder with one, or of a GGUF file; if tokenizer
// is "", those of its own folder, and bytes of a name of the zoo.
func NewLanguage(spec, tokenizer string, seed uint64) (*Language, error) {
	l, err := newLanguage(spec, tokenizer, seed)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return l, nil
}

func newLanguage(spec, tokenizer string, seed uint64) (*Language, error) {
	l := &Language{Spec: spec, Source: tokenizer, Form: formNew, Store: tensor.NewStore(), Types: map[string]int{}}
	var zoo bool
	if l.Config, zoo = model.LookupLlama(spec); !zoo {
		h, err := readConfig(spec)
		if err != nil {
			return nil, err
		}
		if l.Config, err = h.llama(); err == nil {
			err = checkSize(l.Config, maxNewElements/8)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(spec, configName), err)
		}
		if l.Source == "" && (exists(filepath.Join(spec, hfTokenizer))) {
			l.Source = spec
		}
	}
	if err := l.newTokenizer(zoo); err != nil {
		return nil, err
	}
	g, err := l.Graph(model.LlamaRun{Batch: 1, Seq: 1})
	if err != nil {
		return nil, err
	}
	l.Types["f32"] = len(g.Params())
	return l, graph.InitParams(g, l.Store, seed)
}

// newTokenizer opens l.Source; without one, a name of the zoo reads bytes. It sets
// the vocabulary of a name of the zoo.
func (l *Language) newTokenizer(zoo bool) (err error) {
	switch {
	case l.Source == "" && !zoo:
		return nil
	case l.Source == "":
		var b []byte
		if b, err = text.BytesJSON(); err == nil {
			l.Tokenizer, err = text.Parse(b)
		}
	case strings.EqualFold(filepath.Ext(l.Source), ".gguf"):
		l.Tokenizer, err = tokenizerOfGGUF(l.Source)
	default:
		l.Tokenizer, err = text.Open(l.Source)
	}
	if err != nil {
		return err
	}
	if zoo {
		l.Config.Vocab = l.Tokenizer.Size()
	}
	if err := l.checkVocabulary(); err != nil {
		return fmt.Errorf("%s with the tokenizer of %s: %w", l.Spec, l.Source, err)
	}
	return nil
}

func tokenizerOfGGUF(path string) (*text.Tokenizer, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := text.FromGGUF(f.Value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// keepNewTokenizer puts a new decoder's tokenizer into its run directory.
func (l *Language) keepNewTokenizer(dir string) error {
	switch stat, err := os.Stat(l.Source); {
	case l.Source == "":
		b, err := text.BytesJSON()
		if err != nil {
			return err
		}
		return atomicfile.WriteJSON(filepath.Join(dir, hfTokenizer), json.RawMessage(b))
	case err != nil:
		return err
	case strings.EqualFold(filepath.Ext(l.Source), ".gguf"):
		return keepGGUFTokenizer(l.Source, filepath.Join(dir, ggufTokenizer))
	case stat.IsDir():
		return copyTokenizer(l.Source, dir)
	}
	to := hfTokenizer
	if strings.EqualFold(filepath.Ext(l.Source), ".txt") {
		to = "vocab.txt"
	}
	return copyFile(l.Source, filepath.Join(dir, to))
}
