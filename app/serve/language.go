package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"lowbit/generate"
	"lowbit/text"
)

// errQueue: as many callers wait as may.
var errQueue = errors.New("serve: the queue is full")

// language answers with a language model. One answer is written at a time: two at
// once would each take twice as long, and share one engine.
type language struct {
	*Server
	name    string
	g       *generate.Generator
	turn    chan struct{} // holds a token while an answer is written
	waiting chan struct{} // holds one for each caller
}

func newLanguage(s *Server, name string, g *generate.Generator) *language {
	return &language{Server: s, name: name, g: g, turn: make(chan struct{}, 1), waiting: make(chan struct{}, s.c.Queue+1)}
}

// request has the fields of both routes.
type request struct {
	Model       string          `json:"model"`
	Prompt      string          `json:"prompt"`
	Messages    []message       `json:"messages"`
	MaxTokens   int             `json:"max_tokens"`
	MaxComplete int             `json:"max_completion_tokens"`
	Temperature *float64        `json:"temperature"`
	TopP        *float64        `json:"top_p"`
	TopK        int             `json:"top_k"`
	Seed        uint64          `json:"seed"`
	Stop        json.RawMessage `json:"stop"`
	Stream      bool            `json:"stream"`
	N           int             `json:"n"`
}

type message struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// content is a message's text: a string, or a list of parts of type "text".
type content string

// UnmarshalJSON implements json.Unmarshaler.
func (c *content) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		var parts []struct {
			Type string `json:"type"`
			Text string `json:"text"`
		}
		if err := json.Unmarshal(b, &parts); err != nil {
			return err
		}
		var all strings.Builder
		for _, p := range parts {
			if p.Type != "text" {
				return fmt.Errorf("a part of type %q, the model reads text alone", p.Type)
			}
			all.WriteString(p.Text)
		}
		*c = content(all.String())
		return nil
	}
	var s string
	err := json.Unmarshal(b, &s)
	*c = content(s)
	return err
}

// usage counts tokens.
type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

func (l *language) describe(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]any{"model": l.name, "context": l.g.Capacity(), "vocabulary": l.g.Tokenizer().Size(),
		"chat": l.g.Tokenizer().Template != "", "max_tokens": l.c.MaxTokens})
}

func (l *language) models(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]any{"object": "list", "data": []map[string]any{{"id": l.name, "object": "model", "owned_by": "lowbit", "created": l.started.Unix()}}})
}

// decode reads a request and what it asks of a session; false: it has answered.
func (l *language) decode(w http.ResponseWriter, r *http.Request) (q request, g generate.Request, ok bool) {
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			failRead(w, err)
		} else {
			fail(w, http.StatusBadRequest, "json", err.Error())
		}
		return q, g, false
	}
	g.Tokens = l.c.MaxTokens
	for _, n := range []int{q.MaxTokens, q.MaxComplete} {
		if n > 0 {
			g.Tokens = min(g.Tokens, n)
		}
	}
	g.Sampling = generate.Sampling{Temperature: 1, TopK: q.TopK, TopP: 1, Seed: q.Seed}
	if q.Temperature != nil {
		g.Temperature = *q.Temperature
	}
	if q.TopP != nil {
		g.TopP = *q.TopP
	}
	err := g.Sampling.Validate()
	if q.N > 1 {
		err = fmt.Errorf("n is %d: one answer is written for a request", q.N)
	}
	if q.MaxTokens < 0 || q.MaxComplete < 0 {
		err = fmt.Errorf("max_tokens is below 0")
	}
	if err == nil {
		g.Stop, err = stops(q.Stop)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "invalid", err.Error())
		return q, g, false
	}
	return q, g, true
}

// stops reads a text or a list of up to four.
func stops(b json.RawMessage) ([]string, error) {
	if len(b) == 0 || string(b) == "null" {
		return nil, nil
	}
	var one string
	if json.Unmarshal(b, &one) == nil {
		return []string{one}, nil
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil || len(list) > 4 {
		return nil, fmt.Errorf("stop: want a text or up to four")
	}
	return list, nil
}

func (l *language) completions(w http.ResponseWriter, r *http.Request) {
	q, g, ok := l.decode(w, r)
	if !ok {
		return
	}
	if q.Prompt == "" {
		fail(w, http.StatusBadRequest, "invalid", "prompt: want a text")
		return
	}
	g.Prompt = l.g.Tokenizer().Encode(q.Prompt)
	l.answer(w, r, q, g, completionForm)
}

func (l *language) chat(w http.ResponseWriter, r *http.Request) {
	q, g, ok := l.decode(w, r)
	if !ok {
		return
	}
	template, err := l.g.Tokenizer().Chat()
	if err == nil && len(q.Messages) == 0 {
		err = errors.New("messages: want at least one")
	}
	var messages []text.Message
	for _, m := range q.Messages {
		messages = append(messages, text.Message{Role: m.Role, Content: string(m.Content)})
	}
	if err == nil {
		g.Prompt, err = l.g.Prompt(template, messages)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "invalid", err.Error())
		return
	}
	l.answer(w, r, q, g, chatForm)
}

// take waits for a turn; the caller gives it back.
func (l *language) take(ctx context.Context) (giveBack func(), err error) {
	select {
	case l.waiting <- struct{}{}:
	default:
		return nil, errQueue
	}
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn; <-l.waiting }, nil
	case <-ctx.Done():
		<-l.waiting
		return nil, ctx.Err()
	}
}

// answer writes the model's answer, whole or as a stream of events.
func (l *language) answer(w http.ResponseWriter, r *http.Request, q request, g generate.Request, f form) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	wait, stop := context.WithTimeout(ctx, l.c.Timeout)
	giveBack, err := l.take(wait)
	stop()
	if err != nil {
		failRun(w, err)
		return
	}
	defer giveBack()
	id := fmt.Sprintf("%s-%d", f.prefix, time.Now().UnixNano())
	head := map[string]any{"id": id, "object": f.object, "created": time.Now().Unix(), "model": l.name}
	if q.Stream {
		l.stream(ctx, w, g, f, head)
		return
	}
	whole, stop := context.WithTimeout(ctx, l.c.Timeout)
	defer stop()
	a, err := l.g.NewSession().Generate(whole, g)
	l.metrics.wrote(a.NewTokens, a.Tokens)
	if err != nil {
		failRun(w, err)
		return
	}
	head["choices"] = []any{f.choice(a.Text, finish(a))}
	head["usage"] = usage{a.PromptTokens, a.Tokens, a.PromptTokens + a.Tokens}
	reply(w, head)
}

// finish is OpenAI's word for how an answer ended.
func finish(a generate.Answer) string {
	if a.Finish == generate.FinishStop {
		return "stop"
	}
	return "length"
}

// stream sends pieces as they are written. A client that does not read them in
// time loses its turn.
func (l *language) stream(ctx context.Context, w http.ResponseWriter, g generate.Request, f form, head map[string]any) {
	control := http.NewResponseController(w)
	head["object"] = f.piece
	send := func(choice any) error {
		head["choices"] = []any{choice}
		b, err := json.Marshal(head)
		if err != nil {
			return err
		}
		if err := control.SetWriteDeadline(time.Now().Add(l.c.Timeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", b); err != nil {
			return err
		}
		return control.Flush()
	}
	started := false
	begin := func() {
		if !started {
			started = true
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Cache-Control", "no-store")
		}
	}
	g.OnText = func(piece string) error {
		begin()
		return send(f.delta(piece))
	}
	a, err := l.g.NewSession().Generate(ctx, g)
	l.metrics.wrote(a.NewTokens, a.Tokens)
	if err != nil && !started {
		failRun(w, err)
		return
	}
	begin()
	if err != nil { // too late for a status: the stream ends without its end mark
		return
	}
	if send(f.end(finish(a))) == nil {
		fmt.Fprint(w, "data: [DONE]\n\n")
	}
}

// form is how a route words its answers.
type form struct {
	prefix, object, piece string
	choice                func(text, finish string) any
	delta                 func(text string) any
	end                   func(finish string) any
}

var completionForm = form{
	prefix: "cmpl", object: "text_completion", piece: "text_completion",
	choice: func(text, finish string) any {
		return map[string]any{"index": 0, "text": text, "finish_reason": finish}
	},
	delta: func(text string) any { return map[string]any{"index": 0, "text": text, "finish_reason": nil} },
	end:   func(finish string) any { return map[string]any{"index": 0, "text": "", "finish_reason": finish} },
}

var chatForm = form{
	prefix: "chatcmpl", object: "chat.completion", piece: "chat.completion.chunk",
	choice: func(text, finish string) any {
		return map[string]any{"index": 0, "message": message{"assistant", content(strings.TrimLeft(text, "\n"))}, "finish_reason": finish}
	},
	delta: func(text string) any {
		return map[string]any{"index": 0, "delta": message{"assistant", content(text)}, "finish_reason": nil}
	},
	end: func(finish string) any {
		return map[string]any{"index": 0, "delta": struct{}{}, "finish_reason": finish}
	},
}
