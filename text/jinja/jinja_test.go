package jinja

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestErrorsNameWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"{% include 'x' %}", `the statement "include" is not supported`},
		{"{% import 'x' as y %}", "not supported"},
		{"a\n{{ x | nosuch }}", `line 2: the filter "nosuch"`},
		{"{{ x is nosuch }}", `the test "nosuch"`},
		{"{{ x", "a tag without }}"},
		{"{# x", "a comment without end"},
		{"{{ 'x }}", "a string without end"},
		{"{% if x %}", "endif"},
		{"{% for x in y recursive %}{% endfor %}", "recursive"},
		{"{% endif %}", "unexpected"},
		{"{% break %}", "outside a loop"},
		{"{{ x.y.z }}", `"y" of undefined`},
		{"{{ 1 + 'x' }}", "a number + text"},
		{"{{ 1 / 0 }}", "division by zero"},
		{"{{ raise_exception('no') }}", "refuses: [no]"},
		{"{{ x() }}", "cannot be called"},
		{"{{ range(1000000) }}", "range of more than"},
		{"{{ 'a' * 100000000 }}", "at most"},
		{"{{ @ }}", "unexpected character"},
		{"{{ [1][::0] }}", "step 0"},
		{"{% set a.b = 1 %}", "only names"},
		{"{% set a, b = [1] %}", "1 values for 2 names"},
		{"{{ " + strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000) + " }}", "nested deeper"},
		{"{{ 1" + strings.Repeat("+1", 5000) + " }}", "in a row"},
		{"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested deeper"},
	} {
		p, err := Parse(c.source)
		if err == nil {
			_, err = p.Render(nil)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %v, want %q", c.source, err, c.want)
		}
	}
}

func TestRenderingIsBounded(t *testing.T) {
	for _, source := range []string{
		"{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
		"{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
		"{% set ns = namespace(s=[1]) %}{% for a in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
		"{% set ns = namespace(s=[1]) %}{% for a in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}",
		"{% set ns = namespace(s=[1]) %}{% for a in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s | tojson }}",
		"{% set ns = namespace(s=[1], t=[1]) %}{% for a in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.s == ns.t }}",
		"{% for a in range(99999) %}{{ 'xxxxxxxx' * 999999 }}{% endfor %}",
		"{{ ('x' * 9999999) | replace('x', 'y' * 9999) }}",
	} {
		start := time.Now()
		p, err := Parse(source)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = p.Render(nil); err == nil {
			t.Errorf("%s: no error", source)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("%s: %v", source, d)
		}
	}
}

func TestUnsupportedGoValuesAreRefused(t *testing.T) {
	p, err := Parse("{{ x }}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Render(map[string]any{"x": struct{}{}}); err == nil {
		t.Error("a struct was taken")
	}
	if s, err := p.Render(map[string]any{"x": map[string]any{"b": 1, "a": []any{nil}}}); err != nil || s != "{'a': [None], 'b': 1}" {
		t.Errorf("%q %v", s, err)
	}
}

func FuzzRender(f *testing.F) {
	f.Add("{% for m in messages %}{{ m.role | upper ~ m['content'][1:] }}{% endfor %}")
	f.Add("{%- macro a(b=1) %}{{ b }}{% endmacro %}{{ a(b=2) | tojson(indent=2) }}{# c -#}")
	f.Add("{% set ns = namespace(x=1) %}{% if ns.x is odd and not false %}{% set ns.x = 'a'.split('b') | join %}{% endif %}{{ ns }}")
	f.Add("{{ {'a': -1|abs}.items() | list | sort(attribute='0') | map(attribute='1') | sum // 2 % 3 ** 2 }}")
	f.Fuzz(func(t *testing.T, source string) {
		if len(source) > 4096 {
			return
		}
		p, err := Parse(source)
		if err != nil {
			return
		}
		messages := []any{map[string]any{"role": "user", "content": "hi"}}
		s, err := p.Render(map[string]any{"messages": messages})
		if len(s) > maxOutput {
			t.Errorf("%d bytes, %v", len(s), err)
		}
	})
}

func Example() {
	t, err := Parse("{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}")
	if err != nil {
		panic(err)
	}
	s, err := t.Render(map[string]any{"messages": []any{map[string]any{"role": "user", "content": " Hello "}}})
	fmt.Println(s, err)
	// Output: <user>Hello <nil>
}
