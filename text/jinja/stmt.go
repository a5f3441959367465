package jinja

import (
	"errors"
	"fmt"
	"strings"
)

// stmt is a statement.
type stmt interface{ run(st *state) error }

// The ways a loop's body ends early.
var (
	errBreak    = errors.New("break outside a loop")
	errContinue = errors.New("continue outside a loop")
)

func (st *state) run(body []stmt) error {
	for _, s := range body {
		if err := st.charge(0); err != nil {
			return err
		}
		if err := s.run(st); err != nil {
			return err
		}
	}
	return nil
}

type textStmt string

func (s textStmt) run(st *state) error { return st.write(string(s)) }

type printStmt struct{ x expr }

func (s printStmt) run(st *state) error {
	v, err := st.eval(s.x)
	if err != nil {
		return err
	}
	t, err := st.str(v)
	if err != nil {
		return err
	}
	return st.write(t)
}

type ifStmt struct {
	conds []expr // nil for else
	body  [][]stmt
}

func (s *ifStmt) run(st *state) error {
	for i, c := range s.conds {
		if c != nil {
			v, err := st.eval(c)
			if err != nil {
				return err
			}
			if !truth(v) {
				continue
			}
		}
		return st.run(s.body[i])
	}
	return nil
}

type setStmt struct {
	targets []expr // *variable or *attribute
	x       expr   // nil for a block
	body    []stmt
	line    int
}

func (s *setStmt) run(st *state) error {
	var v any
	var err error
	if s.x != nil {
		v, err = st.eval(s.x)
	} else {
		v, err = st.capture(s.body)
	}
	if err != nil {
		return err
	}
	return st.assign(s.targets, v, s.line)
}

// capture returns what a block writes.
func (st *state) capture(body []stmt) (string, error) {
	out := st.out
	st.out = &strings.Builder{}
	st.scope = &scope{vars: map[string]any{}, up: st.scope}
	err := st.run(body)
	s := st.out.String()
	st.out, st.scope = out, st.scope.up
	return s, err
}

// assign sets one target, or unpacks into several.
func (st *state) assign(targets []expr, v any, line int) error {
	if len(targets) == 1 {
		return st.assignOne(targets[0], v, line)
	}
	all, err := st.elements(v)
	if err != nil {
		return fmt.Errorf("line %d: %w", line, err)
	}
	if len(all) != len(targets) {
		return fmt.Errorf("line %d: %d values for %d names", line, len(all), len(targets))
	}
	for i, t := range targets {
		if err := st.assignOne(t, all[i], line); err != nil {
			return err
		}
	}
	return nil
}

func (st *state) assignOne(target expr, v any, line int) error {
	switch t := target.(type) {
	case *variable:
		st.scope.vars[t.name] = v
		return nil
	case *attribute:
		x, err := st.eval(t.x)
		if err != nil {
			return err
		}
		if d, ok := x.(*Dict); ok && d.namespace {
			d.Set(t.name, v)
			return nil
		}
	}
	return fmt.Errorf("line %d: only names and attributes of a namespace can be set", line)
}

type forStmt struct {
	targets    []expr
	x, filter  expr
	body, none []stmt
	line       int
}

func (s *forStmt) run(st *state) error {
	v, err := st.eval(s.x)
	if err != nil {
		return err
	}
	all, err := st.elements(v)
	if err != nil {
		return fmt.Errorf("line %d: %w", s.line, err)
	}
	outer := st.scope
	defer func() { st.scope = outer }()
	if s.filter != nil {
		if all, err = s.keep(st, all); err != nil {
			return err
		}
	}
	st.scope = outer
	if len(all) == 0 {
		return st.run(s.none)
	}
	for i := range all {
		st.scope = &scope{vars: map[string]any{}, up: outer}
		if err := st.charge(0); err != nil {
			return err
		}
		if err := st.assign(s.targets, all[i], s.line); err != nil {
			return err
		}
		st.scope.vars["loop"] = loopValue(all, i)
		err := st.run(s.body)
		if err == errBreak {
			return nil
		}
		if err != nil && err != errContinue {
			return err
		}
	}
	return nil
}

func (s *forStmt) keep(st *state, all []any) ([]any, error) {
	var kept []any
	outer := st.scope
	for _, v := range all {
		st.scope = &scope{vars: map[string]any{}, up: outer}
		if err := st.assign(s.targets, v, s.line); err != nil {
			return nil, err
		}
		c, err := st.eval(s.filter)
		if err != nil {
			return nil, err
		}
		if truth(c) {
			kept = append(kept, v)
		}
	}
	return kept, nil
}

// loopValue is the variable loop in round i.
func loopValue(all []any, i int) *Dict {
	n := int64(len(all))
	k := int64(i)
	d := &Dict{}
	for _, f := range []struct {
		name string
		v    any
	}{
		{"index", k + 1}, {"index0", k}, {"first", k == 0}, {"last", k == n-1}, {"length", n},
		{"revindex", n - k}, {"revindex0", n - k - 1},
	} {
		d.Set(f.name, f.v)
	}
	d.Set("previtem", Undefined("there is no previous item"))
	d.Set("nextitem", Undefined("there is no next item"))
	if i > 0 {
		d.Set("previtem", all[i-1])
	}
	if i+1 < len(all) {
		d.Set("nextitem", all[i+1])
	}
	d.Set("cycle", Func(func(args []any, _ map[string]any) (any, error) {
		if len(args) == 0 {
			return nil, fmt.Errorf("loop.cycle without values")
		}
		return args[i%len(args)], nil
	}))
	return d
}

type jumpStmt struct{ err error }

func (s jumpStmt) run(*state) error { return s.err }

type macroStmt struct {
	name     string
	params   []string
	defaults []expr // nil where there is none
	body     []stmt
}

func (s *macroStmt) run(st *state) error {
	st.scope.vars[s.name] = &macro{s, st.scope}
	return nil
}

// macro is a macro with the scope that it was made in.
type macro struct {
	*macroStmt
	scope *scope
}

func (m *macro) call(st *state, args []any, named map[string]any) (any, error) {
	if len(args) > len(m.params) {
		return nil, fmt.Errorf("macro %s: %d arguments, want at most %d", m.name, len(args), len(m.params))
	}
	if st.depth++; st.depth > maxDepth {
		return nil, fmt.Errorf("macro %s: calls nested deeper than %d", m.name, maxDepth)
	}
	outer := st.scope
	defer func() { st.scope = outer; st.depth-- }()
	st.scope = &scope{vars: map[string]any{}, up: m.scope}
	used := 0
	for i, p := range m.params {
		v, ok := named[p]
		switch {
		case i < len(args):
			v = args[i]
		case ok:
			used++
		case m.defaults[i] != nil:
			var err error
			if v, err = st.eval(m.defaults[i]); err != nil {
				return nil, err
			}
		default:
			v = Undefined(p)
		}
		st.scope.vars[p] = v
	}
	if used != len(named) {
		return nil, fmt.Errorf("macro %s: an argument that it does not have", m.name)
	}
	return st.capture(m.body)
}
