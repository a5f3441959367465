package jinja

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// expr is an expression.
type expr interface{ eval(st *state) (any, error) }

func (st *state) eval(x expr) (any, error) {
	if err := st.charge(0); err != nil {
		return nil, err
	}
	return x.eval(st)
}

func (st *state) evalAll(list []expr) ([]any, error) {
	all := make([]any, len(list))
	for i, x := range list {
		var err error
		if all[i], err = st.eval(x); err != nil {
			return nil, err
		}
	}
	return all, nil
}

type constant struct{ v any }

func (x constant) eval(*state) (any, error) { return x.v, nil }

type variable struct {
	name string
	line int
}

func (x *variable) eval(st *state) (any, error) {
	if v, ok := st.scope.get(x.name); ok {
		return v, nil
	}
	return Undefined(x.name), nil
}

type listExpr struct {
	items []expr
	tuple bool
}

func (x *listExpr) eval(st *state) (any, error) {
	all, err := st.evalAll(x.items)
	return &List{all, x.tuple}, err
}

type dictExpr struct{ keys, values []expr }

func (x *dictExpr) eval(st *state) (any, error) {
	d := &Dict{}
	for i := range x.keys {
		k, err := st.eval(x.keys[i])
		if err != nil {
			return nil, err
		}
		s, ok := k.(string)
		if !ok {
			return nil, fmt.Errorf("a mapping with %s as key, want text", kindName(k))
		}
		v, err := st.eval(x.values[i])
		if err != nil {
			return nil, err
		}
		d.Set(s, v)
	}
	return d, nil
}

type ternary struct{ cond, then, other expr }

func (x *ternary) eval(st *state) (any, error) {
	c, err := st.eval(x.cond)
	switch {
	case err != nil:
		return nil, err
	case truth(c):
		return st.eval(x.then)
	case x.other == nil:
		return Undefined("the if without else"), nil
	}
	return st.eval(x.other)
}

type logic struct {
	a, b expr
	or   bool
}

func (x *logic) eval(st *state) (any, error) {
	a, err := st.eval(x.a)
	if err != nil || truth(a) == x.or {
		return a, err
	}
	return st.eval(x.b)
}

type negation struct{ x expr }

func (x *negation) eval(st *state) (any, error) {
	v, err := st.eval(x.x)
	return !truth(v), err
}

type comparison struct {
	first expr
	ops   []string
	rest  []expr
}

func (x *comparison) eval(st *state) (any, error) {
	a, err := st.eval(x.first)
	if err != nil {
		return nil, err
	}
	for i, op := range x.ops {
		b, err := st.eval(x.rest[i])
		if err != nil {
			return nil, err
		}
		ok, err := st.compare(op, a, b)
		if err != nil || !ok {
			return false, err
		}
		a = b
	}
	return true, nil
}

func (st *state) compare(op string, a, b any) (bool, error) {
	switch op {
	case "==":
		ok := st.equal(a, b)
		return ok, st.charge(0)
	case "!=":
		ok := st.equal(a, b)
		return !ok, st.charge(0)
	case "in", "not in":
		ok, err := st.contains(b, a)
		return ok == (op == "in"), err
	}
	c, err := order(a, b)
	switch op {
	case "<":
		return c < 0, err
	case ">":
		return c > 0, err
	case "<=":
		return c <= 0, err
	}
	return c >= 0, err
}

// order compares two numbers or two texts.
func order(a, b any) (int, error) {
	x, okX := number(a)
	y, okY := number(b)
	if okX && okY {
		switch {
		case x < y:
			return -1, nil
		case x > y:
			return 1, nil
		}
		return 0, nil
	}
	s, okS := a.(string)
	t, okT := b.(string)
	if okS && okT {
		return strings.Compare(s, t), nil
	}
	return 0, fmt.Errorf("%s and %s have no order", kindName(a), kindName(b))
}

func (st *state) contains(in, x any) (bool, error) {
	switch in := in.(type) {
	case string:
		s, ok := x.(string)
		if !ok {
			return false, fmt.Errorf("%s in text, want text in text", kindName(x))
		}
		return strings.Contains(in, s), st.charge(len(in))
	case *Dict:
		s, ok := x.(string)
		if !ok {
			return false, nil
		}
		_, ok = in.Get(s)
		return ok, nil
	case *List:
		for _, v := range in.Items {
			if st.equal(v, x) {
				return true, nil
			}
		}
		return false, st.charge(0)
	}
	return false, fmt.Errorf("in %s, want text, a list or a mapping", kindName(in))
}

type binary struct {
	op   string
	a, b expr
}

func (x *binary) eval(st *state) (any, error) {
	a, err := st.eval(x.a)
	if err != nil {
		return nil, err
	}
	b, err := st.eval(x.b)
	if err != nil {
		return nil, err
	}
	if x.op == "~" {
		s, err := st.str(a)
		if err != nil {
			return nil, err
		}
		t, err := st.str(b)
		if err != nil {
			return nil, err
		}
		return s + t, st.charge(len(s) + len(t))
	}
	switch a := a.(type) {
	case string:
		if t, ok := b.(string); ok && x.op == "+" {
			return a + t, st.charge(len(a) + len(t))
		}
		if n, ok := b.(int64); ok && x.op == "*" {
			n = max(0, n)
			if n > 0 && int64(len(a)) > maxOutput/n {
				return nil, fmt.Errorf("a text of %d times %d bytes, want at most %d", n, len(a), maxOutput)
			}
			return strings.Repeat(a, int(n)), st.charge(len(a) * int(n))
		}
	case *List:
		if l, ok := b.(*List); ok && x.op == "+" {
			if err := st.charge(16 * (len(a.Items) + len(l.Items))); err != nil {
				return nil, err
			}
			return &List{append(a.Items[:len(a.Items):len(a.Items)], l.Items...), a.tuple}, nil
		}
	}
	return arithmetic(x.op, a, b)
}

func arithmetic(op string, a, b any) (any, error) {
	x, okX := number(a)
	y, okY := number(b)
	if !okX || !okY {
		return nil, fmt.Errorf("%s %s %s is not defined", kindName(a), op, kindName(b))
	}
	_, floatA := a.(float64)
	_, floatB := b.(float64)
	if !floatA && !floatB && op != "/" && op != "**" {
		return whole(op, integer(a), integer(b))
	}
	switch op {
	case "+":
		return x + y, nil
	case "-":
		return x - y, nil
	case "*":
		return x * y, nil
	case "**":
		if p := math.Pow(x, y); !floatA && !floatB && y >= 0 && math.Abs(p) < 1<<53 {
			return int64(p), nil
		} else {
			return p, nil
		}
	}
	if y == 0 {
		return nil, fmt.Errorf("division by zero")
	}
	switch op {
	case "/":
		return x / y, nil
	case "//":
		return math.Floor(x / y), nil
	}
	return x - y*math.Floor(x/y), nil
}

func integer(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case bool:
		if v {
			return 1
		}
	}
	return 0
}

func whole(op string, a, b int64) (any, error) {
	switch op {
	case "+":
		return a + b, nil
	case "-":
		return a - b, nil
	case "*":
		return a * b, nil
	}
	if b == 0 {
		return nil, fmt.Errorf("division by zero")
	}
	q, r := a/b, a%b
	if r != 0 && (r < 0) != (b < 0) { // Python rounds down
		q, r = q-1, r+b
	}
	if op == "//" {
		return q, nil
	}
	return r, nil
}

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
