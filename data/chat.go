package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"lowbit/text"
)

// Chat is one chat of a training set.
type Chat struct {
	Line     int // of the file, from 1
	Messages []text.Message
}

// maxChatBytes bounds a line of a set of chats.
const maxChatBytes = 16 << 20

// chatRoles are those of a message.
var chatRoles = []string{"system", "user", "assistant", "tool"}

// ReadChats reads a set of chats: JSON lines
//
//	{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
//
// with other keys left alone, and empty lines. It fails on the first line that is
// no chat with an answer, and if there is none.
func ReadChats(path string) ([]Chat, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("data: chats: %w", err)
	}
	defer f.Close()
	var all []Chat
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxChatBytes)
	n := 0
	for lines.Scan() {
		if n++; len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		messages, err := parseChat(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("data: chats: %s: line %d: %w", path, n, err)
		}
		all = append(all, Chat{n, messages})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("data: chats: %s: line %d: %w", path, n+1, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf(`data: chats: %s has no chat, want JSON lines {"messages": [{"role": ..., "content": ...}, ...]}`, path)
	}
	return all, nil
}

func parseChat(line []byte) ([]text.Message, error) {
	var chat struct {
		Messages []struct {
			Role    *string `json:"role"`
			Content *string `json:"content"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(line, &chat); err != nil {
		return nil, err
	}
	if len(chat.Messages) == 0 {
		return nil, fmt.Errorf(`no "messages", want a list of {"role": ..., "content": ...}`)
	}
	var messages []text.Message
	answers := 0
	for i, m := range chat.Messages {
		switch {
		case m.Role == nil || m.Content == nil:
			return nil, fmt.Errorf(`message %d: want "role" and "content"`, i+1)
		case !slices.Contains(chatRoles, *m.Role):
			return nil, fmt.Errorf("message %d: role %q, want one of %s", i+1, *m.Role, strings.Join(chatRoles, ", "))
		case *m.Role == "assistant" && strings.TrimSpace(*m.Content) != "":
			answers++
		}
		messages = append(messages, text.Message{Role: *m.Role, Content: *m.Content})
	}
	if answers == 0 {
		return nil, fmt.Errorf("%d messages, none an answer: want a message of the role assistant that says something", len(messages))
	}
	return messages, nil
}

// Scored is a document whose scored tokens alone are targets, as the answers in a
// chat are.
type Scored struct {
	Tokens []int32
	Scored []bool
}

// PackScored makes windows in which each document stands whole, from its start:
// one that does not fit any more begins the next window, one that is longer than
// a window is cut. What is left of a window is filled with the beginning of a
// document, which is no target there. Documents without a target in the part that
// is kept are left out. It returns the number of those and of documents cut, and
// fails if nothing is left.
func PackScored(docs []Scored, length int) (p *Packed, cut, none int, err error) {
	if length < 1 {
		return nil, 0, 0, fmt.Errorf("data: windows of %d tokens, want at least 1", length)
	}
	p = &Packed{Length: length, scored: []bool{}}
	add := func(d Scored, n int, scored bool) {
		p.starts = append(p.starts, int32(len(p.tokens)))
		p.tokens = append(p.tokens, d.Tokens[:n]...)
		for _, s := range d.Scored[:n] {
			p.scored = append(p.scored, s && scored)
		}
	}
	var kept []Scored
	for _, d := range docs {
		n := min(len(d.Tokens), length)
		if n < 2 || !slices.Contains(d.Scored[1:n], true) {
			none++
			continue
		}
		if n < len(d.Tokens) {
			cut++
		}
		kept = append(kept, d)
		if rest := length - len(p.tokens)%length; rest < n {
			add(d, rest, false)
		}
		if len(p.tokens)+2*length >= math.MaxInt32 {
			return nil, 0, 0, fmt.Errorf("data: more than %d tokens", math.MaxInt32)
		}
		add(d, n, true)
	}
	if len(kept) == 0 {
		return nil, 0, 0, fmt.Errorf("data: none of %d documents has a target within %d tokens", len(docs), length)
	}
	for i := 0; len(p.tokens)%length != 0; i++ {
		d := kept[i%len(kept)]
		add(d, min(len(d.Tokens), length-len(p.tokens)%length), false)
	}
	add(kept[0], 1, false) // the token after the last window, no target
	return p, cut, none, nil
}
