package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lowbit/data"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/model"
)

// textKinds are the kinds of data that a language model reads.
const textKinds = "wikitext2:PATH, text:PATH, gosource:8MiB, chat:FILE, hellaswag:FILE, arc:FILE, piqa:FILE"

// choiceKinds are those of multiple-choice questions.
var choiceKinds = []string{"hellaswag", "arc", "piqa"}

// decoder is a language model as package eval takes it.
func decoder(l *load.Language) eval.Decoder {
	return eval.Decoder{Store: l.Store, Build: func(length int) (*graph.Graph, error) {
		return l.Graph(model.LlamaRun{Batch: 1, Seq: length})
	}}
}

// openTokenized opens a language model that has its tokenizer.
func openTokenized(spec string) (*load.Language, error) {
	l, err := load.OpenLanguage(spec)
	if err == nil && l.Tokenizer == nil {
		err = fmt.Errorf("%s has no tokenizer: put tokenizer.json (Hugging Face) or tokenizer.bin (llama2.c) beside the weights", spec)
	}
	return l, err
}

// textSpec cuts KIND:PATH.
func textSpec(s string) (kind, path string, err error) {
	kind, path, ok := strings.Cut(s, ":")
	if known := append([]string{"wikitext2", "text", "gosource", "chat"}, choiceKinds...); s == "" || !ok || path == "" || !slices.Contains(known, kind) {
		return "", "", usagef("data %q: a language model reads %s", s, textKinds)
	}
	return kind, path, nil
}

// testTokens reads a text's test part as one row of tokens, without begin marks;
// documents are followed by the end mark, chats stand as the template writes them.
func testTokens(l *load.Language, kind, path string) ([]int32, error) {
	if kind == "wikitext2" {
		w, err := data.ReadWikiText2(path)
		if err == nil && w.Test == "" {
			err = fmt.Errorf("wikitext2 in %s has no test part", path)
		}
		if err != nil {
			return nil, err
		}
		return l.Tokenizer.Append(nil, w.Test), nil
	}
	if kind == "chat" {
		all, err := renderedChats(l, path)
		return joined(all), err
	}
	docs, err := documents(kind, path)
	if err != nil {
		return nil, err
	}
	end, marked := l.Tokenizer.Special("eos")
	var ids []int32
	for i, d := range docs {
		if i > 0 && marked {
			ids = append(ids, end)
		}
		ids = l.Tokenizer.AppendPlain(ids, d.Text)
	}
	return ids, nil
}

// documents reads text:PATH or so much of the Go toolchain's source, gosource:8MiB.
func documents(kind, path string) ([]data.Document, error) {
	if kind != "gosource" {
		return data.ReadDocuments(path, data.TextConfig{})
	}
	number, ok := strings.CutSuffix(path, "MiB")
	n, err := strconv.ParseInt(number, 10, 32)
	if !ok || err != nil || n < 1 || n > 1024 {
		return nil, usagef("data gosource:%s: want 1MiB to 1024MiB", path)
	}
	return data.GoSource(n << 20)
}
