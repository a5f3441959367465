package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"lowbit/format/gguf"
	"lowbit/internal/atomicfile"
	"lowbit/method/silq"
	"lowbit/model"
	"lowbit/text"
	"lowbit/train"
)

// LanguageSettings is what the run directory of a language model keeps as its
// settings: the network's description, and the quantizers of a quantized one.
type LanguageSettings struct {
	Llama model.Llama `json:"llama"`
	// Silq is the quantization; nil: full precision.
	Silq *silq.Config `json:"silq,omitempty"`
	// Source is the model that the run began with.
	Source string `json:"source,omitempty"`
}

// languageSettings returns the settings of a language model's run; false for
// other folders.
func languageSettings(dir string) (LanguageSettings, bool) {
	var s LanguageSettings
	r, err := train.ReadRecord(dir)
	if err != nil || len(r.Settings) == 0 {
		return s, false
	}
	if err := json.Unmarshal(r.Settings, &s); err != nil || s.Llama.Vocab == 0 {
		return s, false
	}
	return s, true
}

// LanguageSource returns the model that a run directory of a language model began
// with; false for other folders.
func LanguageSource(dir string) (string, bool) {
	s, ok := languageSettings(dir)
	return s.Source, ok && s.Source != ""
}

// openLanguageRun loads a run directory.
func openLanguageRun(dir string, s LanguageSettings) (*Language, error) {
	g, weights, record, err := train.Open(dir)
	if err != nil {
		return nil, err
	}
	l := &Language{Form: "run", Config: s.Llama, Types: map[string]int{"f32": len(g.Params())}, Record: &record}
	if s.Silq != nil {
		l.Quantizers, l.Rotated = &s.Silq.Quantizers, s.Silq.Start.Rotate
	}
	if err := l.place(weights); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return l, l.openTokenizer(dir)
}

// Names under which a run keeps its tokenizer.
const (
	ggufTokenizer    = "tokenizer.gguf"
	llama2cTokenizer = "tokenizer.bin"
	hfTokenizer      = "tokenizer.json"
)

// openTokenizer opens what KeepTokenizer wrote, if anything.
func (l *Language) openTokenizer(dir string) error {
	path := filepath.Join(dir, ggufTokenizer)
	f, err := gguf.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		defer f.Close()
		if l.Tokenizer, err = text.FromGGUF(f.Value); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return l.checkVocabulary()
	}
	if exists(filepath.Join(dir, llama2cTokenizer)) {
		return l.llama2cTokenizer(dir)
	}
	l.Tokenizer, err = text.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		l.Tokenizer, err = nil, nil
	}
	if err != nil {
		return err
	}
	return l.checkVocabulary()
}

// KeepTokenizer puts the files of the model's tokenizer into a run directory, so
// that the run is a model by itself.
func (l *Language) KeepTokenizer(dir string) error {
	if l.Tokenizer == nil {
		return nil
	}
	var err error
	switch {
	case l.Form == formNew:
		err = l.keepNewTokenizer(dir)
	case l.Form == "gguf":
		err = keepGGUFTokenizer(l.Source, filepath.Join(dir, ggufTokenizer))
	case l.Form == "llama2.c":
		var from string
		if from, err = l.llama2cTable(); err == nil {
			err = copyFile(from, filepath.Join(dir, llama2cTokenizer))
		}
	default:
		err = copyTokenizer(l.Source, dir)
	}
	if err != nil {
		return fmt.Errorf("load: tokenizer of %s: %w", l.Source, err)
	}
	return nil
}

// tokenizerFiles are what a folder's tokenizer may consist of.
var tokenizerFiles = []string{hfTokenizer, "tokenizer_config.json", "vocab.txt", "chat_template.jinja", ggufTokenizer, llama2cTokenizer}

// copyTokenizer copies those that a folder has; on itself it does nothing.
func copyTokenizer(from, to string) error {
	a, errA := os.Stat(from)
	b, errB := os.Stat(to)
	if errA == nil && errB == nil && os.SameFile(a, b) {
		return nil
	}
	var err error
	for _, name := range tokenizerFiles {
		if exists(filepath.Join(from, name)) {
			err = errors.Join(err, copyFile(filepath.Join(from, name), filepath.Join(to, name)))
		}
	}
	return err
}

// WriteTokenizer puts the model's tokenizer into a folder as transformers reads
// it: the files that came with the model, or tokenizer.json and
// tokenizer_config.json, translated from a GGUF file or llama2.c's table. A model
// without a tokenizer, and one that text.JSONFromGGUF does not translate, are
// text.ErrUntranslatable.
func (l *Language) WriteTokenizer(dir string) error {
	if l.Tokenizer == nil {
		return fmt.Errorf("%w: the model came without a tokenizer", text.ErrUntranslatable)
	}
	if l.Form != "gguf" && exists(filepath.Join(l.Source, hfTokenizer)) {
		return l.KeepTokenizer(dir)
	}
	keys, err := l.GGUFTokenizer()
	if err != nil {
		return err
	}
	b, err := text.JSONFromGGUF(func(key string) (any, bool) {
		for _, k := range keys {
			if k.Key == key {
				return k.Value, true
			}
		}
		return nil, false
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, hfTokenizer), b, 0o644); err != nil {
		return err
	}
	config := map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false, "model_max_length": l.Config.Context}
	for _, role := range []string{"bos", "eos", "unk", "pad"} {
		if id, ok := l.Tokenizer.Special(role); ok {
			config[role+"_token"] = l.Tokenizer.Token(id)
		}
	}
	if l.Tokenizer.Template != "" {
		config["chat_template"] = l.Tokenizer.Template
	}
	return atomicfile.WriteJSON(filepath.Join(dir, "tokenizer_config.json"), config)
}

// keepGGUFTokenizer writes a GGUF file that has the tokenizer's keys alone.
func keepGGUFTokenizer(from, to string) error {
	f, err := gguf.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return gguf.Write(to, append([]gguf.KV{{Key: "general.architecture", Value: "tokenizer"}}, tokenizerKeys(f)...), nil)
}

func copyFile(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return atomicfile.Write(to, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}
