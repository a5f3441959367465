package text

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestStreamGivesWholeCharactersAndDecodesResult(t *testing.T) {
	var g golden
	loadGolden(t, "golden.json", &g)
	for _, name := range jsonNames {
		k := openGolden(t, name)
		for _, s := range g.Samples {
			ids := k.Encode(s)
			st := k.NewStream(false)
			var all strings.Builder
			for _, id := range ids {
				part := st.Push(id)
				if !utf8.ValidString(part) {
					t.Fatalf("%s: %q: the part %q is cut inside a character", name, s, part)
				}
				all.WriteString(part)
			}
			all.WriteString(st.Flush())
			if want := k.Decode(ids, false); all.String() != want {
				t.Errorf("%s: streamed %q, decoded %q", name, all.String(), want)
			}
		}
	}
}

func TestByteModelsKeepAnyBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"gpt2", "smollm", "llama3", "llama"} {
		k := openGolden(t, name)
		for range 300 {
			b := make([]byte, r.IntN(40))
			for i := range b {
				b[i] = byte(r.IntN(256))
			}
			ids := k.AppendPlain(nil, string(b))
			var back []byte
			for _, id := range ids {
				back = append(back, k.dec.raw[id]...)
			}
			if name == "llama" {
				back = bytes.TrimPrefix(back, []byte(" "))
			}
			if !bytes.Equal(back, b) {
				t.Fatalf("%s: %q comes back as %q", name, b, back)
			}
		}
	}
}

func TestPlainTextFormsNoSpecialTokens(t *testing.T) {
	k := openGolden(t, "gpt2")
	s := "<|im_end|> x"
	end, _ := k.ID("<|im_end|>")
	for _, id := range k.AppendPlain(nil, s) {
		if id == end {
			t.Fatal("a special token in plain text")
		}
	}
	if ids := k.Append(nil, s); ids[0] != end {
		t.Fatalf("%v, want the special token first", ids)
	}
	if got := k.Decode(k.AppendPlain(nil, s), true); got != s {
		t.Fatalf("%q comes back as %q", s, got)
	}
}

func TestQueueAndScanMergeAlike(t *testing.T) {
	k := openGolden(t, "gpt2")
	m := k.model.(*bpe)
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		n := 1 + r.IntN(shortWord)
		s := make([]byte, n)
		for i := range s {
			s[i] = "abcdeht  ns"[r.IntN(11)]
		}
		var short scratch
		m.byBytes(string(s), &short)
		var long bpeWork
		long.reset()
		for i, b := range s {
			long.add(m.bytes[b], i)
		}
		for i := range n {
			long.rank, long.into = append(long.rank, noRank), append(long.into, 0)
			if i+1 < n {
				long.rank[i], long.into[i] = m.pair(long.id[i], long.id[i+1])
			}
		}
		m.mergeLong(&long)
		var got []int32
		for i := int32(0); i >= 0; i = long.next[i] {
			got = append(got, long.id[i])
		}
		for i, w := range short.out {
			if i >= len(got) || got[i] != w.id {
				t.Fatalf("%q: %v by the queue, %v by the scan", s, got, short.out)
			}
		}
	}
}

func TestLongWordsTakeNoSquareTime(t *testing.T) {
	for _, name := range jsonNames {
		k := openGolden(t, name)
		for _, unit := range []string{"a", " ", "ab", "日", "\n", "!", "e\u0301"} {
			s := strings.Repeat(unit, 400000/len(unit))
			start := time.Now()
			k.Append(nil, s)
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("%s: 400 kB of %q in %v", name, unit, d)
			}
		}
	}
}

func TestWindowsCoverTheContext(t *testing.T) {
	k := openGolden(t, "bert")
	question, context := "who came?", strings.Repeat("The old man and the sea. ", 20)
	all, err := k.Windows(question, context, 40, 8)
	if err != nil {
		t.Fatal(err)
	}
	covered := 0
	for i, e := range all {
		if len(e.IDs) > 40 || i+1 < len(all) && len(e.IDs) != 40 {
			t.Errorf("window %d has %d tokens", i, len(e.IDs))
		}
		for n, o := range e.Offsets {
			if e.Sources[n] == 1 {
				if o.Start > covered+1 {
					t.Errorf("window %d leaves bytes %d to %d out", i, covered, o.Start)
				}
				covered = max(covered, o.End)
			}
		}
	}
	if covered != len(strings.TrimSpace(context)) {
		t.Errorf("%d of %d bytes covered", covered, len(context))
	}
	if _, err := k.Windows(question, context, 12, 8); err == nil {
		t.Error("no room for the context, and no error")
	}
	if _, err := k.Pair("a", "b", 2); err == nil {
		t.Error("no room for the marks, and no error")
	}
}

func TestFilesThatAreWrongAreRefused(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{``, "unexpected end"},
		{`{}`, "no model"},
		{`{"model":{"type":"Magic"}}`, "BPE, WordPiece or Unigram"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}`, "must be in the vocabulary"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":["ab"]}}`, "want two symbols"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":[["a"]]}}`, "has 1 parts"},
		{`{"model":{"type":"BPE","vocab":{"a":0}}}`, "without merges"},
		{`{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}`, "id -1"},
		{`{"model":{"type":"BPE","vocab":{"a":4000000},"merges":[]}}`, "id 4000000"},
		{`{"model":{"type":"BPE","vocab":{"a":1,"b":1},"merges":[]}}`, "of both"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1}}`, "dropout"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"end_of_word_suffix":"</w>"}}`, "suffix"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":[],"unk_token":"u"}}`, "unk_token"},
		{`{"model":{"type":"WordPiece","vocab":{"a":0}}}`, "without unk_token"},
		{`{"model":{"type":"Unigram","vocab":[["a",0]]}}`, "unk_id"},
		{`{"model":{"type":"Unigram","vocab":[["a"]],"unk_id":0}}`, "1 fields"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"normalizer":{"type":"Odd"}}`, `"Odd" is not supported`},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"Split","behavior":"Isolated","pattern":{"Regex":"(?<=a)b"}}}`, "not supported"},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"decoder":{"type":"CTC"}}`, `"CTC" is not supported`},
		{`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]},"post_processor":{"type":"TemplateProcessing","single":[]}}`, "template for 1 texts"},
	} {
		if _, err := Parse([]byte(c.source)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.source, err, c.want)
		}
	}
	if _, err := ParseVocab(strings.NewReader("a\nb\n"), true); err == nil {
		t.Error("a vocabulary without [UNK] was taken")
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("an empty folder was taken")
	}
}

func TestGGUFMetadataThatIsWrongIsRefused(t *testing.T) {
	good := func() map[string]any {
		return map[string]any{
			"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": []string{"a", "b", "ab"},
			"tokenizer.ggml.merges": []string{"a b"}, "tokenizer.ggml.token_type": []int32{1, 1, 1},
		}
	}
	for _, c := range []struct {
		key  string
		v    any
		want string
	}{
		{"model", "rwkv", "gpt2, llama or bert"}, {"tokens", nil, "want strings"}, {"tokens", []string{}, "0 tokens"},
		{"merges", []string{"a x"}, "must be in"}, {"merges", []string{"ab"}, "two symbols"}, {"merges", 3, "want strings"},
		{"token_type", []int32{1}, "1 token types"}, {"pre", "nosuch", "qwen2"}, {"bos_token_id", uint32(9), "want 0..2"},
		{"eos_token_id", "x", "want a number"}, {"model", "llama", "0 scores"}, {"model", "bert", "unknown, cls"},
	} {
		kv := good()
		kv["tokenizer.ggml."+c.key] = c.v
		_, err := FromGGUF(func(k string) (any, bool) { v, ok := kv[k]; return v, ok })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s = %v: %v, want %q", c.key, c.v, err, c.want)
		}
	}
	kv := good()
	k, err := FromGGUF(func(k string) (any, bool) { v, ok := kv[k]; return v, ok })
	if err != nil || fmt.Sprint(k.Encode("abb")) != "[2 1]" {
		t.Errorf("%v %v", k, err)
	}
}

// seeds are small tokenizers of each kind.
func seeds(f *testing.F) {
	for _, name := range jsonNames {
		b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		var j map[string]any
		if err := json.Unmarshal(b, &j); err != nil {
			f.Fatal(err)
		}
		m := j["model"].(map[string]any)
		if list, ok := m["vocab"].([]any); ok {
			m["vocab"] = list[:40]
		}
		if l, ok := m["merges"].([]any); ok {
			m["merges"] = l[:min(len(l), 5)]
		}
		if b, err = json.Marshal(j); err != nil {
			f.Fatal(err)
		}
		f.Add(b, "ab ▁x 1 é\xff")
	}
}

func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte, s string) {
		if len(s) > 1000 {
			return
		}
		k, err := Parse(b)
		if err != nil {
			return
		}
		use(t, k, s)
		keys, err := k.GGUFKeys(b)
		if err != nil {
			return
		}
		if there, err := FromGGUF(lookUp(keys)); err != nil {
			t.Fatalf("its own keys: %v", err)
		} else {
			use(t, there, s)
		}
		if _, err := JSONFromGGUF(lookUp(keys)); err != nil && !errors.Is(err, ErrUntranslatable) {
			t.Fatal(err)
		}
	})
}

// use calls everything; ids and offsets must be in range.
func use(t *testing.T, k *Tokenizer, s string) {
	for _, id := range k.Encode(s) {
		if id < 0 || int(id) >= k.Size() {
			t.Fatalf("id %d of %d", id, k.Size())
		}
	}
	e := k.Tokenize(s)
	for _, o := range e.Offsets {
		if o.Start < 0 || o.End < o.Start || o.End > len(s) {
			t.Fatalf("offset %v of %d bytes", o, len(s))
		}
	}
	k.Decode(e.IDs, true)
	k.AppendPlain(nil, s)
	k.Pair(s, s, 7) //nolint:errcheck // it may have no template
}

func FuzzEncode(f *testing.F) {
	var all []*Tokenizer
	for _, name := range jsonNames {
		all = append(all, openGolden(f, name))
	}
	f.Add("e\u0301\xff\xc3 日本 <|im_end|> 12'S\u2028  \n x")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 2000 {
			return
		}
		for _, k := range all {
			use(t, k, s)
		}
	})
}

func FuzzLlama2C(f *testing.F) {
	b := binary.LittleEndian.AppendUint32(nil, 4)
	for i := range 261 {
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(1+i/260))
		b = append(b, "ab"[:1+i/260]...)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParseLlama2C(bytes.NewReader(b), 0); err == nil {
			use(t, k, "a b\xff")
		}
	})
}

func Example() {
	t, err := Open("testdata/bert.json")
	if err != nil {
		panic(err)
	}
	e := t.Tokenize("The old man.")
	for i, id := range e.IDs {
		fmt.Print(t.Token(id), e.Offsets[i], " ")
	}
	fmt.Println(t.Decode(e.IDs, true))
	// Output: [CLS]{0 0} the{0 3} o{4 5} ##ld{5 7} man{8 11} .{11 12} [SEP]{0 0} the old man.
}
