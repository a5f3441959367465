package text

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// preKinds gives what tokenizer.ggml.pre means for a byte-level vocabulary.
// digitsApart cuts every digit before the scanner sees it.
type preKind struct {
	scanner     scanner
	digitsApart bool
	nfc         bool
	wholeFirst  bool // a piece that is a token is not merged
}

var preKinds = map[string]preKind{
	"gpt-2": {scanner: gpt2Scanner}, "mpt": {scanner: gpt2Scanner}, "olmo": {scanner: gpt2Scanner},
	"smollm":           {scanner: gpt2Scanner, digitsApart: true},
	"starcoder":        {scanner: gpt2Scanner, digitsApart: true},
	"refact":           {scanner: gpt2Scanner, digitsApart: true}, // Granite's
	"command-r":        {scanner: gpt2Scanner, digitsApart: true},
	"llama-bpe":        {scanner: llama3Scanner, wholeFirst: true},
	"llama3":           {scanner: llama3Scanner, wholeFirst: true},
	"llama-v3":         {scanner: llama3Scanner, wholeFirst: true},
	"dbrx":             {scanner: llama3Scanner},
	"smaug-bpe":        {scanner: llama3Scanner},
	"qwen2":            {scanner: qwen2Scanner, nfc: true},
	"deepseek-r1-qwen": {scanner: qwen2Scanner, nfc: true},
	"stablelm2":        {scanner: qwen2Scanner},
}

// ggml reads the keys of a tokenizer.
type ggml struct {
	value func(key string) (any, bool)
}

const ggmlPrefix = "tokenizer.ggml."

func (g ggml) text(key string) string {
	s, _ := g.get(key).(string)
	return s
}

func (g ggml) get(key string) any {
	v, _ := g.value(ggmlPrefix + key)
	return v
}

func (g ggml) flag(key string, otherwise bool) bool {
	if b, ok := g.get(key).(bool); ok {
		return b
	}
	return otherwise
}

// id returns a token number, -1 if there is none.
func (g ggml) id(key string, size int) (int32, error) {
	var n int64
	switch v := g.get(key).(type) {
	case nil:
		return -1, nil
	case uint32:
		n = int64(v)
	case int32:
		n = int64(v)
	case uint64:
		n = int64(min(v, 1<<40))
	case int64:
		n = v
	default:
		return 0, fmt.Errorf("%s%s is %T, want a number", ggmlPrefix, key, v)
	}
	if n == -1 || n == 0xFFFFFFFF {
		return -1, nil
	}
	if n < 0 || n >= int64(size) {
		return 0, fmt.Errorf("%s%s is %d, want 0..%d", ggmlPrefix, key, n, size-1)
	}
	return int32(n), nil
}

// FromGGUF makes a tokenizer of the metadata of a GGUF file; value is the
// Value method of the open file. It knows the models "gpt2" (byte-level BPE,
// with the pre-tokenizers listed in the error for another), "llama"
// (sentencepiece BPE with scores) and "bert" (WordPiece). Token types 3 and 4
// (control and user defined) are matched in the text.
func FromGGUF(value func(key string) (any, bool)) (*Tokenizer, error) {
	t, err := ggml{value}.tokenizer()
	if err != nil {
		return nil, fmt.Errorf("text: gguf: %w", err)
	}
	return t, nil
}

func (g ggml) tokenizer() (*Tokenizer, error) {
	tokens, ok := g.get("tokens").([]string)
	if !ok {
		return nil, fmt.Errorf("%stokens is %T, want strings", ggmlPrefix, g.get("tokens"))
	}
	if err := checkTokens(tokens); err != nil {
		return nil, err
	}
	t := &Tokenizer{}
	t.setTokens(slices.Clone(tokens))
	types, _ := g.get("token_type").([]int32)
	if types != nil && len(types) != len(tokens) {
		return nil, fmt.Errorf("%d token types for %d tokens", len(types), len(tokens))
	}
	if err := g.roles(t); err != nil {
		return nil, err
	}
	var err error
	switch name := g.text("model"); name {
	case "gpt2":
		err = g.byteLevel(t)
	case "llama":
		err = g.scored(t, types)
	case "bert":
		err = g.wordPiece(t)
	default:
		err = fmt.Errorf("tokenizer model %s, want gpt2, llama or bert", quote(name))
	}
	if err != nil {
		return nil, err
	}
	g.addTypes(t, types)
	v, _ := g.value("tokenizer.chat_template")
	t.Template, _ = v.(string)
	t.finish()
	return t, nil
}

// roleKeys maps keys to roles.
var roleKeys = [][2]string{
	{"bos_token_id", "bos"}, {"eos_token_id", "eos"}, {"unknown_token_id", "unk"}, {"padding_token_id", "pad"},
	{"cls_token_id", "cls"}, {"seperator_token_id", "sep"}, {"separator_token_id", "sep"}, {"mask_token_id", "mask"},
}

func (g ggml) roles(t *Tokenizer) error {
	for _, k := range roleKeys {
		id, err := g.id(k[0], len(t.tokens))
		if err != nil {
			return err
		}
		if id >= 0 {
			t.roles[k[1]] = id
		}
	}
	return nil
}

// addTypes makes added tokens of the control and user-defined ones. The latter
// are spelled as the normalised text is.
func (g ggml) addTypes(t *Tokenizer, types []int32) {
	var list, normal []addedToken
	for i, k := range types {
		a := addedToken{id: int32(i), content: t.tokens[i]}
		switch {
		case k == typeUser && t.normal != nil:
			normal = append(normal, a)
		case k == typeUser:
			list = append(list, a)
		case k == typeControl || k == typeUnknown:
			a.special, t.special[a.id] = true, true
			list = append(list, a)
		}
	}
	t.added, t.addedNorm = newAdded(list), newAdded(normal)
}

// around is the template of the marks that the file asks for.
func (g ggml) around(t *Tokenizer, bosDefault bool) {
	before, after := int32(-1), int32(-1)
	if id, ok := t.roles["bos"]; ok && g.flag("add_bos_token", bosDefault) {
		before = id
	}
	if id, ok := t.roles["eos"]; ok && g.flag("add_eos_token", false) {
		after = id
	}
	t.post = surround(before, after)
}

func (g ggml) byteLevel(t *Tokenizer) error {
	pre := g.text("pre")
	if pre == "" {
		pre = "gpt-2"
	}
	kind, ok := preKinds[pre]
	if !ok {
		var names []string
		for n := range preKinds {
			names = append(names, n)
		}
		slices.Sort(names)
		return fmt.Errorf("pre-tokenizer %s, want one of %s", quote(pre), strings.Join(names, ", "))
	}
	lines, ok := g.get("merges").([]string)
	if !ok {
		return fmt.Errorf("%smerges is %T, want strings", ggmlPrefix, g.get("merges"))
	}
	merges := make([][2]string, len(lines))
	for i, l := range lines {
		a, b, ok := strings.Cut(l, " ")
		if !ok {
			return fmt.Errorf("merge %d is %s, want two symbols", i, quote(l))
		}
		merges[i] = [2]string{a, b}
	}
	m := newBPE()
	if err := m.setByteLevel(t.ids, merges, kind.wholeFirst); err != nil {
		return err
	}
	t.model = m
	if kind.nfc {
		t.normal = normalizer{compose(norm.NFC)}
	}
	if kind.digitsApart {
		t.pre = append(t.pre, byRune(isNumber, isolated))
	}
	t.pre = append(t.pre, byScanner(kind.scanner.next))
	t.dec = decoder{kind: decodeBytes}
	g.around(t, kind.wholeFirst)
	t.post.trimOffsets = true
	return nil
}

func (g ggml) scored(t *Tokenizer, types []int32) error {
	scores, ok := g.get("scores").([]float32)
	if !ok || len(scores) != len(t.tokens) {
		return fmt.Errorf("%d scores for %d tokens", len(scores), len(t.tokens))
	}
	m := scored(t.tokens, scores, func(i int) bool {
		return types == nil || types[i] == typeNormal || types[i] == typeUser || types[i] == typeUnused
	})
	m.setBytes(t.tokens)
	if id, ok := t.roles["unk"]; ok {
		m.unknown = id
	}
	m.fuse = true
	t.model = m
	t.llamaText(g.flag("add_space_prefix", true))
	g.around(t, true)
	return nil
}

// wordPiece reads BERT's vocabulary as converters write it: beginnings of
// words with the mark of a space, other parts without their prefix.
func (g ggml) wordPiece(t *Tokenizer) error {
	unknown, ok := t.roles["unk"]
	cls, okC := t.roles["cls"]
	if !okC {
		cls, okC = t.roles["bos"]
	}
	sep, okS := t.roles["sep"]
	if !ok || !okC || !okS {
		return fmt.Errorf("a bert vocabulary needs the unknown, cls and separator tokens")
	}
	names := slices.Clone(t.tokens)
	for i, s := range names {
		if rest, ok := strings.CutPrefix(s, metaMark); ok {
			names[i] = rest
		} else if !strings.HasPrefix(s, "[") {
			names[i] = "##" + s
		}
	}
	roles := t.roles
	t.setTokens(names)
	t.roles = roles
	t.roles["cls"] = cls
	t.bert(unknown, cls, sep, true, true)
	return nil
}
