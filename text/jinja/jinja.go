// Package jinja renders the subset of Jinja2 that chat templates use, with the
// settings that they are written for (trim_blocks, lstrip_blocks, break and
// continue, no autoescape).
//
// A template is foreign code: there is no import, no file and no attribute of
// Go values, and a rendering ends with an error at fixed limits of steps,
// output and depth; the Go port gonja has no such limits.
//
// Statements: if, for (with if, else, unpacking), set (also as a block, also
// of a namespace), macro, break, continue, generation. Expressions: Python's
// literals, operators, slices and calls, the filters, tests and methods listed
// in filters.go, tests.go and methods.go. Everything else is an error that
// names it.
package jinja

import (
	"fmt"
	"strings"
)

// The limits of a template and its rendering; real templates stay far below.
const (
	maxSource = 1 << 20  // bytes of a template
	maxOutput = 16 << 20 // bytes of a rendering, and of any string in it
	maxSteps  = 1 << 20  // expressions and statements evaluated, and 64 bytes of text each
	maxDepth  = 100      // nesting of source, and of macro calls
	maxChain  = 1000     // operators in a row
	maxRange  = 100000   // elements of range(), as Jinja2's sandbox has it
)

// Template is a parsed template. It is safe for concurrent use.
type Template struct{ body []stmt }

// Parse reads a template. Errors tell the line.
func Parse(source string) (*Template, error) {
	if len(source) > maxSource {
		return nil, fmt.Errorf("jinja: a template of %d bytes, want at most %d", len(source), maxSource)
	}
	tokens, err := lex(source)
	if err != nil {
		return nil, fmt.Errorf("jinja: %w", err)
	}
	p := &parser{tokens: tokens}
	body, err := p.block()
	if err == nil && p.peek().kind != tEOF {
		err = p.fail("unexpected %s", p.peek())
	}
	if err != nil {
		return nil, fmt.Errorf("jinja: %w", err)
	}
	return &Template{body}, nil
}

// Render returns the text of a template. Values are nil, bool, int, int64,
// float64, string, []any, map[string]any (whose keys come sorted), *Dict,
// *List and Func.
func (t *Template) Render(values map[string]any) (string, error) {
	st := &state{out: &strings.Builder{}}
	st.scope = &scope{vars: map[string]any{}}
	for k, v := range builtins {
		st.scope.vars[k] = v
	}
	for k, v := range values {
		w, err := fromGo(v, 0)
		if err != nil {
			return "", fmt.Errorf("jinja: value %q: %w", k, err)
		}
		st.scope.vars[k] = w
	}
	if err := st.run(t.body); err != nil {
		return "", fmt.Errorf("jinja: %w", err)
	}
	return st.out.String(), nil
}

// state is one rendering.
type state struct {
	out    *strings.Builder
	scope  *scope
	steps  int
	depth  int // of macro calls
	nested int // of values being compared
}

// scope holds the variables of a block.
type scope struct {
	vars map[string]any
	up   *scope
}

func (s *scope) get(name string) (any, bool) {
	for ; s != nil; s = s.up {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

// charge counts a step that handles n bytes or elements.
func (st *state) charge(n int) error {
	st.steps += 1 + n/64
	if n > maxOutput {
		return fmt.Errorf("a value of %d bytes or elements, want at most %d", n, maxOutput)
	}
	if st.steps > maxSteps {
		return fmt.Errorf("the template takes more than %d steps", maxSteps)
	}
	return nil
}

func (st *state) write(s string) error {
	if err := st.charge(len(s)); err != nil {
		return err
	}
	if st.out.Len()+len(s) > maxOutput {
		return fmt.Errorf("more than %d bytes of output", maxOutput)
	}
	st.out.WriteString(s)
	return nil
}
