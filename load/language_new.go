package load

import (
	"encoding/json"
	"errors"
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

// NewLanguage makes a decoder of the zoo with random weights from the seed. Its
// tokens are those of a tokenizer.json, of a folder with one, or of a GGUF file;
// bytes if tokenizer is "".
func NewLanguage(name, tokenizer string, seed uint64) (*Language, error) {
	l, err := newLanguage(name, tokenizer, seed)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return l, nil
}

func newLanguage(name, tokenizer string, seed uint64) (*Language, error) {
	c, ok := model.LookupLlama(name)
	if !ok {
		return nil, fmt.Errorf("%q is no language model of the zoo: %s", name, strings.Join(model.LlamaNames(), ", "))
	}
	l := &Language{Spec: name, Source: tokenizer, Form: formNew, Config: c, Store: tensor.NewStore(), Types: map[string]int{}}
	var err error
	switch {
	case tokenizer == "":
		var b []byte
		if b, err = text.BytesJSON(); err == nil {
			l.Tokenizer, err = text.Parse(b)
		}
	case strings.EqualFold(filepath.Ext(tokenizer), ".gguf"):
		l.Tokenizer, err = tokenizerOfGGUF(tokenizer)
	default:
		l.Tokenizer, err = text.Open(tokenizer)
	}
	if err != nil {
		return nil, err
	}
	l.Config.Vocab = l.Tokenizer.Size()
	g, err := l.Graph(model.LlamaRun{Batch: 1, Seq: 1})
	if err != nil {
		return nil, err
	}
	l.Types["f32"] = len(g.Params())
	return l, graph.InitParams(g, l.Store, seed)
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
		for _, name := range []string{hfTokenizer, "tokenizer_config.json", "vocab.txt", "chat_template.jinja"} {
			if from := filepath.Join(l.Source, name); exists(from) {
				err = errors.Join(err, copyFile(from, filepath.Join(dir, name)))
			}
		}
		return err
	}
	to := hfTokenizer
	if strings.EqualFold(filepath.Ext(l.Source), ".txt") {
		to = "vocab.txt"
	}
	return copyFile(l.Source, filepath.Join(dir, to))
}
