package jinja

import (
	"fmt"
	"math"
	"strings"
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
