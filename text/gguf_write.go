package text

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrUntranslatable is the error of a tokenizer that another file format cannot say.
var ErrUntranslatable = errors.New("not translated")

// GGUFKey is a key of a GGUF file and its value: a string, bool, uint32, or a
// slice of string, int32 or float32.
type GGUFKey struct {
	Key   string
	Value any
}

// GGUFKeys translates a tokenizer.json into the keys that a GGUF file has for a
// tokenizer: byte-level BPE as model "gpt2", BPE over characters with bytes for
// the unknown as model "llama", whose scores order the merges. t is the tokenizer
// of that file; its roles, marks and chat template are written too.
//
// A GGUF file names its way of cutting words instead of describing it. The keys
// are read back, and must give the ids that t gives to texts of many scripts.
// Errors: another model, a token that is matched in a way that GGUF cannot say, a
// way of cutting words that has no name.
func (t *Tokenizer) GGUFKeys(file []byte) ([]GGUFKey, error) {
	keys, err := t.ggufKeys(file)
	if err != nil {
		return nil, fmt.Errorf("text: tokenizer.json as GGUF: %w: %w", ErrUntranslatable, err)
	}
	return keys, nil
}

// preName returns GGUF's name for the file's way to cut words: of several the
// best known.
func (f *jsonFile) preName(wholeFirst bool) (string, error) {
	kind := preKind{wholeFirst: wholeFirst}
	stages := []jsonPart{*f.Pre}
	if f.Pre.Type == "Sequence" {
		stages = f.Pre.Pretokenizers
	}
	known := false
	for _, p := range stages {
		switch {
		case p.Type == "Digits" && p.Individual && !known:
			kind.digitsApart = true
		case p.Type == "Split" && p.Pattern.Regex != nil && p.Behavior == "Isolated" && !p.Invert && !known:
			if kind.scanner, known = knownScanners[*p.Pattern.Regex]; !known {
				return "", fmt.Errorf("the pattern %s has no name in GGUF", quote(*p.Pattern.Regex))
			}
		case p.Type == "ByteLevel" && !flag(p.AddPrefixSpace, true) && flag(p.UseRegex, true) != known:
			known = true // without a pattern before it, its own: the zero scanner
		default:
			return "", fmt.Errorf("the pre-tokenizer's stage %s with these settings has no name in GGUF", p.Type)
		}
	}
	if f.Normal != nil {
		if kind.nfc = f.Normal.Type == "NFC"; !kind.nfc {
			return "", fmt.Errorf("the normalizer %s has no name in GGUF beside BPE of bytes", f.Normal.Type)
		}
	}
	for _, name := range []string{"gpt-2", "smollm", "llama-bpe", "qwen2", "stablelm2", "dbrx"} {
		if preKinds[name] == kind {
			return name, nil
		}
	}
	return "", fmt.Errorf("the pre-tokenizer (digits apart %t, NFC %t, whole tokens first %t) has no name in GGUF", kind.digitsApart, kind.nfc, wholeFirst)
}

func (t *Tokenizer) ggufKeys(file []byte) ([]GGUFKey, error) {
	var f jsonFile
	var m jsonModel
	if err := json.Unmarshal(file, &f); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(f.Model, &m); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	level := f.Pre.has("ByteLevel")
	if m.Type != "BPE" && (m.Type != "" || m.Merges == nil) || !level && !m.Fallback {
		return nil, fmt.Errorf("model %s, want BPE of bytes, or of characters with bytes for the unknown", quote(m.Type))
	}
	for _, a := range f.Added {
		if a.ID < 0 || a.ID >= int64(len(t.tokens)) {
			return nil, fmt.Errorf("token %s has the id %d, the tokenizer has %d: another file's", quote(a.Content), a.ID, len(t.tokens))
		}
		if a.SingleWord || a.LStrip || a.RStrip {
			return nil, fmt.Errorf("token %s is matched as a single word or with the spaces around it, which GGUF cannot say", quote(a.Content))
		}
	}
	merges, err := parseMerges(m.Merges)
	if err != nil {
		return nil, err
	}
	v := ggufVocabulary{t: t, added: f.Added}
	if !level {
		return v.checked("default", v.scored(merges))
	}
	lines := make([]string, len(merges))
	for i, p := range merges {
		lines[i] = p[0] + " " + p[1]
	}
	pre, err := f.preName(m.Whole)
	if err != nil {
		return nil, err
	}
	return v.checked(pre, []GGUFKey{{"model", "gpt2"}, {"merges", lines}})
}

// ggufVocabulary writes the tokens of t.
type ggufVocabulary struct {
	t     *Tokenizer
	added []jsonAdded
}

// checked adds the keys of the vocabulary to those of the model, and reads all
// back: a reader must give the ids that the tokenizer gives.
func (v ggufVocabulary) checked(pre string, model []GGUFKey) ([]GGUFKey, error) {
	keys := append([]GGUFKey{{"pre", pre}}, append(model, v.tokens()...)...)
	for i := range keys {
		keys[i].Key = ggmlPrefix + keys[i].Key
	}
	if v.t.Template != "" {
		keys = append(keys, GGUFKey{"tokenizer.chat_template", v.t.Template})
	}
	back, err := FromGGUF(lookUp(keys))
	if err != nil {
		return nil, fmt.Errorf("read back: %w", err)
	}
	return keys, sameIDs(v.t, back)
}

// lookUp is the Value method of a file with these keys.
func lookUp(keys []GGUFKey) func(string) (any, bool) {
	return func(key string) (any, bool) {
		for _, k := range keys {
			if k.Key == key {
				return k.Value, true
			}
		}
		return nil, false
	}
}

// tokens are the keys of the vocabulary, the roles and the marks.
func (v ggufVocabulary) tokens() []GGUFKey {
	t := v.t
	tokens, types := slices.Clone(t.tokens), make([]int32, len(t.tokens))
	for i, s := range tokens {
		types[i] = typeNormal
		if s == "" { // a hole: nothing may be called so
			tokens[i], types[i] = fmt.Sprintf("[PAD%d]", i), typeUnused
		}
	}
	if m, ok := t.model.(*bpe); ok && m.fallback {
		for i, s := range tokens {
			if _, ok := byteToken(s); ok {
				types[i] = typeByte
			}
		}
	}
	for _, a := range v.added {
		types[a.ID] = typeUser
		if a.Special {
			types[a.ID] = typeControl
		}
	}
	keys := []GGUFKey{{"tokens", tokens}, {"token_type", types}}
	for _, k := range roleKeys {
		if id, ok := t.roles[k[1]]; ok && k[0] != "separator_token_id" {
			keys = append(keys, GGUFKey{k[0], uint32(id)})
		}
	}
	before, after := t.marks()
	return append(keys, GGUFKey{"add_bos_token", before}, GGUFKey{"add_eos_token", after})
}

// marks reports whether Encode puts the begin mark before a text, and the end
// mark behind it.
func (t *Tokenizer) marks() (before, after bool) {
	is := func(p templatePart, role string) bool {
		id, ok := t.roles[role]
		return ok && p.source < 0 && p.id == id
	}
	parts := t.post.single
	return len(parts) > 0 && is(parts[0], "bos"), len(parts) > 0 && is(parts[len(parts)-1], "eos")
}

// scored are the keys of a sentencepiece model: of two possible merges the one
// with the higher score comes first, as the earlier in the list of merges does.
func (v ggufVocabulary) scored(merges [][2]string) []GGUFKey {
	scores := make([]float32, len(v.t.tokens))
	for i := range scores {
		scores[i] = -float32(len(merges) + 1)
	}
	for rank, p := range slices.Backward(merges) { // of several ways to a token the first counts
		if id, ok := v.t.ids[p[0]+p[1]]; ok {
			scores[id] = -float32(rank)
		}
	}
	one, space := v.t.Append(nil, "a"), true
	if len(one) > 0 {
		space = strings.HasPrefix(v.t.tokens[one[0]], metaMark)
	}
	return []GGUFKey{{"model", "llama"}, {"scores", scores}, {"add_space_prefix", space}}
}

// probes are texts on which ways of cutting words differ.
var probes = []string{
	"", " ", "Hello, world!", "  two  spaces\tand\ttabs \n\n lines\r\n end ", "it's WE'LL I'm don't 'S", "3.14159 2026 1,234,567 x86_64 ١٢٣",
	"naïve café e\u0301 Å", "Ελληνικά Русский עברית العربية हिन्दी ไทย", "你好，世界。 こんにちは 한국어", "🙂👩‍👩‍👧 ½ ² ™", "func main() { fmt.Println(\"%d\\n\", x[i]++) }",
	"_under_score-dash/slash\\ #tag @name http://a.b/c?d=e&f", "\u00a0nbsp \u200bzero\u3000wide", "MiXeD123abc 7th 1st ...!!! --- === <|x|> <0x41>", "\x00\x7f\xff",
}

// sameIDs compares two tokenizers on the probes and on the added tokens.
func sameIDs(want, got *Tokenizer) error {
	texts := slices.Clone(probes)
	for _, id := range slices.Sorted(maps.Keys(want.special))[:min(len(want.special), 32)] {
		texts = append(texts, "a"+want.tokens[id]+"b", "a "+want.tokens[id]+" b")
	}
	for _, s := range texts {
		if a, b := want.Encode(s), got.Encode(s); !slices.Equal(a, b) {
			return fmt.Errorf("%s has the ids %v, as written %v", quote(s), a, b)
		}
	}
	return nil
}
