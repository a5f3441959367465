package cli

import (
	"fmt"
	"slices"

	"lowbit/data"
	"lowbit/load"
	"lowbit/train"
)

// read opens the training text and the test text.
func (v *languageFlags) read(a *app, l *load.Language, spec string, batch int) (*train.Windows, []int32, error) {
	shares, err := data.ParseMixture(spec)
	if err != nil {
		return nil, nil, usage(err)
	}
	w := &train.Windows{Name: spec}
	var test []int32
	for i, s := range shares {
		kind, path, err := textSpec(s.Name)
		if err == nil && slices.Contains(choiceKinds, kind) {
			err = usagef("data %s: questions measure a model, they do not train one", s.Name)
		}
		if err != nil {
			return nil, nil, err
		}
		p, held, err := v.set(a, l, kind, path)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		if w.Sets = append(w.Sets, p); len(shares) > 1 {
			w.Weights = append(w.Weights, s.Weight)
		}
		if i == 0 {
			test = held
		}
	}
	w.Examples = int(v.tokens / int64(v.textLength))
	if w.Len() < batch {
		return nil, nil, fmt.Errorf("%s: %d windows of %d tokens, want a batch of %d at least", spec, w.Len(), v.textLength, batch)
	}
	return w, test, nil
}

// set reads one set of a mixture, and its test part.
func (v *languageFlags) set(a *app, l *load.Language, kind, path string) (*data.Packed, []int32, error) {
	if kind == "chat" {
		return v.chats(a, l, path)
	}
	docs, held, err := trainingTokens(a, l, kind, path)
	if err != nil {
		return nil, nil, err
	}
	end, marked := l.Tokenizer.Special("eos")
	if !marked || len(docs) == 1 {
		end = -1
	}
	p, err := data.Pack(docs, end, v.textLength)
	return p, held, err
}

// chats reads a set of chats; its last twentieth is the test part.
func (v *languageFlags) chats(a *app, l *load.Language, path string) (*data.Packed, []int32, error) {
	all, err := renderedChats(l, path)
	if err != nil {
		return nil, nil, err
	}
	keep := len(all) / heldShare
	p, cut, none, err := data.PackScored(all[:len(all)-keep], v.textLength)
	if err != nil {
		return nil, nil, err
	}
	if cut+none > 0 {
		a.warn(fmt.Sprintf("%s: of %d chats %d are cut to %d tokens, %d have no answer there and are left out", path, len(all)-keep, cut, v.textLength, none))
	}
	return p, joined(all[len(all)-keep:]), nil
}

// renderedChats reads chats and writes them with the model's template.
func renderedChats(l *load.Language, path string) ([]data.Scored, error) {
	template, err := l.Tokenizer.Chat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.Spec, err)
	}
	chats, err := data.ReadChats(path)
	if err != nil {
		return nil, err
	}
	all := make([]data.Scored, len(chats))
	for i, c := range chats {
		if all[i].Tokens, all[i].Scored, err = l.Tokenizer.Answers(template, c.Messages); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, c.Line, err)
		}
	}
	return all, nil
}

func joined(docs []data.Scored) []int32 {
	var ids []int32
	for _, d := range docs {
		ids = append(ids, d.Tokens...)
	}
	return ids
}

// heldShare is the share of a text without a test part that is kept for it, from
// the end.
const heldShare = 20

// trainingTokens reads a text's documents as tokens, and its test part: of
// WikiText-2 the part of that name, else the last twentieth.
func trainingTokens(a *app, l *load.Language, kind, path string) (docs [][]int32, test []int32, err error) {
	if kind == "wikitext2" {
		w, err := data.ReadWikiText2(path)
		if err != nil {
			return nil, nil, err
		}
		if w.Train == "" && w.Valid != "" {
			a.warn(fmt.Sprintf("wikitext2 in %s has no train part: training on the valid part", path))
			w.Train = w.Valid
		}
		if w.Train == "" || w.Test == "" {
			return nil, nil, fmt.Errorf("wikitext2 in %s: want a train (or valid) and a test part", path)
		}
		return [][]int32{l.Tokenizer.Append(nil, w.Train)}, l.Tokenizer.Append(nil, w.Test), nil
	}
	all, err := documents(kind, path)
	if err != nil {
		return nil, nil, err
	}
	n := 0
	for _, d := range all {
		docs = append(docs, l.Tokenizer.AppendPlain(nil, d.Text))
		n += len(docs[len(docs)-1])
	}
	for keep := n / heldShare; len(test) < keep; {
		last := &docs[len(docs)-1]
		cut := max(0, len(*last)-(keep-len(test)))
		test = append(slices.Clone((*last)[cut:]), test...)
		if *last = (*last)[:cut]; cut == 0 {
			docs = docs[:len(docs)-1]
		}
	}
	return docs, test, nil
}
