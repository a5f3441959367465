// Package generate lets a language model write: a prompt goes in, tokens come
// out one by one, and keys and values of what was read stay in a cache.
//
//	g, err := generate.New(e, generate.Model{Build: l.Graph, Store: l.Store, Tokenizer: l.Tokenizer, ...}, 2048)
//	s := g.NewSession()
//	r, err := s.Generate(ctx, generate.Request{Prompt: ids, Tokens: 100, OnText: print})
//
// The graph decides what is computed: with quantizers in it, keys and values
// are rounded in the cache exactly as they were in training. Text depends on the
// model, the prompt, the sampling and its seed alone: the same bits for any
// number of threads, and whether the prompt comes at once or in parts.
package generate

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/tensor"
	"lowbit/text"
)

// ErrContext is wrapped by the error for a prompt that leaves no room.
var ErrContext = errors.New("the context is full")

// Model is a language model that writes.
type Model struct {
	// Build makes the graph of a run with a cache: inputs "input", "position",
	// "last", cache.N.k and cache.N.v; output "logits", f32 [1, vocab].
	Build     func(model.LlamaRun) (*graph.Graph, error)
	Store     *tensor.Store
	Tokenizer *text.Tokenizer
	// Context is the most tokens that the model reads.
	Context int
}

// promptParts are the numbers of tokens that are read at once: a prompt goes in
// the largest parts that it fills, then token by token of the smallest.
var promptParts = []int{256, 32}

// Generator holds a model's plans. It is safe for concurrent use: sessions take
// turns, a token at a time.
type Generator struct {
	m        Model
	e        *engine.Engine
	capacity int
	ends     map[int32]bool

	mu     sync.Mutex
	plans  map[int]*plan // by tokens read at once
	store  *tensor.Store // the model's, its weights rounded once
	caches []cacheShape
}

// plan is a compiled graph and whose caches it reads.
type plan struct {
	*engine.Plan
	user *Session
}

type cacheShape struct {
	name  string
	shape tensor.Shape
}

// New compiles the graph that reads one token. Sessions hold up to capacity
// tokens, prompt and answer; 0, or more than the model reads: the model's
// context. The engine must not run anything else at the same time.
func New(e *engine.Engine, m Model, capacity int) (*Generator, error) {
	if capacity <= 0 || capacity > m.Context {
		capacity = m.Context
	}
	if m.Tokenizer == nil {
		return nil, fmt.Errorf("generate: no tokenizer")
	}
	g := &Generator{m: m, e: e, capacity: capacity, plans: map[int]*plan{}, store: tensor.NewStore(), ends: endMarks(m.Tokenizer)}
	p, code, err := g.compile(1)
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	g.plans[1] = p
	for _, in := range code.Inputs() {
		if strings.HasPrefix(in.Name(), "cache.") {
			g.caches = append(g.caches, cacheShape{in.Name(), in.Shape()})
		}
	}
	return g, nil
}

// endMarks are the tokens that end a turn or a text.
func endMarks(t *text.Tokenizer) map[int32]bool {
	ends := map[int32]bool{}
	if id, ok := t.Special("eos"); ok {
		ends[id] = true
	}
	for _, name := range []string{"<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end_of_text|>", "</s>", "<|end|>"} {
		if id, ok := t.ID(name); ok && t.IsSpecial(id) {
			ends[id] = true
		}
	}
	return ends
}

// Capacity is the most tokens of a session.
func (g *Generator) Capacity() int { return g.capacity }

// Tokenizer is the model's.
func (g *Generator) Tokenizer() *text.Tokenizer { return g.m.Tokenizer }

// CacheBytes is the size of one session's cache.
func (g *Generator) CacheBytes() int {
	n := 0
	for _, c := range g.caches {
		n += 4 * c.shape.Size()
	}
	return n
}

func (g *Generator) compile(tokens int) (*plan, *graph.Graph, error) {
	code, err := g.m.Build(model.LlamaRun{Batch: 1, Seq: tokens, Capacity: g.capacity, Pick: true})
	if err != nil {
		return nil, nil, err
	}
	rounded, err := g.e.RoundWeights(code, g.m.Store, g.store)
	if err != nil {
		return nil, nil, err
	}
	g.m.Store = g.store // what was rounded need not stay in memory
	p, err := g.e.Compile(rounded, g.store)
	return &plan{Plan: p}, code, err
}

// Session is one conversation: what was read, with its keys and values. It is
// not safe for concurrent use; sessions of one generator are.
type Session struct {
	g      *Generator
	caches []*tensor.Tensor
	tokens []int32 // in the cache
	logits []float32
}

// NewSession starts a conversation.
func (g *Generator) NewSession() *Session {
	s := &Session{g: g}
	for _, c := range g.caches {
		s.caches = append(s.caches, tensor.New(tensor.F32, c.shape...))
	}
	return s
}

// Tokens returns what the session has read. The caller must not change it.
func (s *Session) Tokens() []int32 { return s.tokens }

// Truncate forgets what follows the first n tokens.
func (s *Session) Truncate(n int) { s.tokens = s.tokens[:max(0, min(n, len(s.tokens)))] }

// Read lets the model read tokens and returns the logits of what follows the
// last of them, [vocab]: valid until the session reads again.
func (s *Session) Read(ids []int32) ([]float32, error) {
	if len(ids) == 0 {
		return nil, fmt.Errorf("generate: nothing to read")
	}
	if n := len(s.tokens) + len(ids); n > s.g.capacity {
		return nil, fmt.Errorf("generate: %w: %d tokens, room for %d", ErrContext, n, s.g.capacity)
	}
	for len(ids) > 0 {
		n := s.g.part(len(s.tokens), len(ids))
		if err := s.read(n, ids[:min(n, len(ids))]); err != nil {
			return nil, fmt.Errorf("generate: %w", err)
		}
		ids = ids[min(n, len(ids)):]
	}
	return s.logits, nil
}

// part returns how many tokens the next run reads: the largest part that is
// filled, a part that is filled by half and padded, or one.
func (g *Generator) part(at, left int) int {
	for _, n := range promptParts {
		if left > n/2 && at+n <= g.capacity {
			return n
		}
	}
	return 1
}

// read runs the plan of n tokens; what ids do not fill is padding that later
// tokens overwrite in the cache.
func (s *Session) read(n int, ids []int32) error {
	g := s.g
	g.mu.Lock()
	defer g.mu.Unlock()
	p := g.plans[n]
	if p == nil {
		var err error
		if p, _, err = g.compile(n); err != nil {
			return err
		}
		g.plans[n] = p
	}
	if p.user != s {
		for i, c := range g.caches {
			if err := p.SetInput(c.name, s.caches[i]); err != nil {
				return err
			}
		}
		p.user = s
	}
	input := p.Input(nn.InputName).Int32s()
	clear(input[copy(input, ids):])
	p.Input(nn.PositionName).Int32s()[0] = int32(len(s.tokens))
	p.Input(model.LastName).Int32s()[0] = int32(len(ids) - 1)
	if err := p.Run(); err != nil {
		return err
	}
	s.tokens = append(s.tokens, ids...)
	// Another session may take the plan's next turn.
	s.logits = append(s.logits[:0], p.Output(nn.LogitsName).Float32s()...)
	return nil
}
