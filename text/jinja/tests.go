package jinja

import "fmt"

type test func(st *state, v any, args []any) (bool, error)

// typed makes a test of a value alone.
func typed(f func(v any) bool) test {
	return func(_ *state, v any, _ []any) (bool, error) { return f(v), nil }
}

// against makes a test of a value and one argument.
func against(op string) test {
	return func(st *state, v any, args []any) (bool, error) {
		if len(args) != 1 {
			return false, fmt.Errorf("%d arguments, want 1", len(args))
		}
		return st.compare(op, v, args[0])
	}
}

// is makes a test of a value's Go type.
func is[T any](v any) bool {
	_, ok := v.(T)
	return ok
}

// remainder makes a test of a whole number.
func remainder(n, r int64) test {
	return func(_ *state, v any, args []any) (bool, error) {
		k, ok := v.(int64)
		m := n
		if m == 0 && len(args) == 1 {
			m, _ = args[0].(int64)
		}
		if !ok || m == 0 {
			return false, fmt.Errorf("%s divided by %d", kindName(v), m)
		}
		return (k%m+m)%m == r, nil
	}
}

// tests are all that are supported.
var tests = map[string]test{
	"defined":     typed(func(v any) bool { return !is[Undefined](v) }),
	"undefined":   typed(is[Undefined]),
	"none":        typed(func(v any) bool { return v == nil }),
	"boolean":     typed(is[bool]),
	"true":        typed(func(v any) bool { return v == true }),
	"false":       typed(func(v any) bool { return v == false }),
	"string":      typed(is[string]),
	"number":      typed(func(v any) bool { _, ok := number(v); return ok }),
	"integer":     typed(is[int64]),
	"float":       typed(is[float64]),
	"mapping":     typed(is[*Dict]),
	"sequence":    typed(func(v any) bool { return is[*List](v) || is[*Dict](v) || is[string](v) }),
	"iterable":    typed(func(v any) bool { return is[*List](v) || is[*Dict](v) || is[string](v) }),
	"callable":    typed(func(v any) bool { return is[Func](v) || is[*macro](v) }),
	"odd":         remainder(2, 1),
	"even":        remainder(2, 0),
	"divisibleby": remainder(0, 0),
	"in":          against("in"),
	"==":          against("=="), "eq": against("=="), "equalto": against("=="),
	"!=": against("!="), "ne": against("!="),
	"<": against("<"), "lt": against("<"), "lessthan": against("<"),
	">": against(">"), "gt": against(">"), "greaterthan": against(">"),
	"<=": against("<="), "le": against("<="),
	">=": against(">="), "ge": against(">="),
}
