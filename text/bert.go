package text

import (
	"bufio"
	"fmt"
	"io"
	"unicode"
)

func isNumber(r rune) bool { return unicode.IsNumber(r) }

// setByteLevel makes a byte-level model: ids and merges in the spelling of
// byte-level tokens. Every byte must be a token.
func (m *bpe) setByteLevel(ids map[string]int32, merges [][2]string, wholeFirst bool) error {
	m.level = true
	for b, r := range byteLevel {
		if id, ok := ids[string(r)]; ok {
			m.bytes[b] = id
		}
	}
	if wholeFirst {
		m.whole = make(map[string]int32, len(ids))
		for s, id := range ids {
			if b, ok := fromByteLevel(s); ok {
				m.whole[string(b)] = id
			}
		}
	}
	return m.addMerges(merges, ids)
}

// bert sets what BERT's tokenizers share.
func (t *Tokenizer) bert(unknown, cls, sep int32, accents, lower bool) {
	t.model = newWordPiece(t.tokens, "##", unknown, bertLongest)
	t.normal = bertNormalizer(true, true, accents, lower)
	t.pre = bertCuts
	t.post = bertTemplate(cls, sep)
	t.dec = decoder{kind: decodeBert, prefix: "##", cleanup: true}
}

// bertLongest is the longest word, in characters, that BERT cuts into parts.
const bertLongest = 100

// ParseVocab reads a BERT vocabulary: one token a line, its id being the line's
// number from 0. It must hold [UNK], [CLS] and [SEP]. lower takes upper case
// and accents away, as uncased models need.
func ParseVocab(r io.Reader, lower bool) (*Tokenizer, error) {
	var tokens []string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxTokenBytes+2)
	for lines.Scan() {
		if len(tokens) == maxTokens {
			return nil, fmt.Errorf("text: vocabulary: more than %d lines", maxTokens)
		}
		tokens = append(tokens, lines.Text())
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("text: vocabulary: line %d: %w", len(tokens), err)
	}
	if err := checkTokens(tokens); err != nil {
		return nil, fmt.Errorf("text: vocabulary: %w", err)
	}
	t := &Tokenizer{}
	t.setTokens(tokens)
	var added []addedToken
	for _, k := range [][2]string{{"unk", "[UNK]"}, {"cls", "[CLS]"}, {"sep", "[SEP]"}, {"pad", "[PAD]"}, {"mask", "[MASK]"}} {
		id, ok := t.ids[k[1]]
		if !ok {
			if k[0] == "pad" || k[0] == "mask" {
				continue
			}
			return nil, fmt.Errorf("text: vocabulary: no token %s among %d", k[1], len(tokens))
		}
		t.roles[k[0]], t.special[id] = id, true
		added = append(added, addedToken{id: id, content: k[1], special: true})
	}
	t.added = newAdded(added)
	t.bert(t.roles["unk"], t.roles["cls"], t.roles["sep"], lower, lower)
	t.finish()
	return t, nil
}

// finish makes the tables that depend on all others.
func (t *Tokenizer) finish() {
	if t.post.single == nil {
		t.post.single, t.post.pair = bare, barePair
	}
	t.dec.prepare(t.tokens)
}
