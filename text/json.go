package text

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFileBytes bounds a tokenizer.json; the largest known have 40 MB.
const maxFileBytes = 256 << 20

// jsonFile is a tokenizer.json.
type jsonFile struct {
	Added  []jsonAdded     `json:"added_tokens"`
	Normal *jsonPart       `json:"normalizer"`
	Pre    *jsonPart       `json:"pre_tokenizer"`
	Post   *jsonPart       `json:"post_processor"`
	Dec    *jsonPart       `json:"decoder"`
	Model  json.RawMessage `json:"model"`
}

type jsonAdded struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// jsonPart is any stage: a type and the fields of all types.
type jsonPart struct {
	Type string `json:"type"`

	Normalizers   []jsonPart `json:"normalizers"`
	Pretokenizers []jsonPart `json:"pretokenizers"`
	Processors    []jsonPart `json:"processors"`
	Decoders      []jsonPart `json:"decoders"`

	CleanText    *bool       `json:"clean_text"`
	Chinese      *bool       `json:"handle_chinese_chars"`
	StripAccents *bool       `json:"strip_accents"`
	Lowercase    *bool       `json:"lowercase"`
	StripLeft    *bool       `json:"strip_left"`
	StripRight   *bool       `json:"strip_right"`
	Prepend      string      `json:"prepend"`
	Pattern      jsonPattern `json:"pattern"`
	Behavior     string      `json:"behavior"`
	Invert       bool        `json:"invert"`

	AddPrefixSpace *bool           `json:"add_prefix_space"`
	TrimOffsets    *bool           `json:"trim_offsets"`
	UseRegex       *bool           `json:"use_regex"`
	Individual     bool            `json:"individual_digits"`
	Replacement    string          `json:"replacement"`
	PrependScheme  string          `json:"prepend_scheme"`
	Split          *bool           `json:"split"`
	Content        json.RawMessage `json:"content"` // a string; of Replace and Strip
	Start          int             `json:"start"`
	Stop           int             `json:"stop"`
	Prefix         string          `json:"prefix"`
	Cleanup        *bool           `json:"cleanup"`

	Single  []jsonPiece            `json:"single"`
	Pair    []jsonPiece            `json:"pair"`
	Special map[string]jsonSpecial `json:"special_tokens"`
	Sep     [2]any                 `json:"sep"`
	Cls     [2]any                 `json:"cls"`
}

type jsonPattern struct {
	String *string
	Regex  *string
}

type jsonPiece struct {
	Special  *jsonTemplateID `json:"SpecialToken"`
	Sequence *jsonTemplateID `json:"Sequence"`
}

type jsonTemplateID struct {
	ID   string `json:"id"`
	Type int32  `json:"type_id"`
}

type jsonSpecial struct {
	IDs []int64 `json:"ids"`
}

// jsonModel is the model of any type.
type jsonModel struct {
	Type     string          `json:"type"`
	Vocab    json.RawMessage `json:"vocab"`
	Merges   json.RawMessage `json:"merges"`
	Unknown  json.RawMessage `json:"unk_token"` // a string or null
	UnkID    *int64          `json:"unk_id"`
	Dropout  *float64        `json:"dropout"`
	Prefix   string          `json:"continuing_subword_prefix"`
	Suffix   string          `json:"end_of_word_suffix"`
	Fuse     bool            `json:"fuse_unk"`
	Fallback bool            `json:"byte_fallback"`
	Whole    bool            `json:"ignore_merges"`
	Longest  *int            `json:"max_input_chars_per_word"`
}

func flag(b *bool, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return *b
}

// Parse reads a tokenizer.json of package tokenizers. Models BPE, WordPiece and
// Unigram; a stage that is not known is an error that names it. It allocates at
// most a small multiple of the file's size.
func Parse(b []byte) (*Tokenizer, error) {
	if len(b) > maxFileBytes {
		return nil, fmt.Errorf("text: tokenizer.json: %d bytes, want at most %d", len(b), maxFileBytes)
	}
	t, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("text: tokenizer.json: %w", err)
	}
	return t, nil
}

func parse(b []byte) (*Tokenizer, error) {
	var f jsonFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	if f.Model == nil {
		return nil, fmt.Errorf("no model")
	}
	level := f.Pre.has("ByteLevel") || f.Normal.has("ByteLevel")
	t := &Tokenizer{}
	if err := t.parseModel(f.Model, f.Added, level); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	var err error
	if t.normal, err = f.Normal.normalizer(); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	if t.pre, err = f.Pre.preTokenizer(); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if err = f.Post.template(t); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	if t.dec, err = f.Dec.decoder(); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	t.addJSON(f.Added)
	t.finish()
	return t, nil
}

// has reports whether a stage or one inside it is of a type.
func (p *jsonPart) has(kind string) bool {
	if p == nil {
		return false
	}
	for _, list := range [][]jsonPart{p.Normalizers, p.Pretokenizers} {
		for i := range list {
			if list[i].has(kind) {
				return true
			}
		}
	}
	return p.Type == kind
}

// addJSON sets the added tokens; their ids are checked already.
func (t *Tokenizer) addJSON(list []jsonAdded) {
	var raw, normal []addedToken
	for _, a := range list {
		k := addedToken{int32(a.ID), a.Content, a.Special, a.SingleWord, a.LStrip, a.RStrip}
		if a.Special {
			t.special[k.id] = true
		}
		if !a.Normalized {
			raw = append(raw, k)
			continue
		}
		k.content = t.normal.apply(source(k.content), false).s
		normal = append(normal, k)
	}
	t.added, t.addedNorm = newAdded(raw), newAdded(normal)
	for role, names := range roleNames {
		for _, n := range names {
			if id, ok := t.ids[n]; ok && t.special[id] {
				if _, have := t.roles[role]; !have {
					t.roles[role] = id
				}
			}
		}
	}
}

// roleNames are the usual names of roles, for files that name none.
var roleNames = map[string][]string{
	"unk": {"[UNK]", "<unk>"}, "cls": {"[CLS]"}, "sep": {"[SEP]"}, "pad": {"[PAD]", "<pad>"}, "mask": {"[MASK]", "<mask>"},
	"bos": {"<s>", "<|begin_of_text|>"}, "eos": {"</s>", "<|endoftext|>", "<|end_of_text|>"},
}

// place makes the list of tokens out of a vocabulary and the added tokens.
func (t *Tokenizer) place(vocab map[string]int32, added []jsonAdded) error {
	size := int64(0)
	limit := int64(2*(len(vocab)+len(added)) + 1<<12) // holes are few
	see := func(s string, id int64) error {
		if id < 0 || id >= min(limit, maxTokens) {
			return fmt.Errorf("id %d of %s, want 0..%d for %d tokens", id, quote(s), min(limit, maxTokens)-1, len(vocab)+len(added))
		}
		size = max(size, id+1)
		return nil
	}
	for s, id := range vocab {
		if err := see(s, int64(id)); err != nil {
			return err
		}
	}
	for _, a := range added {
		if err := see(a.Content, a.ID); err != nil {
			return err
		}
		if len(a.Content) > maxTokenBytes {
			return fmt.Errorf("added token %d has %d bytes, want at most %d", a.ID, len(a.Content), maxTokenBytes)
		}
	}
	tokens := make([]string, size)
	for s, id := range vocab {
		if tokens[id] != "" {
			return fmt.Errorf("id %d is of both %s and %s", id, quote(tokens[id]), quote(s))
		}
		tokens[id] = s
	}
	for _, a := range added {
		tokens[a.ID] = a.Content
	}
	if err := checkTokens(tokens); err != nil {
		return err
	}
	t.setTokens(tokens)
	return nil
}

// Open reads a tokenizer from a tokenizer.json, a vocab.txt, or a folder that
// has one of them; a folder's tokenizer_config.json gives the chat template and
// the names of special tokens, and may say that a vocab.txt is cased.
func Open(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("text: %w", err)
	}
	if !info.IsDir() {
		return openFile(path, true)
	}
	var c tokenizerConfig
	if b, err := os.ReadFile(filepath.Join(path, "tokenizer_config.json")); err == nil {
		if err := json.Unmarshal(b, &c); err != nil {
			return nil, fmt.Errorf("text: %s: tokenizer_config.json: %w", path, err)
		}
	}
	for _, name := range []string{"tokenizer.json", "vocab.txt"} {
		p := filepath.Join(path, name)
		if _, err := os.Stat(p); err != nil {
			continue
		}
		t, err := openFile(p, flag(c.Lower, true))
		if err != nil {
			return nil, err
		}
		if b, err := os.ReadFile(filepath.Join(path, "chat_template.jinja")); err == nil {
			t.Template = string(b)
		}
		return t, c.apply(t)
	}
	return nil, fmt.Errorf("text: %s has neither tokenizer.json nor vocab.txt: %w", path, fs.ErrNotExist)
}

func openFile(path string, lower bool) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFileBytes {
		err = fmt.Errorf("%s: %d bytes, want at most %d", path, info.Size(), maxFileBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("text: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("text: %w", err)
	}
	var t *Tokenizer
	if strings.HasSuffix(path, ".txt") {
		t, err = ParseVocab(strings.NewReader(string(b)), lower)
	} else {
		t, err = Parse(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// tokenizerConfig is what is read of tokenizer_config.json.
type tokenizerConfig struct {
	Lower    *bool           `json:"do_lower_case"`
	Template json.RawMessage `json:"chat_template"`
	BOS      jsonToken       `json:"bos_token"`
	EOS      jsonToken       `json:"eos_token"`
	Pad      jsonToken       `json:"pad_token"`
	Unk      jsonToken       `json:"unk_token"`
}

// jsonToken is a string, or an object with the content.
type jsonToken string

// UnmarshalJSON takes null as no token.
func (t *jsonToken) UnmarshalJSON(b []byte) error {
	var s *string
	if json.Unmarshal(b, &s) == nil {
		if s != nil {
			*t = jsonToken(*s)
		}
		return nil
	}
	var o struct {
		Content string `json:"content"`
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	*t = jsonToken(o.Content)
	return nil
}

func (c *tokenizerConfig) apply(t *Tokenizer) error {
	for role, name := range map[string]jsonToken{"bos": c.BOS, "eos": c.EOS, "pad": c.Pad, "unk": c.Unk} {
		if name == "" {
			continue
		}
		if err := t.SetSpecial(role, string(name)); err != nil {
			return err
		}
	}
	if t.Template != "" || c.Template == nil {
		return nil
	}
	var named []struct {
		Name     string `json:"name"`
		Template string `json:"template"`
	}
	if json.Unmarshal(c.Template, &t.Template) == nil || json.Unmarshal(c.Template, &named) != nil {
		return nil
	}
	for _, n := range named {
		if n.Name == "default" {
			t.Template = n.Template
		}
	}
	return nil
}
