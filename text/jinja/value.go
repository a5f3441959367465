package jinja

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Undefined is the value of a name that nothing defines: it prints as nothing,
// is false, and any use but a test is an error.
type Undefined string

// Func is a function that a template may call.
type Func func(args []any, named map[string]any) (any, error)

// List is a list or a tuple.
type List struct {
	Items []any
	tuple bool // printed in parentheses
}

// Dict is a mapping from strings that keeps the order of its keys.
type Dict struct {
	Keys      []string
	values    map[string]any
	namespace bool
}

// Get returns the value of a key.
func (d *Dict) Get(key string) (any, bool) {
	v, ok := d.values[key]
	return v, ok
}

// Set sets the value of a key; a new key goes to the end.
func (d *Dict) Set(key string, v any) {
	if d.values == nil {
		d.values = map[string]any{}
	}
	if _, ok := d.values[key]; !ok {
		d.Keys = append(d.Keys, key)
	}
	d.values[key] = v
}

// fromGo makes a template's value of a Go value.
func fromGo(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch v := v.(type) {
	case nil, bool, int64, float64, string, Func, Undefined:
		return v, nil
	case int:
		return int64(v), nil
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n, nil
		}
		return v.Float64()
	case []any:
		l := &List{Items: make([]any, len(v))}
		for i, x := range v {
			var err error
			if l.Items[i], err = fromGo(x, depth+1); err != nil {
				return nil, err
			}
		}
		return l, nil
	case map[string]any:
		d := &Dict{}
		for _, k := range sortedKeys(v) {
			x, err := fromGo(v[k], depth+1)
			if err != nil {
				return nil, err
			}
			d.Set(k, x)
		}
		return d, nil
	case *Dict:
		d := &Dict{}
		for _, k := range v.Keys {
			x, err := fromGo(v.values[k], depth+1)
			if err != nil {
				return nil, err
			}
			d.Set(k, x)
		}
		return d, nil
	case *List:
		return fromGo(v.Items, depth)
	}
	return nil, fmt.Errorf("a %T, want text, numbers, lists or maps", v)
}

// DecodeJSON reads JSON into values that keep the order of keys, such as a
// description of tools.
func DecodeJSON(b []byte) (any, error) {
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return nil, fmt.Errorf("jinja: json: %w", err)
	}
	return v, nil
}

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		m := &Dict{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			m.Set(k.(string), v)
		}
		_, err = d.Token()
		return m, err
	case json.Delim('['):
		l := &List{}
		for d.More() {
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			l.Items = append(l.Items, v)
		}
		_, err = d.Token()
		return l, err
	}
	return fromGo(t, depth)
}

// truth is Python's.
func truth(v any) bool {
	switch v := v.(type) {
	case nil, Undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case *List:
		return len(v.Items) > 0
	case *Dict:
		return len(v.Keys) > 0
	}
	return true
}

// kindName names a value's type for an error.
func kindName(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case Undefined:
		return fmt.Sprintf("undefined (%s)", string(v))
	case bool:
		return "a boolean"
	case int64, float64:
		return "a number"
	case string:
		return "text"
	case *List:
		return "a list"
	case *Dict:
		return "a mapping"
	}
	return "a function"
}

// str is Python's str(); undefined is "".
func (st *state) str(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case Undefined:
		return "", nil
	}
	var b strings.Builder
	err := st.repr(&b, v, 0)
	return b.String(), err
}

// repr writes Python's repr().
func (st *state) repr(b *strings.Builder, v any, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("a value nested deeper than %d", maxDepth)
	}
	if err := st.charge(b.Len() / 1024); err != nil {
		return err
	}
	if b.Len() > maxOutput {
		return fmt.Errorf("a text of more than %d bytes", maxOutput)
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case Undefined:
		b.WriteString("Undefined")
	case bool:
		b.WriteString(map[bool]string{true: "True", false: "False"}[v])
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		b.WriteString(floatText(v))
	case string:
		b.WriteString(quoteText(v))
	case *List:
		open, close := "[", "]"
		if v.tuple && len(v.Items) == 1 {
			open, close = "(", ",)"
		} else if v.tuple {
			open, close = "(", ")"
		}
		b.WriteString(open)
		for i, x := range v.Items {
			if i > 0 {
				b.WriteString(", ")
			}
			if err := st.repr(b, x, depth+1); err != nil {
				return err
			}
		}
		b.WriteString(close)
	case *Dict:
		b.WriteByte('{')
		for i, k := range v.Keys {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(quoteText(k) + ": ")
			if err := st.repr(b, v.values[k], depth+1); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	default:
		return fmt.Errorf("a function has no text")
	}
	return nil
}

// floatText is Python's repr of a float.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(f, 'g', -1, 64), "+"))
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quoteText is Python's repr of a string.
func quoteText(s string) string {
	q := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = `"`
	}
	r := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\t", `\t`, "\r", `\r`, q, `\`+q)
	return q + r.Replace(s) + q
}

// elements lists what a loop over a value goes through.
func (st *state) elements(v any) ([]any, error) {
	switch v := v.(type) {
	case *List:
		return v.Items, st.charge(size(v))
	case *Dict:
		var all []any
		for _, k := range v.Keys {
			all = append(all, k)
		}
		return all, st.charge(size(v))
	case string:
		if err := st.charge(len(v)); err != nil {
			return nil, err
		}
		var all []any
		for _, r := range v {
			all = append(all, string(r))
		}
		return all, nil
	}
	return nil, fmt.Errorf("%s cannot be gone through", kindName(v))
}

// equal is Python's ==. Each pair compared is a step; past the limit of steps
// or depth it returns false, and the next charge is the error.
func (st *state) equal(a, b any) bool {
	st.nested++
	defer func() { st.nested-- }()
	if st.steps++; st.nested > maxDepth {
		st.steps = maxSteps + 1
	}
	if st.steps > maxSteps {
		return false
	}
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	switch a := a.(type) {
	case nil:
		return b == nil
	case string:
		s, ok := b.(string)
		return ok && a == s
	case Undefined:
		_, ok := b.(Undefined)
		return ok
	case *List:
		l, ok := b.(*List)
		return ok && slices.EqualFunc(a.Items, l.Items, st.equal)
	case *Dict:
		d, ok := b.(*Dict)
		if !ok || len(a.Keys) != len(d.Keys) {
			return false
		}
		for _, k := range a.Keys {
			v, ok := d.values[k]
			if !ok || !st.equal(a.values[k], v) {
				return false
			}
		}
		return true
	}
	return false
}

// number returns a number or a boolean as a float.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}
