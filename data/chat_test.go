package data

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"lowbit/text"
)

func TestChatsAreRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "chats.jsonl")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const good = `{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi\n"},{"role":"assistant","content":"Hello"}],"source":"x"}`
	write("\n" + good + "\n\n" + `{"messages":[{"role":"assistant","content":"é"}]}`)
	chats, err := ReadChats(path)
	want := []Chat{
		{2, []text.Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: "Hi\n"}, {Role: "assistant", Content: "Hello"}}},
		{4, []text.Message{{Role: "assistant", Content: "é"}}},
	}
	if err != nil || !reflect.DeepEqual(chats, want) {
		t.Errorf("%+v, %v", chats, err)
	}
	for name, c := range map[string]struct{ file, want string }{
		"empty":       {"", "has no chat"},
		"blank":       {"\n \n", "has no chat"},
		"not JSON":    {good + "\nHello", "line 2: invalid character"},
		"no messages": {`{"text":"a"}`, `line 1: no "messages"`},
		"role":        {good + "\n" + `{"messages":[{"role":"user","content":"a"},{"role":"bot","content":"b"}]}`, `line 2: message 2: role "bot", want one of system, user, assistant, tool`},
		"content":     {`{"messages":[{"role":"user"}]}`, `message 1: want "role" and "content"`},
		"list":        {`{"messages":[{"role":"user","content":[1]}]}`, "line 1"},
		"no answer":   {`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":" "}]}`, "none an answer"},
		"long":        {strings.Repeat("x", maxChatBytes+1), "line 1: bufio.Scanner: token too long"},
	} {
		write(c.file)
		if _, err := ReadChats(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	if _, err := ReadChats(filepath.Join(t.TempDir(), "nonesuch.jsonl")); err == nil || !strings.Contains(err.Error(), "nonesuch.jsonl") {
		t.Errorf("error %v", err)
	}
}

// Documents stand whole and in order; what fills a window up counts for nothing.
func TestScoredDocumentsStandWhole(t *testing.T) {
	doc := func(first int32, answers string) Scored {
		d := Scored{}
		for i, c := range answers {
			d.Tokens, d.Scored = append(d.Tokens, first+int32(i)), append(d.Scored, c == 'a')
		}
		return d
	}
	docs := []Scored{doc(10, "..aa"), doc(20, "..a"), doc(30, "...a"), doc(40, "....aaaaa"), doc(50, "......a"), doc(60, "a..")}
	p, cut, none, err := PackScored(docs, 6)
	if err != nil {
		t.Fatal(err)
	}
	// 50 has its answer beyond the window, 60 one that nothing asks for.
	if p.Len() != 4 || cut != 1 || none != 2 || !p.Scored() {
		t.Fatalf("%d windows, %d documents cut, %d left out", p.Len(), cut, none)
	}
	tokens, targets, segments := make([]int32, 6), make([]int32, 6), make([]int32, 6)
	const x = Ignored
	for i, want := range [][3][]int32{
		{{10, 11, 12, 13, 20, 21}, {x, 12, 13, x, x, x}, {0, 0, 0, 0, 1, 1}},
		{{20, 21, 22, 30, 31, 32}, {x, 22, x, x, x, x}, {0, 0, 0, 1, 1, 1}},
		{{30, 31, 32, 33, 40, 41}, {x, x, 33, x, x, x}, {0, 0, 0, 0, 1, 1}},
		{{40, 41, 42, 43, 44, 45}, {x, x, x, 44, 45, x}, {0, 0, 0, 0, 0, 0}},
	} {
		p.Window(i, tokens, targets, segments)
		if got := [3][]int32{tokens, targets, segments}; !reflect.DeepEqual(got, want) {
			t.Errorf("window %d: %v, want %v", i, got, want)
		}
	}
	p, _, _, err = PackScored(docs[:2], 9) // one window, filled up with the first
	if err != nil || p.Len() != 1 {
		t.Fatalf("%d windows, %v", p.Len(), err)
	}
	tokens, targets = make([]int32, 9), make([]int32, 9)
	p.Window(0, tokens, targets, nil)
	if want := []int32{10, 11, 12, 13, 20, 21, 22, 10, 11}; !reflect.DeepEqual(tokens, want) {
		t.Errorf("%v, want %v", tokens, want)
	}
	if want := []int32{x, 12, 13, x, x, 22, x, x, x}; !reflect.DeepEqual(targets, want) {
		t.Errorf("targets %v, want %v", targets, want)
	}
	for _, n := range []int{0, 2} {
		if _, _, _, err := PackScored(docs[4:5], n); err == nil {
			t.Errorf("no error for windows of %d tokens", n)
		}
	}
}

func FuzzParseChat(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`))
	f.Add([]byte(`{"messages":[{"role":"tool","content":null}]}`))
	f.Add([]byte(`{"messages":{}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		messages, err := parseChat(line)
		if err != nil {
			return
		}
		answers := 0
		for _, m := range messages {
			if m.Role == "assistant" {
				answers++
			}
		}
		if answers == 0 {
			t.Errorf("%q: %+v has no answer", line, messages)
		}
	})
}

// Windows of any scored documents have targets that are the next tokens of a
// document, scored once each as far as the windows reach.
func FuzzPackScored(f *testing.F) {
	f.Add([]byte{3, 0, 7, 2, 200, 1}, 4)
	f.Add([]byte{1, 1, 1}, 1)
	f.Fuzz(func(t *testing.T, lengths []byte, window int) {
		if window > 64 || len(lengths) > 64 {
			return
		}
		var docs []Scored
		scored := map[int32]bool{} // tokens that may be targets
		for i, n := range lengths {
			var d Scored
			for k := range int(n) {
				id := int32(i*256 + k)
				d.Tokens, d.Scored = append(d.Tokens, id), append(d.Scored, k%3 == i%3)
				if k > 0 && k%3 == i%3 && k < window {
					scored[id] = true
				}
			}
			docs = append(docs, d)
		}
		p, _, _, err := PackScored(docs, window)
		if err != nil {
			if len(scored) > 0 && window > 0 {
				t.Errorf("%v, with %d targets", err, len(scored))
			}
			return
		}
		tokens, targets := make([]int32, window), make([]int32, window)
		for i := range p.Len() {
			p.Window(i, tokens, targets, nil)
			for k, y := range targets {
				if y == Ignored {
					continue
				}
				if y != tokens[k]+1 || !scored[y] {
					t.Fatalf("window %d: target %d behind %d, scored %v", i, y, tokens[k], scored[y])
				}
				delete(scored, y)
			}
		}
		if len(scored) > 0 {
			t.Errorf("%d targets are in no window", len(scored))
		}
	})
}
