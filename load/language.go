package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lowbit/graph"
	"lowbit/method/silq"
	"lowbit/model"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/text"
	"lowbit/train"
)

// Language is a language model of the Llama family with its tokenizer.
type Language struct {
	Spec   string      // what the user named
	Config model.Llama // Graph builds its graphs, of any batch and length
	// Quantizers are those of a quantized run, nil in full precision. Record is
	// that of a run directory.
	Quantizers *silq.Quantizers
	Record     *train.Record
	// Rotated says that silq.Rotate turned the model that a run began with.
	Rotated bool
	// Store holds the parameters of Config's graphs under Hugging Face's names,
	// float32. Rows of q and k stand as in the file: Config.Adjacent tells how.
	Store *tensor.Store
	// Tokenizer is nil where none came with the weights; its Template is the
	// chat template.
	Tokenizer *text.Tokenizer
	Source    string // the file or folder of the weights
	// Form is how they are stored there: "gguf", "huggingface", "llama2.c" or "run";
	// Types counts the tensors by their type in the file, such as Q4_1.
	Form  string
	Types map[string]int
}

// ErrNoLanguage is wrapped by the error for a spec that names something else
// than a language model.
var ErrNoLanguage = errors.New("no language model")

// IsLanguage reports whether spec has the form of a language model: a .gguf
// file, a .bin file of llama2.c, a Hugging Face folder, or the run directory of
// one; or is the zoo's name of one.
func IsLanguage(spec string) bool {
	if _, zoo := model.LookupLlama(spec); zoo {
		return true
	}
	if stat, err := os.Stat(spec); err == nil && stat.IsDir() {
		if IsEncoder(spec) {
			return false
		}
		if _, err := os.Stat(filepath.Join(spec, configName)); err == nil {
			return true
		}
		_, ok := languageSettings(spec)
		return ok
	}
	switch strings.ToLower(filepath.Ext(spec)) {
	case ".gguf", ".bin":
		return true
	}
	return false
}

// OpenLanguage loads a language model:
//
//	smollm2.gguf       GGUF of architecture llama, qwen2 or granite
//	FOLDER             Hugging Face: config.json, *.safetensors, tokenizer.json
//	stories260K.bin    llama2.c, with tokenizer.bin or tok512.bin beside it
//	RUN                a run directory that one of these was trained in
//
// Names, shapes and values are checked as Model checks them.
func OpenLanguage(spec string) (*Language, error) {
	l, err := openLanguage(spec)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	l.Spec, l.Source = spec, spec
	return l, nil
}

func openLanguage(spec string) (*Language, error) {
	if _, zoo := model.LookupLlama(spec); zoo {
		return nil, fmt.Errorf("%s comes with %w: train it (lowbit train --model %s --data text:PATH) and name its run directory", spec, ErrNoWeights, spec)
	}
	stat, err := os.Stat(spec)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: no such file or folder", spec)
	case err != nil:
		return nil, err
	case stat.IsDir():
		if s, ok := languageSettings(spec); ok {
			return openLanguageRun(spec, s)
		}
		if IsLanguage(spec) {
			return openHuggingFace(spec)
		}
		return nil, fmt.Errorf("folder %s: no %s: %w", spec, configName, ErrNoLanguage)
	}
	switch strings.ToLower(filepath.Ext(spec)) {
	case ".gguf":
		return openGGUF(spec)
	case ".bin":
		return openLlama2C(spec)
	}
	return nil, fmt.Errorf("%s: %w, want a .gguf file, a .bin file of llama2.c or a Hugging Face folder", spec, ErrNoLanguage)
}

// place checks weights against the graph that l.Config describes and makes
// them l's.
func (l *Language) place(weights *tensor.Store) error {
	g, err := l.Graph(model.LlamaRun{Batch: 1, Seq: 1})
	if err != nil {
		return err
	}
	l.Store, err = fit(g, weights, optim.IsState)
	return err
}

// Graph builds the network for a run, with its quantizers.
func (l *Language) Graph(r model.LlamaRun) (*graph.Graph, error) {
	g, err := l.Config.Graph(r)
	if err != nil || l.Quantizers == nil {
		return g, err
	}
	return silq.Insert(g, *l.Quantizers)
}

// checkVocabulary demands that each of the tokenizer's ids has a row.
func (l *Language) checkVocabulary() error {
	if l.Tokenizer != nil && l.Tokenizer.Size() > l.Config.Vocab {
		return fmt.Errorf("the tokenizer has %d tokens, the network %d", l.Tokenizer.Size(), l.Config.Vocab)
	}
	return nil
}

// maxElements bounds the parameters that a file may ask for: what fits into an
// address space with room for copies.
const maxElements = 1 << 37

// checkSize refuses sizes that no file of so many bytes can hold, before
// anything of that size is made. A packed weight takes more than a bit.
func checkSize(c model.Llama, fileBytes int64) error {
	if err := c.Validate(); err != nil {
		return err
	}
	for _, n := range []int{c.Vocab, c.Dim, c.Hidden, c.Layers, c.Heads, c.HeadDim, c.Context} {
		if n > 1<<28 {
			return fmt.Errorf("a size of %d in the description of the network, want at most %d", n, 1<<28)
		}
	}
	width, dim := float64(c.HeadWidth())*float64(c.Heads+c.KVHeads), float64(c.Dim)
	total := float64(c.Vocab)*dim + float64(c.Layers)*(2*width*dim+3*dim*float64(c.Hidden))
	if total > maxElements || total > 8*float64(fileBytes) {
		return fmt.Errorf("the description asks for %.3g parameters, the file has %d bytes", total, fileBytes)
	}
	return nil
}
