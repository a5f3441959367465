package text

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// JSONFromGGUF translates the metadata of a GGUF file into a tokenizer.json of
// package tokenizers: models "gpt2" and "llama", value as FromGGUF has it. Of a
// "llama" model the merges are all ways to split a token into two others, in the
// order of its scores. The result is read back, and must give the ids that the
// GGUF file gives to texts of many scripts. A "bert" model is an error, and a
// "llama" model with user-defined tokens: a tokenizer.json puts a space before them.
func JSONFromGGUF(value func(key string) (any, bool)) ([]byte, error) {
	g := ggml{value}
	b, err := g.json()
	if err != nil {
		return nil, fmt.Errorf("text: gguf as tokenizer.json: %w: %w", ErrUntranslatable, err)
	}
	return b, nil
}

// part is a stage of a tokenizer.json.
type part map[string]any

func parts(kind, list string, p []part) any {
	if len(p) == 1 {
		return p[0]
	}
	return part{"type": kind, list: p}
}

func (g ggml) json() ([]byte, error) {
	t, err := g.tokenizer()
	if err != nil {
		return nil, err
	}
	var f part
	switch name := g.text("model"); name {
	case "gpt2":
		f, err = g.levelJSON(t)
	case "llama":
		f, err = g.scoredJSON(t)
	default:
		err = fmt.Errorf("tokenizer model %s, want gpt2 or llama", quote(name))
	}
	if err != nil {
		return nil, err
	}
	f["version"], f["truncation"], f["padding"] = "1.0", nil, nil
	f["added_tokens"] = g.addedJSON(t)
	f["post_processor"] = t.postJSON()
	b, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	back, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("read back: %w", err)
	}
	return b, sameIDs(t, back)
}

// addedJSON lists the control and user-defined tokens.
func (g ggml) addedJSON(t *Tokenizer) []jsonAdded {
	types, _ := g.get("token_type").([]int32)
	list := []jsonAdded{}
	for i, k := range types {
		if k == typeControl || k == typeUser || k == typeUnknown {
			list = append(list, jsonAdded{ID: int64(i), Content: t.tokens[i], Special: k != typeUser})
		}
	}
	return list
}

// postJSON puts the marks around a text.
func (t *Tokenizer) postJSON() any {
	special := map[string]any{}
	one := func(list []templatePart) []part {
		out := []part{}
		for _, p := range list {
			if p.source >= 0 {
				out = append(out, part{"Sequence": part{"id": string(rune('A' + p.source)), "type_id": p.kind}})
				continue
			}
			name := t.tokens[p.id]
			special[name] = part{"id": name, "ids": []int32{p.id}, "tokens": []string{name}}
			out = append(out, part{"SpecialToken": part{"id": name, "type_id": p.kind}})
		}
		return out
	}
	template := part{"type": "TemplateProcessing", "single": one(t.post.single), "pair": one(t.post.pair), "special_tokens": special}
	if !t.post.trimOffsets {
		return template
	}
	level := part{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}
	if len(special) == 0 {
		return level
	}
	return part{"type": "Sequence", "processors": []part{level, template}}
}

// levelJSON is byte-level BPE.
func (g ggml) levelJSON(t *Tokenizer) (part, error) {
	kind := preKinds[cmp.Or(g.text("pre"), "gpt-2")] // known: the tokenizer was read
	pattern := ""
	for p, s := range knownScanners {
		if s == kind.scanner {
			pattern = p
		}
	}
	var pre []part
	if kind.digitsApart {
		pre = append(pre, part{"type": "Digits", "individual_digits": true})
	}
	own := kind.scanner == gpt2Scanner // the stage's own pattern
	if !own {
		pre = append(pre, part{"type": "Split", "pattern": part{"Regex": pattern}, "behavior": "Isolated", "invert": false})
	}
	level := part{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": own}
	f := part{
		"normalizer": nil, "pre_tokenizer": parts("Sequence", "pretokenizers", append(pre, level)),
		"decoder": part{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"model": part{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": kind.wholeFirst, "vocab": t.vocabulary(), "merges": g.get("merges")},
	}
	if kind.nfc {
		f["normalizer"] = part{"type": "NFC"}
	}
	return f, nil
}

// vocabulary maps tokens to ids.
func (t *Tokenizer) vocabulary() map[string]int32 {
	v := make(map[string]int32, len(t.tokens))
	for i, s := range t.tokens {
		v[s] = int32(i)
	}
	return v
}

// scoredJSON is sentencepiece's BPE.
func (g ggml) scoredJSON(t *Tokenizer) (part, error) {
	scores := g.get("scores").([]float32) // read already
	types, _ := g.get("token_type").([]int32)
	if i := slices.Index(types, typeUser); i >= 0 {
		return nil, fmt.Errorf("token %d, %s, is user-defined, which a tokenizer.json matches otherwise", i, quote(t.tokens[i]))
	}
	type merge struct {
		left, right string
		score       float32
		id, l, r    int32
	}
	var all []merge
	for i, s := range t.tokens {
		if types != nil && types[i] != typeNormal && types[i] != typeUnused {
			continue
		}
		for at := range s {
			l, okL := t.ids[s[:at]]
			r, okR := t.ids[s[at:]]
			if at > 0 && okL && okR {
				all = append(all, merge{s[:at], s[at:], scores[i], int32(i), l, r})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b merge) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.id, b.id), cmp.Compare(a.l, b.l), cmp.Compare(a.r, b.r))
	})
	merges := make([][2]string, len(all))
	for i, m := range all {
		merges[i] = [2]string{m.left, m.right}
	}
	var unknown any
	if id, ok := t.roles["unk"]; ok {
		unknown = t.tokens[id]
	}
	replace := func(from, to string) part {
		return part{"type": "Replace", "pattern": part{"String": from}, "content": to}
	}
	normal, back := []part{replace(" ", metaMark)}, []part{replace(metaMark, " "), {"type": "ByteFallback"}, {"type": "Fuse"}}
	if g.flag("add_space_prefix", true) {
		normal = append([]part{{"type": "Prepend", "prepend": metaMark}}, normal...)
		back = append(back, part{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	return part{
		"normalizer": parts("Sequence", "normalizers", normal), "pre_tokenizer": nil, "decoder": part{"type": "Sequence", "decoders": back},
		"model": part{"type": "BPE", "dropout": nil, "unk_token": unknown, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": t.vocabulary(), "merges": merges},
	}, nil
}
