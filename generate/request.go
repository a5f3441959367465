package generate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Request is what a session is asked for.
type Request struct {
	// Prompt is the whole text so far: what the session has read already is not
	// read again, and what it has read beyond is forgotten.
	Prompt []int32
	// Tokens is the most that are written; 0: as many as there is room for.
	Tokens int
	Sampling
	// Stop are texts that end the answer; they are not part of it.
	Stop []string
	// OnText is called with each piece of text as it is certain; an error ends
	// the answer with that error. It may be nil.
	OnText func(piece string) error
}

// Finish says why an answer ended.
type Finish string

// An answer ends with the model's end mark or a stop text, with the number of
// tokens asked for, or where the session is full.
const (
	FinishStop    Finish = "stop"
	FinishLength  Finish = "length"
	FinishContext Finish = "context"
)

// Answer is what was written.
type Answer struct {
	Text         string
	Finish       Finish
	PromptTokens int
	Tokens       int // written, an end mark counted
	// PromptSeconds and Seconds are the times of reading what was new of the
	// prompt and of writing; NewTokens is how many were new.
	NewTokens              int
	PromptSeconds, Seconds float64
}

// Generate answers a request. With an ended context it returns what was written
// so far and the context's error.
func (s *Session) Generate(ctx context.Context, r Request) (Answer, error) {
	a := Answer{PromptTokens: len(r.Prompt)}
	switch {
	case len(r.Prompt) == 0:
		return a, fmt.Errorf("generate: an empty prompt")
	case r.Tokens < 0:
		return a, fmt.Errorf("generate: %d tokens, want 0 or more", r.Tokens)
	case len(r.Prompt) >= s.g.capacity:
		return a, fmt.Errorf("generate: %w: a prompt of %d tokens, room for %d with the answer", ErrContext, len(r.Prompt), s.g.capacity)
	}
	if err := r.Sampling.Validate(); err != nil {
		return a, err
	}
	logits, err := s.prompt(ctx, r.Prompt, &a)
	if err != nil {
		return a, err
	}
	began := time.Now()
	err = s.write(ctx, r, logits, &a)
	a.Seconds = time.Since(began).Seconds()
	return a, err
}

// prompt reads what is new of a prompt, in parts between which it can stop.
func (s *Session) prompt(ctx context.Context, prompt []int32, a *Answer) ([]float32, error) {
	keep := 0
	for keep < min(len(s.tokens), len(prompt)-1) && s.tokens[keep] == prompt[keep] {
		keep++
	}
	s.Truncate(keep)
	a.NewTokens = len(prompt) - keep
	began := time.Now()
	var logits []float32
	for part := range slices.Chunk(prompt[keep:], promptParts[0]) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if logits, err = s.Read(part); err != nil {
			return nil, err
		}
	}
	a.PromptSeconds = time.Since(began).Seconds()
	return logits, nil
}

// write draws tokens until something ends the answer.
func (s *Session) write(ctx context.Context, r Request, logits []float32, a *Answer) error {
	draw := sampler{Sampling: r.Sampling}
	out := output{stop: r.Stop, emit: r.OnText}
	stream := s.g.m.Tokenizer.NewStream(true)
	defer func() { a.Text = out.said.String() }()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		id := draw.next(logits, len(s.tokens))
		a.Tokens++
		if s.g.ends[id] {
			a.Finish = FinishStop
			break
		}
		stopped, err := out.push(stream.Push(id))
		if err != nil {
			return err
		}
		if stopped {
			a.Finish = FinishStop
			return nil
		}
		if a.Tokens == r.Tokens {
			a.Finish = FinishLength
			break
		}
		if len(s.tokens) == s.g.capacity-1 {
			a.Finish = FinishContext
			break
		}
		if logits, err = s.Read([]int32{id}); err != nil {
			return err
		}
	}
	return out.end(stream.Flush())
}

// output passes text on as soon as it cannot begin a stop text.
type output struct {
	stop []string
	emit func(string) error
	held string
	said strings.Builder
}

// push takes a piece; true: a stop text ended the answer.
func (o *output) push(piece string) (stopped bool, err error) {
	o.held += piece
	for _, stop := range o.stop {
		if i := strings.Index(o.held, stop); stop != "" && i >= 0 {
			o.held = o.held[:i]
			return true, o.release(len(o.held))
		}
	}
	keep := 0
	for _, stop := range o.stop {
		for n := min(len(stop)-1, len(o.held)); n > keep; n-- {
			if strings.HasSuffix(o.held, stop[:n]) {
				keep = n
			}
		}
	}
	return false, o.release(len(o.held) - keep)
}

func (o *output) end(piece string) error {
	_, err := o.push(piece)
	if err != nil {
		return err
	}
	return o.release(len(o.held))
}

func (o *output) release(n int) error {
	piece := o.held[:n]
	o.held = o.held[n:]
	o.said.WriteString(piece)
	if piece == "" || o.emit == nil {
		return nil
	}
	return o.emit(piece)
}
