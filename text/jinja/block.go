package jinja

import "slices"

// block parses statements up to a tag that ends or divides one, or the end;
// of such a tag "{%" is not taken.
func (p *parser) block() ([]stmt, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	var body []stmt
	for {
		switch t := p.peek(); t.kind {
		case tText:
			p.at++
			body = append(body, textStmt(t.text))
		case tPrint:
			p.at++
			x, err := p.tuple()
			if err != nil {
				return nil, err
			}
			if t := p.next(); t.kind != tPrintEnd {
				return nil, p.fail("%s, want \"}}\"", t)
			}
			body = append(body, printStmt{x})
		case tBlock:
			if n := p.tokens[p.at+1]; n.kind == tName && slices.Contains(enders, n.text) {
				return body, nil
			}
			p.at++
			s, err := p.statement()
			if err != nil {
				return nil, err
			}
			body = append(body, s...)
		default:
			return body, nil
		}
	}
}

var enders = []string{"elif", "else", "endif", "endfor", "endset", "endmacro", "endgeneration"}

// tuple parses an expression, or several with commas between.
func (p *parser) tuple() (expr, error) {
	x, err := p.expr()
	if err != nil || !p.is(",") {
		return x, err
	}
	all := []expr{x}
	for p.take(",") {
		if x, err = p.expr(); err != nil {
			return nil, err
		}
		all = append(all, x)
	}
	return &listExpr{all, true}, nil
}

func (p *parser) blockEnd() error {
	if t := p.peek(); t.kind != tBlockEnd {
		return p.fail("%s, want \"%%}\"", t)
	}
	p.at++
	return nil
}

// end takes "{% name %}".
func (p *parser) end(name string) error {
	if p.peek().kind != tBlock {
		return p.fail("%s, want {%% %s %%}", p.peek(), name)
	}
	p.at++
	if err := p.want(name); err != nil {
		return err
	}
	if name == "endmacro" && p.peek().kind == tName {
		p.at++
	}
	return p.blockEnd()
}

// statement parses one after "{%".
func (p *parser) statement() ([]stmt, error) {
	t := p.next()
	switch t.text {
	case "if":
		s, err := p.ifStatement()
		return []stmt{s}, err
	case "for":
		s, err := p.forStatement(t.line)
		return []stmt{s}, err
	case "set":
		s, err := p.setStatement(t.line)
		return []stmt{s}, err
	case "macro":
		s, err := p.macroStatement()
		return []stmt{s}, err
	case "break", "continue":
		if p.loops == 0 {
			return nil, p.fail("%s outside a loop", t.text)
		}
		s := jumpStmt{errBreak}
		if t.text == "continue" {
			s.err = errContinue
		}
		return []stmt{s}, p.blockEnd()
	case "generation": // marks what an assistant said; the text is the same
		if err := p.blockEnd(); err != nil {
			return nil, err
		}
		body, err := p.block()
		if err == nil {
			err = p.end("endgeneration")
		}
		return body, err
	}
	return nil, p.fail("the statement %s is not supported", t)
}

func (p *parser) ifStatement() (stmt, error) {
	s := &ifStmt{}
	for more := true; more; {
		c, err := p.expr()
		if err != nil {
			return nil, err
		}
		for {
			if err := p.blockEnd(); err != nil {
				return nil, err
			}
			body, err := p.block()
			if err != nil {
				return nil, err
			}
			s.conds, s.body = append(s.conds, c), append(s.body, body)
			if p.peek().kind != tBlock {
				return nil, p.fail("%s, want {%% endif %%}", p.peek())
			}
			next := p.tokens[p.at+1].text
			if next == "elif" && c != nil {
				p.at += 2
				break
			}
			if next == "else" && c != nil {
				p.at += 2
				c = nil
				continue
			}
			more = false
			break
		}
	}
	return s, p.end("endif")
}

// names parses targets with commas between, maybe in a parenthesis.
func (p *parser) names() ([]expr, error) {
	bracket := p.take("(")
	var all []expr
	for {
		line := p.peek().line
		n, err := p.name()
		if err != nil {
			return nil, err
		}
		var x expr = &variable{n, line}
		if p.peek().kind == tOp && p.take(".") {
			a, err := p.name()
			if err != nil {
				return nil, err
			}
			x = &attribute{x, a, line}
		}
		all = append(all, x)
		if !p.take(",") {
			break
		}
	}
	if bracket {
		return all, p.want(")")
	}
	return all, nil
}

func (p *parser) forStatement(line int) (stmt, error) {
	s := &forStmt{line: line}
	var err error
	if s.targets, err = p.names(); err != nil {
		return nil, err
	}
	if err = p.want("in"); err != nil {
		return nil, err
	}
	// The iterable takes no "if": that filters the loop.
	if s.x, err = p.or(); err != nil {
		return nil, err
	}
	if p.take("if") {
		if s.filter, err = p.expr(); err != nil {
			return nil, err
		}
	}
	if p.is("recursive") {
		return nil, p.fail("recursive loops are not supported")
	}
	if err = p.blockEnd(); err != nil {
		return nil, err
	}
	p.loops++
	s.body, err = p.block()
	p.loops--
	if err != nil {
		return nil, err
	}
	if p.peek().kind == tBlock && p.tokens[p.at+1].text == "else" {
		p.at += 2
		if err = p.blockEnd(); err != nil {
			return nil, err
		}
		if s.none, err = p.block(); err != nil {
			return nil, err
		}
	}
	return s, p.end("endfor")
}

func (p *parser) setStatement(line int) (stmt, error) {
	s := &setStmt{line: line}
	var err error
	if s.targets, err = p.names(); err != nil {
		return nil, err
	}
	if p.take("=") {
		if s.x, err = p.tuple(); err != nil {
			return nil, err
		}
		return s, p.blockEnd()
	}
	if err = p.blockEnd(); err != nil {
		return nil, err
	}
	if s.body, err = p.block(); err != nil {
		return nil, err
	}
	return s, p.end("endset")
}

func (p *parser) macroStatement() (stmt, error) {
	s := &macroStmt{}
	var err error
	if s.name, err = p.name(); err != nil {
		return nil, err
	}
	if err = p.want("("); err != nil {
		return nil, err
	}
	for !p.take(")") {
		n, err := p.name()
		if err != nil {
			return nil, err
		}
		var d expr
		if p.take("=") {
			if d, err = p.expr(); err != nil {
				return nil, err
			}
		}
		s.params, s.defaults = append(s.params, n), append(s.defaults, d)
		if !p.take(",") && !p.is(")") {
			return nil, p.fail("%s, want \")\"", p.peek())
		}
	}
	if err = p.blockEnd(); err != nil {
		return nil, err
	}
	loops := p.loops
	p.loops = 0
	s.body, err = p.block()
	p.loops = loops
	if err != nil {
		return nil, err
	}
	return s, p.end("endmacro")
}
