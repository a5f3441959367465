package jinja

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

type attribute struct {
	x    expr
	name string
	line int
}

func (x *attribute) eval(st *state) (any, error) {
	v, err := st.eval(x.x)
	if err != nil {
		return nil, err
	}
	return st.member(v, x.name, x.line, true)
}

// member returns an item or a method of a value; the method first for x.name.
func (st *state) member(v any, name string, line int, dotted bool) (any, error) {
	switch v := v.(type) {
	case Undefined:
		return nil, fmt.Errorf("line %d: %q of %s", line, name, kindName(v))
	case *Dict:
		w, ok := v.Get(name)
		if m := method(st, v, name); m != nil && !v.namespace && (dotted || !ok) {
			return m, nil
		}
		if ok {
			return w, nil
		}
	default:
		if m := method(st, v, name); m != nil {
			return m, nil
		}
	}
	return Undefined(name), nil
}

type item struct {
	x, key expr
	line   int
}

func (x *item) eval(st *state) (any, error) {
	v, err := st.eval(x.x)
	if err != nil {
		return nil, err
	}
	k, err := st.eval(x.key)
	if err != nil {
		return nil, err
	}
	switch k := k.(type) {
	case string:
		if d, ok := v.(*Dict); ok {
			if w, ok := d.Get(k); ok {
				return w, nil
			}
		}
		return st.member(v, k, x.line, false)
	case int64:
		if u, ok := v.(Undefined); ok {
			return nil, fmt.Errorf("line %d: item %d of %s", x.line, k, kindName(u))
		}
		all, err := st.sequence(v)
		if err != nil {
			return Undefined("an item of no list"), nil
		}
		if k < 0 {
			k += int64(len(all))
		}
		if k < 0 || k >= int64(len(all)) {
			return Undefined("an item outside the list"), nil
		}
		return all[k], nil
	}
	return nil, fmt.Errorf("line %d: %s as a key", x.line, kindName(k))
}

// sequence lists the elements of a list or the characters of a text.
func (st *state) sequence(v any) ([]any, error) {
	if _, ok := v.(*Dict); ok {
		return nil, fmt.Errorf("a mapping is no list")
	}
	return st.elements(v)
}

type slice struct {
	x    expr
	part [3]expr
	line int
}

func (x *slice) eval(st *state) (any, error) {
	v, err := st.eval(x.x)
	if err != nil {
		return nil, err
	}
	all, err := st.sequence(v)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", x.line, err)
	}
	var at [3]*int64
	for i, p := range x.part {
		if p == nil {
			continue
		}
		k, err := st.eval(p)
		if err != nil {
			return nil, err
		}
		switch n := k.(type) {
		case int64:
			at[i] = &n
		case nil:
		default:
			return nil, fmt.Errorf("line %d: a slice by %s", x.line, kindName(k))
		}
	}
	picked, err := pick(all, at)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", x.line, err)
	}
	if _, ok := v.(string); !ok {
		return &List{Items: picked}, nil
	}
	var b strings.Builder
	for _, c := range picked {
		b.WriteString(c.(string))
	}
	return b.String(), nil
}

// pick is Python's list[start:stop:step].
func pick(all []any, at [3]*int64) ([]any, error) {
	n := int64(len(all))
	step := int64(1)
	if at[2] != nil {
		step = *at[2]
	}
	if step == 0 {
		return nil, fmt.Errorf("a slice with step 0")
	}
	low, high := int64(0), n
	if step < 0 {
		low, high = -1, n-1
	}
	bound := func(p *int64, otherwise int64) int64 {
		if p == nil {
			return otherwise
		}
		k := *p
		if k < 0 {
			k = max(k+n, low)
		}
		return min(max(k, low), high)
	}
	start, stop := bound(at[0], low), bound(at[1], high)
	if step < 0 {
		start, stop = bound(at[0], high), bound(at[1], low)
	}
	var out []any
	for i := start; step > 0 && i < stop || step < 0 && i > stop; {
		out = append(out, all[i])
		if step > n || -step > n {
			break
		}
		i += step
	}
	return out, nil
}

type call struct {
	fn    expr
	args  []expr
	names []string
	named []expr
	line  int
}

func (x *call) eval(st *state) (any, error) {
	f, err := st.eval(x.fn)
	if err != nil {
		return nil, err
	}
	args, named, err := st.arguments(x.args, x.names, x.named)
	if err != nil {
		return nil, err
	}
	var v any
	switch f := f.(type) {
	case Func:
		v, err = f(args, named)
	case *macro:
		v, err = f.call(st, args, named)
	default:
		err = fmt.Errorf("%s cannot be called", kindName(f))
	}
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", x.line, err)
	}
	return v, st.charge(size(v))
}

// size is what a value that was just made counts for.
func size(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case *List: // a step an element
		return min(64*len(v.Items), maxOutput)
	case *Dict:
		return min(64*len(v.Keys), maxOutput)
	}
	return 0
}

func (st *state) arguments(args []expr, names []string, named []expr) ([]any, map[string]any, error) {
	list, err := st.evalAll(args)
	if err != nil {
		return nil, nil, err
	}
	var byName map[string]any
	for i, n := range names {
		v, err := st.eval(named[i])
		if err != nil {
			return nil, nil, err
		}
		if byName == nil {
			byName = map[string]any{}
		}
		byName[n] = v
	}
	return list, byName, nil
}

type filterCall struct {
	x     expr
	name  string
	args  []expr
	names []string
	named []expr
	line  int
}

func (x *filterCall) eval(st *state) (any, error) {
	v, err := st.eval(x.x)
	if err != nil {
		return nil, err
	}
	args, named, err := st.arguments(x.args, x.names, x.named)
	if err != nil {
		return nil, err
	}
	w, err := filters[x.name](st, v, arguments{args, named})
	if err != nil {
		return nil, fmt.Errorf("line %d: filter %s: %w", x.line, x.name, err)
	}
	return w, st.charge(size(w))
}

type testCall struct {
	x    expr
	name string
	args []expr
	line int
}

func (x *testCall) eval(st *state) (any, error) {
	v, err := st.eval(x.x)
	if err != nil {
		return nil, err
	}
	args, err := st.evalAll(x.args)
	if err != nil {
		return nil, err
	}
	ok, err := tests[x.name](st, v, args)
	if err != nil {
		return nil, fmt.Errorf("line %d: test %s: %w", x.line, x.name, err)
	}
	return ok, nil
}

func runeCount(s string) int64 { return int64(utf8.RuneCountInString(s)) }
