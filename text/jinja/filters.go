package jinja

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// arguments are those of a filter or function.
type arguments struct {
	list  []any
	named map[string]any
}

// get returns argument i, or the one of that name; otherwise if there is none.
func (a arguments) get(i int, name string, otherwise any) any {
	if i < len(a.list) {
		return a.list[i]
	}
	if v, ok := a.named[name]; ok {
		return v
	}
	return otherwise
}

type filter func(st *state, v any, a arguments) (any, error)

// filters are all that are supported.
var filters map[string]filter

func init() {
	filters = map[string]filter{
		"abs": absolute, "capitalize": onText(capitalize), "count": length, "d": defaultTo, "default": defaultTo,
		"dictsort": dictsort, "first": first, "float": toFloat, "indent": indent, "int": toInt, "items": itemsOf, "join": join,
		"last": last, "length": length, "list": toList, "lower": onText(strings.ToLower), "map": mapped,
		"max": extreme(1), "min": extreme(-1), "reject": chosen(false, false), "rejectattr": chosen(false, true),
		"replace": replace, "reverse": reverse, "safe": asIs, "select": chosen(true, false), "selectattr": chosen(true, true),
		"sort": sorted, "string": toString, "sum": sum, "title": onText(title), "tojson": toJSON, "trim": trim, "unique": unique,
		"upper": onText(strings.ToUpper),
	}
}

func asIs(_ *state, v any, _ arguments) (any, error) { return v, nil }

func onText(f func(string) string) filter {
	return func(st *state, v any, _ arguments) (any, error) {
		s, err := st.str(v)
		return f(s), err
	}
}

func capitalize(s string) string {
	r := []rune(strings.ToLower(s))
	if len(r) > 0 {
		r[0] = unicode.ToTitle(r[0])
	}
	return string(r)
}

func title(s string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		was := inWord
		inWord = unicode.IsLetter(r) || unicode.IsDigit(r) || r == '\''
		if was {
			return unicode.ToLower(r)
		}
		return unicode.ToTitle(r)
	}, s)
}

func trim(st *state, v any, a arguments) (any, error) {
	s, err := st.str(v)
	if err != nil {
		return nil, err
	}
	return cutset(s, a.get(0, "chars", nil), true, true)
}

// cutset is Python's strip with its optional characters.
func cutset(s string, chars any, left, right bool) (any, error) {
	is := unicode.IsSpace
	if chars != nil {
		set, ok := chars.(string)
		if !ok {
			return nil, fmt.Errorf("characters to strip are %s", kindName(chars))
		}
		is = func(r rune) bool { return strings.ContainsRune(set, r) }
	}
	if left {
		s = strings.TrimLeftFunc(s, is)
	}
	if right {
		s = strings.TrimRightFunc(s, is)
	}
	return s, nil
}

func absolute(_ *state, v any, _ arguments) (any, error) {
	switch v := v.(type) {
	case int64:
		return max(v, -v), nil
	case float64:
		return math.Abs(v), nil
	}
	return nil, fmt.Errorf("of %s", kindName(v))
}

func length(st *state, v any, _ arguments) (any, error) {
	switch v := v.(type) {
	case string:
		return runeCount(v), nil
	case *List:
		return int64(len(v.Items)), nil
	case *Dict:
		return int64(len(v.Keys)), nil
	case Undefined:
		return int64(0), nil
	}
	return nil, fmt.Errorf("of %s", kindName(v))
}

func defaultTo(_ *state, v any, a arguments) (any, error) {
	_, undefined := v.(Undefined)
	if undefined || truth(a.get(1, "boolean", false)) && !truth(v) {
		return a.get(0, "default_value", ""), nil
	}
	return v, nil
}

func first(st *state, v any, _ arguments) (any, error) {
	all, err := st.elements(v)
	if err != nil || len(all) == 0 {
		return Undefined("the first of nothing"), err
	}
	return all[0], nil
}

func last(st *state, v any, _ arguments) (any, error) {
	all, err := st.elements(v)
	if err != nil || len(all) == 0 {
		return Undefined("the last of nothing"), err
	}
	return all[len(all)-1], nil
}

func toList(st *state, v any, _ arguments) (any, error) {
	all, err := st.elements(v)
	return &List{Items: slices.Clone(all)}, err
}

func toString(st *state, v any, _ arguments) (any, error) { return st.str(v) }

func toInt(_ *state, v any, a arguments) (any, error) {
	switch v := v.(type) {
	case string:
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
			return n, nil
		}
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil && math.Abs(f) < 1<<62 {
			return int64(f), nil
		}
	case bool:
		return integer(v), nil
	case int64:
		return v, nil
	case float64:
		if math.Abs(v) < 1<<62 {
			return int64(v), nil
		}
	}
	return a.get(0, "default", int64(0)), nil
}

func toFloat(_ *state, v any, a arguments) (any, error) {
	if s, ok := v.(string); ok {
		if f, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil {
			return f, nil
		}
	} else if f, ok := number(v); ok {
		return f, nil
	}
	return a.get(0, "default", 0.0), nil
}

func indent(st *state, v any, a arguments) (any, error) {
	s, err := st.str(v)
	if err != nil {
		return nil, err
	}
	pad, ok := a.get(0, "width", int64(4)).(string)
	if n, isInt := a.get(0, "width", int64(4)).(int64); isInt && n >= 0 && n <= 1000 {
		pad, ok = strings.Repeat(" ", int(n)), true
	}
	if !ok {
		return nil, fmt.Errorf("width %v", a.get(0, "width", nil))
	}
	if len(s)+strings.Count(s, "\n")*len(pad) > maxOutput {
		return nil, fmt.Errorf("more than %d bytes", maxOutput)
	}
	lines := strings.Split(s, "\n")
	for i := range lines {
		if (i > 0 || truth(a.get(1, "first", false))) && (lines[i] != "" || truth(a.get(2, "blank", false))) {
			lines[i] = pad + lines[i]
		}
	}
	return strings.Join(lines, "\n"), nil
}

func itemsOf(_ *state, v any, _ arguments) (any, error) {
	d, ok := v.(*Dict)
	if _, undefined := v.(Undefined); undefined {
		d, ok = &Dict{}, true
	}
	if !ok {
		return nil, fmt.Errorf("of %s", kindName(v))
	}
	return d.items(), nil
}

func dictsort(st *state, v any, _ arguments) (any, error) {
	d, ok := v.(*Dict)
	if !ok {
		return nil, fmt.Errorf("of %s", kindName(v))
	}
	l := d.items()
	slices.SortStableFunc(l.Items, func(a, b any) int {
		return strings.Compare(strings.ToLower(a.(*List).Items[0].(string)), strings.ToLower(b.(*List).Items[0].(string)))
	})
	return l, nil
}

func join(st *state, v any, a arguments) (any, error) {
	all, err := st.elements(v)
	if err != nil {
		return nil, err
	}
	sep, err := st.str(a.get(0, "d", ""))
	if err != nil {
		return nil, err
	}
	name, _ := a.get(1, "attribute", nil).(string)
	var b strings.Builder
	for i, x := range all {
		if i > 0 {
			b.WriteString(sep)
		}
		if name != "" {
			if x, err = st.path(x, name); err != nil {
				return nil, err
			}
		}
		s, err := st.str(x)
		if err != nil {
			return nil, err
		}
		if b.WriteString(s); b.Len() > maxOutput {
			return nil, fmt.Errorf("more than %d bytes", maxOutput)
		}
	}
	return b.String(), nil
}

func replace(st *state, v any, a arguments) (any, error) {
	s, err := st.str(v)
	if err != nil {
		return nil, err
	}
	return replaced(s, a)
}

// replaced is Python's replace, bounded.
func replaced(s string, a arguments) (any, error) {
	old, ok1 := a.get(0, "old", nil).(string)
	with, ok2 := a.get(1, "new", nil).(string)
	n, ok3 := a.get(2, "count", int64(-1)).(int64)
	if !ok1 || !ok2 || !ok3 {
		return nil, fmt.Errorf("replace wants two texts and maybe a count")
	}
	if count := strings.Count(s, old); len(with) > 0 && count > maxOutput/len(with) {
		return nil, fmt.Errorf("more than %d bytes", maxOutput)
	}
	return strings.Replace(s, old, with, int(max(-1, min(n, maxOutput)))), nil
}

func reverse(st *state, v any, _ arguments) (any, error) {
	all, err := st.elements(v)
	if err != nil {
		return nil, err
	}
	l := &List{Items: slices.Clone(all)}
	slices.Reverse(l.Items)
	if _, ok := v.(string); ok {
		return join(st, l, arguments{})
	}
	return l, nil
}

func unique(st *state, v any, _ arguments) (any, error) {
	all, err := st.elements(v)
	if err != nil {
		return nil, err
	}
	l := &List{}
	for _, x := range all {
		if err := st.charge(0); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(l.Items, func(y any) bool { return st.equal(x, y) }) {
			l.Items = append(l.Items, x)
		}
	}
	return l, nil
}

func sum(st *state, v any, _ arguments) (any, error) {
	all, err := st.elements(v)
	var total any = int64(0)
	for i := 0; err == nil && i < len(all); i++ {
		total, err = arithmetic("+", total, all[i])
	}
	return total, err
}

// extreme returns the filter for the largest (1) or smallest (-1).
func extreme(sign int) filter {
	return func(st *state, v any, _ arguments) (any, error) {
		all, err := st.elements(v)
		if err != nil || len(all) == 0 {
			return Undefined("an extreme of nothing"), err
		}
		best := all[0]
		for _, x := range all[1:] {
			c, err := order(x, best)
			if err != nil {
				return nil, err
			}
			if c*sign > 0 {
				best = x
			}
		}
		return best, nil
	}
}

func sorted(st *state, v any, a arguments) (any, error) {
	all, err := st.elements(v)
	if err != nil {
		return nil, err
	}
	l := &List{Items: slices.Clone(all)}
	name, _ := a.get(2, "attribute", nil).(string)
	key := func(x any) any {
		if name != "" {
			x, err = st.path(x, name)
		}
		if s, ok := x.(string); ok && !truth(a.get(1, "case_sensitive", false)) {
			return strings.ToLower(s)
		}
		return x
	}
	var wrong error
	slices.SortStableFunc(l.Items, func(x, y any) int {
		c, err := order(key(x), key(y))
		if err != nil {
			wrong = err
		}
		if truth(a.get(0, "reverse", false)) {
			return -c
		}
		return c
	})
	return l, wrong
}

// path follows names with dots between.
func (st *state) path(v any, names string) (any, error) {
	for _, n := range strings.Split(names, ".") {
		switch d := v.(type) {
		case *Dict:
			w, ok := d.Get(n)
			if !ok {
				w = Undefined(n)
			}
			v = w
		case *List:
			k, err := strconv.Atoi(n)
			if err != nil || k < 0 || k >= len(d.Items) {
				return Undefined(n), nil
			}
			v = d.Items[k]
		default:
			return Undefined(n), nil
		}
	}
	return v, nil
}

// mapped is map(attribute=…, default=…) or map("filter", arguments…).
func mapped(st *state, v any, a arguments) (any, error) {
	all, err := st.elements(v)
	if err != nil {
		return nil, err
	}
	l := &List{Items: make([]any, len(all))}
	name, byName := a.named["attribute"].(string)
	var f filter
	if !byName {
		s, _ := a.get(0, "", nil).(string)
		if f = filters[s]; f == nil {
			return nil, fmt.Errorf("the filter %q is not supported", s)
		}
		a.list = a.list[1:]
	}
	for i, x := range all {
		if err := st.charge(0); err != nil {
			return nil, err
		}
		if !byName {
			l.Items[i], err = f(st, x, a)
		} else if l.Items[i], err = st.path(x, name); err == nil {
			if _, undefined := l.Items[i].(Undefined); undefined {
				l.Items[i] = a.get(99, "default", l.Items[i])
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

// chosen returns select, reject, selectattr or rejectattr.
func chosen(keep, byName bool) filter {
	return func(st *state, v any, a arguments) (any, error) {
		all, err := st.elements(v)
		if err != nil {
			return nil, err
		}
		name := ""
		if byName {
			name, _ = a.get(0, "", nil).(string)
			if len(a.list) == 0 {
				return nil, fmt.Errorf("without an attribute")
			}
			a.list = a.list[1:]
		}
		t := func(_ *state, v any, _ []any) (bool, error) { return truth(v), nil }
		if len(a.list) > 0 {
			s, _ := a.list[0].(string)
			if tests[s] == nil {
				return nil, fmt.Errorf("the test %q is not supported", s)
			}
			t = tests[s]
			a.list = a.list[1:]
		}
		l := &List{}
		for _, x := range all {
			y := x
			if byName {
				if y, err = st.path(x, name); err != nil {
					return nil, err
				}
			}
			ok, err := t(st, y, a.list)
			if err == nil {
				err = st.charge(0)
			}
			if err != nil {
				return nil, err
			}
			if ok == keep {
				l.Items = append(l.Items, x)
			}
		}
		return l, nil
	}
}
