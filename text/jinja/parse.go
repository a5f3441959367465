package jinja

import (
	"fmt"
	"slices"
	"strconv"
)

type parser struct {
	tokens []token
	at     int
	depth  int
	loops  int // enclosing for statements
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tEOF {
		p.at++
	}
	return t
}

func (p *parser) fail(format string, args ...any) error {
	return fmt.Errorf("line %d: %w", max(1, p.peek().line), fmt.Errorf(format, args...))
}

// is reports whether the next token is that operator or name.
func (p *parser) is(texts ...string) bool {
	t := p.peek()
	return (t.kind == tOp || t.kind == tName) && slices.Contains(texts, t.text)
}

// take skips the next token if it is that operator or name.
func (p *parser) take(text string) bool {
	if !p.is(text) {
		return false
	}
	p.at++
	return true
}

func (p *parser) want(text string) error {
	if !p.take(text) {
		return p.fail("%s, want %q", p.peek(), text)
	}
	return nil
}

func (p *parser) name() (string, error) {
	t := p.next()
	if t.kind != tName {
		return "", fmt.Errorf("line %d: %s, want a name", t.line, t)
	}
	return t.text, nil
}

// enter bounds the nesting of the source.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.fail("nested deeper than %d", maxDepth)
	}
	return nil
}

// chain bounds the operators of one rank in a row, each of which nests.
func (p *parser) chain(n int) error {
	if n >= maxChain {
		return p.fail("more than %d operators in a row", maxChain)
	}
	return nil
}

func (p *parser) expr() (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	x, err := p.or()
	for n := 0; err == nil && p.take("if"); n++ {
		if err = p.chain(n); err != nil {
			break
		}
		c := &ternary{then: x}
		if c.cond, err = p.or(); err == nil && p.take("else") {
			c.other, err = p.expr()
		}
		x = c
	}
	return x, err
}

func (p *parser) or() (expr, error) {
	x, err := p.and()
	for n := 0; err == nil && p.take("or"); n++ {
		if err = p.chain(n); err != nil {
			break
		}
		var y expr
		y, err = p.and()
		x = &logic{x, y, true}
	}
	return x, err
}

func (p *parser) and() (expr, error) {
	x, err := p.not()
	for n := 0; err == nil && p.take("and"); n++ {
		if err = p.chain(n); err != nil {
			break
		}
		var y expr
		y, err = p.not()
		x = &logic{x, y, false}
	}
	return x, err
}

func (p *parser) not() (expr, error) {
	if !p.take("not") {
		return p.compare()
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	x, err := p.not()
	return &negation{x}, err
}

func (p *parser) compare() (expr, error) {
	x, err := p.sum()
	var c *comparison
	for err == nil {
		op := ""
		switch {
		case p.is("==", "!=", "<", ">", "<=", ">=", "in"):
			op = p.next().text
		case p.is("not") && p.tokens[p.at+1].text == "in":
			p.at += 2
			op = "not in"
		default:
			if c != nil {
				return c, nil
			}
			return x, nil
		}
		if c == nil {
			c = &comparison{first: x}
		}
		var y expr
		y, err = p.sum()
		c.ops, c.rest = append(c.ops, op), append(c.rest, y)
	}
	return nil, err
}

// level parses operators of one rank, from the left.
func (p *parser) level(sub func() (expr, error), ops ...string) (expr, error) {
	x, err := sub()
	for n := 0; err == nil && p.peek().kind == tOp && p.is(ops...); n++ {
		if err = p.chain(n); err != nil {
			break
		}
		op := p.next().text
		var y expr
		y, err = sub()
		x = &binary{op, x, y}
	}
	return x, err
}

func (p *parser) sum() (expr, error)     { return p.level(p.concat, "+", "-") }
func (p *parser) concat() (expr, error)  { return p.level(p.product, "~") }
func (p *parser) product() (expr, error) { return p.level(p.power, "*", "/", "//", "%") }
func (p *parser) power() (expr, error) {
	return p.level(func() (expr, error) { return p.unary(true) }, "**")
}

// unary parses a sign and a primary; filters and tests bind looser than the
// sign.
func (p *parser) unary(filters bool) (expr, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	var x expr
	var err error
	switch {
	case p.peek().kind == tOp && p.take("-"):
		x, err = p.unary(false)
		x = &binary{"-", constant{int64(0)}, x}
	case p.peek().kind == tOp && p.take("+"):
		x, err = p.unary(false)
	default:
		x, err = p.primary()
	}
	if err != nil {
		return nil, err
	}
	return p.postfix(x, filters)
}

func (p *parser) primary() (expr, error) {
	t := p.next()
	switch t.kind {
	case tString:
		s := t.text
		for p.peek().kind == tString {
			s += p.next().text
		}
		return constant{s}, nil
	case tInt:
		n, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: the number %s is too large", t.line, t.text)
		}
		return constant{n}, nil
	case tFloat:
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: the number %s", t.line, t.text)
		}
		return constant{f}, nil
	case tName:
		switch t.text {
		case "true", "True":
			return constant{true}, nil
		case "false", "False":
			return constant{false}, nil
		case "none", "None":
			return constant{nil}, nil
		}
		return &variable{t.text, t.line}, nil
	case tOp:
		switch t.text {
		case "(":
			return p.parenthesis()
		case "[":
			list, err := p.list("]")
			return &listExpr{items: list}, err
		case "{":
			return p.dict()
		}
	}
	return nil, fmt.Errorf("line %d: unexpected %s", t.line, t)
}

func (p *parser) parenthesis() (expr, error) {
	if p.take(")") {
		return &listExpr{tuple: true}, nil
	}
	x, err := p.expr()
	if err != nil {
		return nil, err
	}
	if !p.is(",") {
		return x, p.want(")")
	}
	p.at++
	rest, err := p.list(")")
	return &listExpr{append([]expr{x}, rest...), true}, err
}

// list parses expressions up to a closing bracket, which it takes.
func (p *parser) list(end string) ([]expr, error) {
	var all []expr
	for !p.take(end) {
		x, err := p.expr()
		if err != nil {
			return nil, err
		}
		all = append(all, x)
		if !p.take(",") {
			return all, p.want(end)
		}
	}
	return all, nil
}

func (p *parser) dict() (expr, error) {
	d := &dictExpr{}
	for !p.take("}") {
		k, err := p.expr()
		if err == nil {
			err = p.want(":")
		}
		if err != nil {
			return nil, err
		}
		v, err := p.expr()
		if err != nil {
			return nil, err
		}
		d.keys, d.values = append(d.keys, k), append(d.values, v)
		if !p.take(",") {
			return d, p.want("}")
		}
	}
	return d, nil
}

// postfix parses attributes, items and calls; filters and tests if wanted.
func (p *parser) postfix(x expr, filters bool) (expr, error) {
	for n := 0; ; n++ {
		line := p.peek().line
		err := p.chain(n)
		switch {
		case err != nil:
		case p.peek().kind == tOp && p.take("."):
			t := p.next()
			if t.kind != tName && t.kind != tInt {
				return nil, fmt.Errorf("line %d: %s after a dot, want a name", t.line, t)
			}
			x = &attribute{x, t.text, line}
		case p.peek().kind == tOp && p.take("["):
			x, err = p.subscript(x, line)
		case p.peek().kind == tOp && p.take("("):
			c := &call{fn: x, line: line}
			c.args, c.names, c.named, err = p.arguments()
			x = c
		case filters && p.peek().kind == tOp && p.take("|"):
			x, err = p.filter(x, line)
		case filters && p.peek().kind == tName && p.take("is"):
			x, err = p.test(x, line)
		default:
			return x, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) subscript(x expr, line int) (expr, error) {
	var part [3]expr
	n, colons := 0, 0
	for !p.take("]") {
		if p.take(":") {
			if colons++; colons > 2 {
				return nil, p.fail("a slice with more than two colons")
			}
			n = colons
			continue
		}
		if part[n] != nil {
			return nil, p.fail("%s, want \"]\"", p.peek())
		}
		var err error
		if part[n], err = p.expr(); err != nil {
			return nil, err
		}
	}
	if colons > 0 {
		return &slice{x, part, line}, nil
	}
	if part[0] == nil {
		return nil, p.fail("an empty subscript")
	}
	return &item{x, part[0], line}, nil
}

// arguments parses those of a call after its parenthesis.
func (p *parser) arguments() (args []expr, names []string, named []expr, err error) {
	for !p.take(")") {
		isNamed := p.peek().kind == tName && p.tokens[p.at+1].kind == tOp && p.tokens[p.at+1].text == "="
		if isNamed {
			names = append(names, p.next().text)
			p.at++
		}
		x, err := p.expr()
		if err != nil {
			return nil, nil, nil, err
		}
		if isNamed {
			named = append(named, x)
		} else if named != nil {
			return nil, nil, nil, p.fail("a positional argument after a named one")
		} else {
			args = append(args, x)
		}
		if !p.take(",") {
			return args, names, named, p.want(")")
		}
	}
	return args, names, named, nil
}

func (p *parser) filter(x expr, line int) (expr, error) {
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	if filters[name] == nil {
		return nil, p.fail("the filter %q is not supported", name)
	}
	f := &filterCall{x: x, name: name, line: line}
	if p.peek().kind == tOp && p.take("(") {
		f.args, f.names, f.named, err = p.arguments()
	}
	return f, err
}

func (p *parser) test(x expr, line int) (expr, error) {
	not := p.take("not")
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	if tests[name] == nil {
		return nil, p.fail("the test %q is not supported", name)
	}
	t := &testCall{x: x, name: name, line: line}
	switch k := p.peek(); {
	case k.kind == tOp && p.take("("):
		t.args, _, _, err = p.arguments()
	case k.kind == tString || k.kind == tInt || k.kind == tFloat || k.kind == tOp && (k.text == "[" || k.text == "{"),
		k.kind == tName && !slices.Contains([]string{"else", "or", "and", "is", "if", "not", "in"}, k.text):
		var y expr
		if y, err = p.primary(); err == nil {
			for err == nil && p.peek().kind == tOp && (p.is(".") || p.is("[")) {
				y, err = p.oneAccess(y)
			}
		}
		t.args = []expr{y}
	}
	if err != nil {
		return nil, err
	}
	if not {
		return &negation{t}, nil
	}
	return t, nil
}

func (p *parser) oneAccess(x expr) (expr, error) {
	line := p.peek().line
	if p.take("[") {
		return p.subscript(x, line)
	}
	p.at++
	n, err := p.name()
	return &attribute{x, n, line}, err
}
