package jinja

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// builtins are the functions that every template has.
var builtins = map[string]any{
	"range": Func(rangeOf),
	"namespace": Func(func(args []any, named map[string]any) (any, error) {
		d, err := dictOf(args, named)
		if err == nil {
			d.namespace = true
		}
		return d, err
	}),
	"dict": Func(func(args []any, named map[string]any) (any, error) { return dictOf(args, named) }),
	"raise_exception": Func(func(args []any, _ map[string]any) (any, error) {
		return nil, fmt.Errorf("the template refuses: %v", args)
	}),
}

func dictOf(args []any, named map[string]any) (*Dict, error) {
	d := &Dict{}
	for _, a := range args {
		from, ok := a.(*Dict)
		if !ok {
			return nil, fmt.Errorf("a mapping of %s", kindName(a))
		}
		for _, k := range from.Keys {
			d.Set(k, from.values[k])
		}
	}
	for _, k := range sortedKeys(named) {
		d.Set(k, named[k])
	}
	return d, nil
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func rangeOf(args []any, _ map[string]any) (any, error) {
	v := [3]int64{0, 0, 1}
	for i, a := range args {
		n, ok := a.(int64)
		if !ok || i > 2 {
			return nil, fmt.Errorf("range wants one to three whole numbers")
		}
		v[i] = n
	}
	switch len(args) {
	case 0:
		return nil, fmt.Errorf("range wants one to three whole numbers")
	case 1:
		v[0], v[1] = 0, v[0]
	}
	if v[2] == 0 {
		return nil, fmt.Errorf("range with step 0")
	}
	l := &List{}
	for i := v[0]; v[2] > 0 && i < v[1] || v[2] < 0 && i > v[1]; i += v[2] {
		if len(l.Items) == maxRange {
			return nil, fmt.Errorf("range of more than %d numbers", maxRange)
		}
		l.Items = append(l.Items, i)
	}
	return l, nil
}

// toJSON is json.dumps(ensure_ascii=False), as chat templates have it.
func toJSON(st *state, v any, a arguments) (any, error) {
	w := &jsonWriter{st: st, comma: ", ", colon: ": "}
	switch n := a.get(1, "indent", nil).(type) { // the first is ensure_ascii
	case nil:
	case int64:
		if n < 0 || n > 64 {
			return nil, fmt.Errorf("indent %d, want 0..64", n)
		}
		w.indent, w.lines, w.comma = strings.Repeat(" ", int(n)), true, ","
	default:
		return nil, fmt.Errorf("indent by %s", kindName(n))
	}
	if s, ok := a.named["separators"].(*List); ok && len(s.Items) == 2 {
		w.comma, _ = s.Items[0].(string)
		w.colon, _ = s.Items[1].(string)
	}
	w.sorted = truth(a.named["sort_keys"])
	err := w.write(v, 0)
	return w.b.String(), err
}

type jsonWriter struct {
	st           *state
	b            strings.Builder
	comma, colon string
	indent       string
	lines        bool
	sorted       bool
}

func (w *jsonWriter) newline(depth int) {
	if w.lines {
		w.b.WriteString("\n" + strings.Repeat(w.indent, depth))
	}
}

func (w *jsonWriter) write(v any, depth int) error {
	if depth > maxDepth || w.b.Len() > maxOutput {
		return fmt.Errorf("a value nested deeper than %d or of more than %d bytes", maxDepth, maxOutput)
	}
	if err := w.st.charge(0); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		fmt.Fprint(&w.b, v)
	case int64:
		fmt.Fprint(&w.b, v)
	case float64:
		switch {
		case math.IsInf(v, 1):
			w.b.WriteString("Infinity")
		case math.IsInf(v, -1):
			w.b.WriteString("-Infinity")
		case math.IsNaN(v):
			w.b.WriteString("NaN")
		default:
			w.b.WriteString(floatText(v))
		}
	case string:
		return w.text(v)
	case *List:
		return w.group('[', ']', len(v.Items), depth, func(i int) error { return w.write(v.Items[i], depth+1) })
	case *Dict:
		keys := v.Keys
		if w.sorted {
			keys = sortedKeys(v.values)
		}
		return w.group('{', '}', len(keys), depth, func(i int) error {
			if err := w.text(keys[i]); err != nil {
				return err
			}
			w.b.WriteString(w.colon)
			return w.write(v.values[keys[i]], depth+1)
		})
	default:
		return fmt.Errorf("%s has no JSON", kindName(v))
	}
	return nil
}

func (w *jsonWriter) text(s string) error {
	if err := w.st.charge(len(s)); err != nil {
		return err
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return err
	}
	t := strings.TrimSuffix(b.String(), "\n")
	// Go escapes two separators that Python leaves, after any backslashes.
	t = strings.NewReplacer(`\\`, `\\`, `\u2028`, "\u2028", `\u2029`, "\u2029").Replace(t)
	w.b.WriteString(t)
	return nil
}

func (w *jsonWriter) group(open, close byte, n, depth int, one func(i int) error) error {
	w.b.WriteByte(open)
	for i := range n {
		if i > 0 {
			w.b.WriteString(w.comma)
		}
		w.newline(depth + 1)
		if err := one(i); err != nil {
			return err
		}
	}
	if n > 0 {
		w.newline(depth)
	}
	w.b.WriteByte(close)
	return nil
}
