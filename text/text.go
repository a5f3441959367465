// Package text turns text into token ids and back, and chats into prompts.
//
// A Tokenizer is read from a tokenizer.json (Parse), a BERT vocabulary
// (ParseVocab), the metadata of a GGUF file (FromGGUF) or llama2.c's table
// (ParseLlama2C). It gives the ids of the reference implementations, package
// tokenizers 0.23 and sentencepiece 0.2: WordPiece, byte-level BPE, BPE with
// scores and byte fallback, Unigram. The pure Go port sugarme/tokenizer is not
// used: v0.3.0 panics on Llama-3's and Qwen2's files and reads 0.2 MB a second.
// Letters and digits are those of this Go's Unicode tables; of newer
// characters the reference's ids may differ.
//
// Input need not be valid UTF-8: byte-level and byte-fallback models keep the
// bytes, the others take each bad byte as U+FFFD. Every table read from
// outside is checked; work grows no faster than n log n with the text.
package text

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Span is a range of bytes of a source text, Start included, End not.
type Span struct{ Start, End int }

// Encoding is a tokenized text or pair of texts. All slices have one element a
// token.
type Encoding struct {
	// IDs are the token numbers.
	IDs []int32
	// Types are the segment numbers that BERT reads: 0 for the first text.
	Types []int32
	// Sources tells which text a token is of, 0 or 1; -1 for a token that the
	// template added.
	Sources []int8
	// Offsets are the bytes of that text which a token stands for, whole
	// characters; {0, 0} for a token that the template added.
	Offsets []Span
}

// Tokenizer is a tokenizer. It is safe for concurrent use.
type Tokenizer struct {
	// Template is the Jinja chat template that came with it, or "".
	Template string

	tokens  []string // the text of each id; "" for a hole
	ids     map[string]int32
	special map[int32]bool   // ids that Decode may leave out
	roles   map[string]int32 // roles such as "bos", see Special

	added     added // tokens matched in the text as it is
	addedNorm added // tokens matched in the normalised text
	normal    normalizer
	pre       preTokenizer
	model     model
	post      template
	dec       decoder

	scratch sync.Pool // *scratch
}

// model cuts one piece of normalised text into tokens.
type model interface {
	// tokenize appends the tokens of s, which is not empty. Offsets are bytes
	// of s.
	tokenize(s string, w *scratch)
}

// token is one token of a piece: its id and its bytes of the piece.
type token struct{ id, start, end int32 }

// scratch is the working memory of one call.
type scratch struct {
	out  []token // what model.tokenize appends to
	work bpeWork
	path []pathStep
}

// Size returns the number of ids: one more than the largest.
func (t *Tokenizer) Size() int { return len(t.tokens) }

// ID returns the id of a token as the vocabulary writes it.
func (t *Tokenizer) ID(token string) (int32, bool) {
	id, ok := t.ids[token]
	return id, ok
}

// Token returns a token as the vocabulary writes it; "" for no such id.
func (t *Tokenizer) Token(id int32) string {
	if id < 0 || int(id) >= len(t.tokens) {
		return ""
	}
	return t.tokens[id]
}

// IsSpecial reports whether an id is a control token, such as an end mark.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.special[id] }

// Special returns the id of a role where the file names one: "bos", "eos",
// "unk", "pad", "cls", "sep" or "mask".
func (t *Tokenizer) Special(role string) (int32, bool) {
	id, ok := t.roles[role]
	return id, ok
}

// SetSpecial gives a role of Special to a token, as tokenizer_config.json does.
func (t *Tokenizer) SetSpecial(role, token string) error {
	id, ok := t.ids[token]
	if !ok {
		return fmt.Errorf("text: %s token %q is not in the vocabulary", role, token)
	}
	t.roles[role] = id
	return nil
}

// Encode returns the ids of a text with the marks that the model expects
// around it ([CLS] and [SEP], or a begin mark). Special tokens in s are
// recognised: use AppendPlain for text that must not form any.
func (t *Tokenizer) Encode(s string) []int32 {
	ids := make([]int32, 0, len(s)/3+4)
	for _, p := range t.post.single {
		if p.source < 0 {
			ids = append(ids, p.id)
		} else {
			ids = t.Append(ids, s)
		}
	}
	return ids
}

// Append appends the ids of a text to dst, without any marks around it.
// Special tokens in s are recognised.
func (t *Tokenizer) Append(dst []int32, s string) []int32 { return t.append(dst, s, false) }

// AppendPlain is Append for text of others: special tokens in s are
// tokenized like any text.
func (t *Tokenizer) AppendPlain(dst []int32, s string) []int32 { return t.append(dst, s, true) }

func (t *Tokenizer) append(dst []int32, s string, plain bool) []int32 {
	w := t.working()
	defer t.scratch.Put(w)
	t.pieces(s, false, plain, func(p aligned, id int32) {
		if id >= 0 {
			dst = append(dst, id)
			return
		}
		w.out = w.out[:0]
		t.model.tokenize(p.s, w)
		for _, k := range w.out {
			dst = append(dst, k.id)
		}
	})
	return dst
}

func (t *Tokenizer) working() *scratch {
	if w, ok := t.scratch.Get().(*scratch); ok {
		return w
	}
	return &scratch{}
}

// pieces cuts a text into what the model sees, in order: id is that of an
// added token, or -1.
func (t *Tokenizer) pieces(s string, track, plain bool, yield func(p aligned, id int32)) {
	first := t.added
	second := t.addedNorm
	if plain {
		first, second = first.ordinary(), second.ordinary()
	}
	first.split(source(s), func(p aligned, id int32) {
		if id >= 0 {
			yield(p, id)
			return
		}
		p = t.normal.apply(p, track)
		second.split(p, func(p aligned, id int32) {
			switch {
			case id >= 0:
				yield(p, id)
			case len(p.s) > 0:
				t.pre.split(p, track, func(p aligned) { yield(p, -1) })
			}
		})
	})
}

// part tokenizes one text with offsets.
func (t *Tokenizer) part(s string) (ids []int32, spans []Span) {
	w := t.working()
	defer t.scratch.Put(w)
	t.pieces(s, true, false, func(p aligned, id int32) {
		if id >= 0 {
			from, to := p.source(0, len(p.s))
			ids, spans = append(ids, id), append(spans, t.post.trim(t.tokens[id], s, Span{from, to}))
			return
		}
		w.out = w.out[:0]
		t.model.tokenize(p.s, w)
		for _, k := range w.out {
			from, to := p.source(int(k.start), int(k.end))
			ids, spans = append(ids, k.id), append(spans, t.post.trim(t.tokens[k.id], s, wholeRunes(s, from, to)))
		}
	})
	return ids, spans
}

// wholeRunes widens a range of bytes to whole characters.
func wholeRunes(s string, from, to int) Span {
	for i := 0; from > 0 && i < 3 && from < len(s) && s[from]&0xC0 == 0x80; i++ {
		from--
	}
	for i := 0; to > from && i < 3 && to < len(s) && s[to]&0xC0 == 0x80; i++ {
		to++
	}
	return Span{from, to}
}

// Tokenize returns a text with the marks around it, and its offsets.
func (t *Tokenizer) Tokenize(s string) Encoding {
	ids, spans := t.part(s)
	return t.post.assemble(t.post.single, [2][]int32{ids}, [2][]Span{spans})
}

// Pair returns two texts with marks around them. If maxLength > 0, tokens are
// taken off the end of the longer text (the second of equal ones) until the
// whole has no more; it fails if the marks alone have more.
func (t *Tokenizer) Pair(a, b string, maxLength int) (Encoding, error) {
	if len(t.post.pair) == 0 {
		return Encoding{}, fmt.Errorf("text: this tokenizer has no template for pairs")
	}
	var ids [2][]int32
	var spans [2][]Span
	ids[0], spans[0] = t.part(a)
	ids[1], spans[1] = t.part(b)
	if maxLength > 0 {
		room := maxLength - t.post.marks(t.post.pair)
		if room < 0 {
			return Encoding{}, fmt.Errorf("text: at most %d tokens, the marks alone are %d", maxLength, maxLength-room)
		}
		n := longestFirst([2]int{len(ids[0]), len(ids[1])}, room)
		for k := range ids {
			ids[k], spans[k] = ids[k][:n[k]], spans[k][:n[k]]
		}
	}
	return t.post.assemble(t.post.pair, ids, spans), nil
}

// longestFirst returns the lengths that two texts are cut to so that both have
// room together: the longer gives first, and the odd token stays with it, or
// with the second of equal ones.
func longestFirst(n [2]int, room int) [2]int {
	short, long := 0, 1
	if n[0] > n[1] {
		short, long = 1, 0
	}
	if n[0]+n[1] > room {
		n[long] = max(n[short], room-n[short])
	}
	if n[0]+n[1] > room {
		n[short], n[long] = room/2, room-room/2
	}
	return n
}

// Windows returns a question with each part of a context that fits into
// maxLength tokens beside it; successive parts share stride tokens. There is
// at least one window. It fails if no room is left for more context than the
// stride. This is how SQuAD is fed (Devlin et al. 2018, appendix A.2 of BERT's
// code: doc_stride).
func (t *Tokenizer) Windows(question, context string, maxLength, stride int) ([]Encoding, error) {
	if len(t.post.pair) == 0 {
		return nil, fmt.Errorf("text: this tokenizer has no template for pairs")
	}
	q, qs := t.part(question)
	c, cs := t.part(context)
	room := maxLength - t.post.marks(t.post.pair) - len(q)
	if stride < 0 || room <= stride {
		return nil, fmt.Errorf("text: windows of %d tokens leave %d for the context beside a question of %d, want more than the stride %d", maxLength, room, len(q), stride)
	}
	var all []Encoding
	for at := 0; ; at += room - stride {
		end := min(at+room, len(c))
		all = append(all, t.post.assemble(t.post.pair, [2][]int32{q, c[at:end]}, [2][]Span{qs, cs[at:end]}))
		if end == len(c) {
			return all, nil
		}
	}
}

// setTokens fills the tables of names; a later token of the same name wins.
func (t *Tokenizer) setTokens(tokens []string) {
	t.tokens = tokens
	t.ids = make(map[string]int32, len(tokens))
	for i, s := range tokens {
		if s != "" {
			t.ids[s] = int32(i)
		}
	}
	t.special = map[int32]bool{}
	t.roles = map[string]int32{}
}

// maxTokens bounds a vocabulary; the largest known have a quarter of a million.
const maxTokens = 1 << 22

// maxTokenBytes bounds one token: the longest known are runs of 128 spaces and
// file paths of some hundred bytes.
const maxTokenBytes = 4096

// checkTokens refuses tables that no tokenizer has.
func checkTokens(tokens []string) error {
	if len(tokens) == 0 || len(tokens) > maxTokens {
		return fmt.Errorf("%d tokens, want 1..%d", len(tokens), maxTokens)
	}
	if i := slices.IndexFunc(tokens, func(s string) bool { return len(s) > maxTokenBytes }); i >= 0 {
		return fmt.Errorf("token %d has %d bytes, want at most %d", i, len(tokens[i]), maxTokenBytes)
	}
	return nil
}

// quote shortens foreign text for an error.
func quote(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return fmt.Sprintf("%q", strings.ToValidUTF8(s, "\uFFFD"))
}
