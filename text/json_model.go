package text

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// parseModel sets the vocabulary and the model; level tells that a byte-level
// stage comes before it.
func (t *Tokenizer) parseModel(b []byte, added []jsonAdded, level bool) error {
	var m jsonModel
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	if m.Type == "" { // old files do not say
		switch {
		case m.Merges != nil:
			m.Type = "BPE"
		case bytes.HasPrefix(bytes.TrimSpace(m.Vocab), []byte("[")):
			m.Type = "Unigram"
		default:
			m.Type = "WordPiece"
		}
	}
	switch m.Type {
	case "Unigram":
		return t.parseUnigram(&m, added)
	case "BPE", "WordPiece":
	default:
		return fmt.Errorf("type %s, want BPE, WordPiece or Unigram", quote(m.Type))
	}
	var vocab map[string]int32
	if err := json.Unmarshal(m.Vocab, &vocab); err != nil {
		return fmt.Errorf("vocab: %w", err)
	}
	if err := t.place(vocab, added); err != nil {
		return err
	}
	unknown, err := t.parseUnknown(&m, vocab)
	if err != nil {
		return err
	}
	if m.Type == "BPE" {
		return t.parseBPE(&m, vocab, unknown, level)
	}
	if unknown < 0 {
		return fmt.Errorf("WordPiece without unk_token")
	}
	longest := bertLongest
	if m.Longest != nil {
		longest = *m.Longest
	}
	prefix := m.Prefix
	if prefix == "" {
		prefix = "##"
	}
	tokens := make([]string, len(t.tokens)) // without the added ones
	for s, id := range vocab {
		tokens[id] = s
	}
	t.model = newWordPiece(tokens, prefix, unknown, longest)
	return nil
}

// parseUnknown returns the id of the unknown token, -1 if the file names none.
func (t *Tokenizer) parseUnknown(m *jsonModel, vocab map[string]int32) (int32, error) {
	var name *string
	if m.Unknown != nil {
		if err := json.Unmarshal(m.Unknown, &name); err != nil {
			return 0, fmt.Errorf("unk_token: %w", err)
		}
	}
	if name == nil {
		return -1, nil
	}
	id, ok := vocab[*name]
	if !ok {
		return 0, fmt.Errorf("unk_token %s is not in the vocabulary", quote(*name))
	}
	t.roles["unk"] = id
	return id, nil
}

func (t *Tokenizer) parseBPE(f *jsonModel, vocab map[string]int32, unknown int32, level bool) error {
	switch {
	case f.Dropout != nil && *f.Dropout != 0:
		return fmt.Errorf("BPE with dropout %v is not supported: its ids are random", *f.Dropout)
	case f.Prefix != "" || f.Suffix != "":
		return fmt.Errorf("BPE with prefix %s and suffix %s is not supported", quote(f.Prefix), quote(f.Suffix))
	}
	merges, err := parseMerges(f.Merges)
	if err != nil {
		return err
	}
	m := newBPE()
	m.unknown, m.fuse = unknown, f.Fuse
	t.model = m
	if level {
		return m.setByteLevel(vocab, merges, f.Whole)
	}
	m.chars = map[rune]int32{}
	for s, id := range vocab {
		if r := []rune(s); len(r) == 1 {
			m.chars[r[0]] = id
		}
	}
	for _, p := range merges {
		m.noteInside(p[0] + p[1])
	}
	if f.Fallback {
		m.fallback = true
		for s, id := range vocab {
			if b, ok := byteToken(s); ok {
				m.bytes[b] = id
			}
		}
	}
	if f.Whole {
		m.whole = vocab
	}
	return m.addMerges(merges, vocab)
}

// parseMerges reads "a b" or ["a", "b"].
func parseMerges(b []byte) ([][2]string, error) {
	if b == nil {
		return nil, fmt.Errorf("BPE without merges")
	}
	var pairs [][]string
	if json.Unmarshal(b, &pairs) == nil {
		merges := make([][2]string, len(pairs))
		for i, p := range pairs {
			if len(p) != 2 {
				return nil, fmt.Errorf("merge %d has %d parts, want 2", i, len(p))
			}
			merges[i] = [2]string{p[0], p[1]}
		}
		return merges, nil
	}
	var lines []string
	if err := json.Unmarshal(b, &lines); err != nil {
		return nil, fmt.Errorf("merges: %w", err)
	}
	merges := make([][2]string, len(lines))
	for i, l := range lines {
		x, y, ok := strings.Cut(l, " ")
		if !ok {
			return nil, fmt.Errorf("merge %d is %s, want two symbols", i, quote(l))
		}
		merges[i] = [2]string{x, y}
	}
	return merges, nil
}

func (t *Tokenizer) parseUnigram(f *jsonModel, added []jsonAdded) error {
	var list []unigramPiece
	if err := json.Unmarshal(f.Vocab, &list); err != nil {
		return fmt.Errorf("vocab: %w", err)
	}
	if f.UnkID == nil || *f.UnkID < 0 || *f.UnkID >= int64(len(list)) {
		return fmt.Errorf("Unigram without an unk_id within its %d tokens", len(list))
	}
	vocab := make(map[string]int32, len(list))
	tokens, scores := make([]string, len(list)), make([]float64, len(list))
	for i, p := range list {
		if _, twice := vocab[p.token]; twice {
			return fmt.Errorf("token %s comes twice", quote(p.token))
		}
		vocab[p.token] = int32(i)
		tokens[i], scores[i] = p.token, p.score
	}
	if err := t.place(vocab, added); err != nil {
		return err
	}
	m := newUnigram(tokens, scores, int32(*f.UnkID))
	t.roles["unk"] = m.unknown
	if m.fallback = f.Fallback; f.Fallback {
		for b := range 256 {
			id, ok := vocab[fmt.Sprintf("<0x%02X>", b)]
			if !ok {
				return fmt.Errorf("byte fallback without the token of byte %d", b)
			}
			m.bytes[b] = id
		}
	}
	t.model = m
	return nil
}

// unigramPiece is [token, score].
type unigramPiece struct {
	token string
	score float64
}

// UnmarshalJSON wants exactly two elements.
func (p *unigramPiece) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) != 2 {
		return fmt.Errorf("a token with %d fields, want its text and score", len(parts))
	}
	if err := json.Unmarshal(parts[0], &p.token); err != nil {
		return err
	}
	return json.Unmarshal(parts[1], &p.score)
}
