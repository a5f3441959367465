package jinja

import (
	"fmt"
	"slices"
	"strings"
)

// method returns a method of a value, nil if it has none of that name.
func method(st *state, v any, name string) any {
	switch v := v.(type) {
	case string:
		if f := textMethods[name]; f != nil {
			return Func(func(args []any, named map[string]any) (any, error) { return f(st, v, arguments{args, named}) })
		}
	case *Dict:
		return dictMethod(v, name)
	}
	return nil
}

func (d *Dict) items() *List {
	l := &List{}
	for _, k := range d.Keys {
		l.Items = append(l.Items, &List{[]any{k, d.values[k]}, true})
	}
	return l
}

func dictMethod(d *Dict, name string) any {
	switch name {
	case "items":
		return Func(func([]any, map[string]any) (any, error) { return d.items(), nil })
	case "keys", "values":
		return Func(func([]any, map[string]any) (any, error) {
			l := &List{}
			for _, k := range d.Keys {
				var v any = k
				if name == "values" {
					v = d.values[k]
				}
				l.Items = append(l.Items, v)
			}
			return l, nil
		})
	case "get":
		return Func(func(args []any, named map[string]any) (any, error) {
			a := arguments{args, named}
			k, ok := a.get(0, "key", nil).(string)
			if v, found := d.Get(k); ok && found {
				return v, nil
			}
			return a.get(1, "default", nil), nil
		})
	}
	return nil
}

type textMethod func(st *state, s string, a arguments) (any, error)

// textMethods are all that are supported.
var textMethods = map[string]textMethod{
	"strip":      func(_ *state, s string, a arguments) (any, error) { return cutset(s, a.get(0, "", nil), true, true) },
	"lstrip":     func(_ *state, s string, a arguments) (any, error) { return cutset(s, a.get(0, "", nil), true, false) },
	"rstrip":     func(_ *state, s string, a arguments) (any, error) { return cutset(s, a.get(0, "", nil), false, true) },
	"upper":      func(_ *state, s string, _ arguments) (any, error) { return strings.ToUpper(s), nil },
	"lower":      func(_ *state, s string, _ arguments) (any, error) { return strings.ToLower(s), nil },
	"title":      func(_ *state, s string, _ arguments) (any, error) { return title(s), nil },
	"capitalize": func(_ *state, s string, _ arguments) (any, error) { return capitalize(s), nil },
	"replace":    func(_ *state, s string, a arguments) (any, error) { return replaced(s, a) },
	"split":      split,
	"splitlines": func(_ *state, s string, _ arguments) (any, error) {
		return texts(strings.Split(strings.TrimSuffix(s, "\n"), "\n")), nil
	},
	"join": func(st *state, s string, a arguments) (any, error) {
		return join(st, a.get(0, "", nil), arguments{list: []any{s}})
	},
	"startswith": affix(strings.HasPrefix),
	"endswith":   affix(strings.HasSuffix),
	"find": func(_ *state, s string, a arguments) (any, error) {
		sub, ok := a.get(0, "", nil).(string)
		if !ok {
			return nil, fmt.Errorf("find wants text")
		}
		i := strings.Index(s, sub)
		if i < 0 {
			return int64(-1), nil
		}
		return runeCount(s[:i]), nil
	},
	"count": func(_ *state, s string, a arguments) (any, error) {
		sub, ok := a.get(0, "", nil).(string)
		if !ok {
			return nil, fmt.Errorf("count wants text")
		}
		return int64(strings.Count(s, sub)), nil
	},
}

func texts(parts []string) *List {
	l := &List{}
	for _, p := range parts {
		l.Items = append(l.Items, p)
	}
	return l
}

// split is Python's, by white space or by a text, at most so many times.
func split(st *state, s string, a arguments) (any, error) {
	n, ok := a.get(1, "maxsplit", int64(-1)).(int64)
	if !ok {
		return nil, fmt.Errorf("split at most %s times", kindName(a.get(1, "maxsplit", nil)))
	}
	if err := st.charge(64 * len(s)); err != nil {
		return nil, err
	}
	if n < 0 || n > int64(len(s)) {
		n = int64(len(s))
	}
	switch sep := a.get(0, "sep", nil).(type) {
	case nil:
		var parts []string
		rest := strings.TrimSpace(s)
		for rest != "" {
			i := strings.IndexAny(rest, " \t\n\v\f\r")
			if i < 0 || int64(len(parts)) == n {
				parts = append(parts, rest)
				break
			}
			parts = append(parts, rest[:i])
			rest = strings.TrimSpace(rest[i:])
		}
		return texts(parts), nil
	case string:
		if sep == "" {
			return nil, fmt.Errorf("split by nothing")
		}
		return texts(strings.SplitN(s, sep, int(n)+1)), nil
	default:
		return nil, fmt.Errorf("split by %s", kindName(sep))
	}
}

// affix makes startswith or endswith, of a text or any of several.
func affix(has func(s, part string) bool) textMethod {
	return func(_ *state, s string, a arguments) (any, error) {
		list := []any{a.get(0, "", nil)}
		if l, ok := list[0].(*List); ok {
			list = l.Items
		}
		if slices.ContainsFunc(list, func(v any) bool { return !is[string](v) }) {
			return nil, fmt.Errorf("wants text or a list of text")
		}
		return slices.ContainsFunc(list, func(v any) bool { return has(s, v.(string)) }), nil
	}
}
