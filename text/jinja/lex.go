package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind int

const (
	tEOF tokenKind = iota
	tText
	tPrint    // {{
	tPrintEnd // }}
	tBlock    // {%
	tBlockEnd // %}
	tName
	tString
	tInt
	tFloat
	tOp
)

type token struct {
	kind tokenKind
	text string
	line int
}

func (t token) String() string {
	if t.kind == tEOF {
		return "end of the template"
	}
	return strconv.Quote(t.text)
}

type lexer struct {
	s      string
	at     int
	tokens []token
}

func (l *lexer) line(at int) int { return 1 + strings.Count(l.s[:at], "\n") }

func (l *lexer) add(k tokenKind, s string, at int) {
	l.tokens = append(l.tokens, token{k, s, 0})
	l.tokens[len(l.tokens)-1].line = at
}

// lex cuts a template into text, and the tokens inside its tags.
func lex(s string) ([]token, error) {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.TrimSuffix(s, "\n") // Jinja2 keeps no newline at the end
	l := &lexer{s: s}
	trim := false // strip white space at the start of the text that follows
	for l.at < len(l.s) {
		open := l.nextTag()
		text := l.s[l.at:open]
		if trim {
			text = strings.TrimLeftFunc(text, unicode.IsSpace)
		}
		if open == len(l.s) {
			l.addText(text)
			break
		}
		text = l.beforeTag(text, open)
		l.addText(text)
		l.at = open + 2
		if c := l.peekByte(); c == '-' || c == '+' {
			l.at++
		}
		var err error
		if trim, err = l.tag(l.s[open : open+2]); err != nil {
			return nil, fmt.Errorf("line %d: %w", l.line(open), err)
		}
	}
	l.add(tEOF, "", l.line(len(l.s)))
	return l.tokens, nil
}

func (l *lexer) addText(s string) {
	if s != "" {
		l.add(tText, s, 0)
	}
}

func (l *lexer) peekByte() byte {
	if l.at < len(l.s) {
		return l.s[l.at]
	}
	return 0
}

// nextTag returns where the next tag begins, or the end.
func (l *lexer) nextTag() int {
	for i := l.at; i+1 < len(l.s); i++ {
		if l.s[i] == '{' && (l.s[i+1] == '{' || l.s[i+1] == '%' || l.s[i+1] == '#') {
			return i
		}
	}
	return len(l.s)
}

// beforeTag applies "-" and lstrip_blocks to the text before a tag.
func (l *lexer) beforeTag(text string, open int) string {
	mark := byte(0)
	if open+2 < len(l.s) {
		mark = l.s[open+2]
	}
	if mark == '-' {
		return strings.TrimRightFunc(text, unicode.IsSpace)
	}
	if l.s[open+1] == '{' || mark == '+' {
		return text
	}
	start := strings.LastIndexByte(l.s[:open], '\n') + 1
	if strings.TrimLeft(l.s[start:open], " \t\v\f\r") != "" || len(text) < open-start {
		return text // something else stands on the line
	}
	return text[:len(text)-(open-start)]
}

// tag reads a tag to its end; trim tells that it ends with "-".
func (l *lexer) tag(open string) (trim bool, err error) {
	if open == "{#" {
		end := strings.Index(l.s[l.at:], "#}")
		if end < 0 {
			return false, fmt.Errorf("a comment without end")
		}
		trim = end > 0 && l.s[l.at+end-1] == '-'
		keep := end > 0 && l.s[l.at+end-1] == '+'
		l.at += end + 2
		if !keep {
			l.dropNewline()
		}
		return trim, nil
	}
	begin, end, close := tPrint, tPrintEnd, "}}"
	if open == "{%" {
		begin, end, close = tBlock, tBlockEnd, "%}"
	}
	line := l.line(l.at)
	l.add(begin, open, line)
	depth := 0
	for {
		l.skipSpace()
		rest := l.s[l.at:]
		if depth == 0 {
			for _, mark := range []string{"", "-", "+"} {
				if !strings.HasPrefix(rest, mark+close) {
					continue
				}
				l.at += len(mark) + 2
				l.add(end, close, line)
				if end == tBlockEnd && mark == "" {
					l.dropNewline()
				}
				return mark == "-", nil
			}
		}
		if rest == "" {
			return false, fmt.Errorf("a tag without %s", close)
		}
		n := len(l.tokens)
		if err := l.next(line); err != nil {
			return false, err
		}
		if t := l.tokens[n]; t.kind == tOp {
			depth += strings.Count("([{", t.text) - strings.Count(")]}", t.text)
		}
		line = l.tokens[n].line
	}
}

// dropNewline is trim_blocks: the first newline after a tag goes.
func (l *lexer) dropNewline() {
	if l.peekByte() == '\n' {
		l.at++
	}
}

func (l *lexer) skipSpace() {
	for l.at < len(l.s) && strings.IndexByte(" \t\r\n\v\f", l.s[l.at]) >= 0 {
		l.at++
	}
}

// operators, longest first.
var operators = []string{"**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ".", ",", ":", "|"}

// next reads one token inside a tag.
func (l *lexer) next(line int) error {
	rest := l.s[l.at:]
	r, _ := utf8.DecodeRuneInString(rest)
	switch {
	case r == '"' || r == '\'':
		s, n, err := unquote(rest)
		if err != nil {
			return err
		}
		l.add(tString, s, line+strings.Count(rest[:n], "\n"))
		l.at += n
	case r >= '0' && r <= '9':
		n := strings.IndexFunc(rest, func(r rune) bool { return !(r >= '0' && r <= '9' || r == '_') })
		if n < 0 {
			n = len(rest)
		}
		kind := tInt
		if n+1 < len(rest) && rest[n] == '.' && rest[n+1] >= '0' && rest[n+1] <= '9' {
			kind = tFloat
			for n++; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
			}
		}
		if e := exponent(rest[n:]); e > 0 {
			kind, n = tFloat, n+e
		}
		l.add(kind, strings.ReplaceAll(rest[:n], "_", ""), line)
		l.at += n
	case r == '_' || unicode.IsLetter(r):
		n := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		if n < 0 {
			n = len(rest)
		}
		l.add(tName, rest[:n], line)
		l.at += n
	default:
		for _, op := range operators {
			if strings.HasPrefix(rest, op) {
				l.add(tOp, op, line)
				l.at += len(op)
				return nil
			}
		}
		return fmt.Errorf("unexpected character %q", r)
	}
	return nil
}

// exponent returns the length of e5, e+5 or e-5 at the start of s, else 0.
func exponent(s string) int {
	n := 1
	if s == "" || s[0]|0x20 != 'e' {
		return 0
	}
	if len(s) > 1 && (s[1] == '+' || s[1] == '-') {
		n++
	}
	start := n
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	if n == start {
		return 0
	}
	return n
}

// unquote reads a Python string literal and returns its length in s.
func unquote(s string) (string, int, error) {
	quote := s[0]
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return b.String(), i + 1, nil
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		default:
			i++
			n, err := escape(&b, s[i:])
			if err != nil {
				return "", 0, err
			}
			i += n - 1
		}
	}
	return "", 0, fmt.Errorf("a string without end")
}

var escapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '\\': "\\", '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", '0': "\x00", '\n': ""}

// escape writes what follows a backslash and returns its length.
func escape(b *strings.Builder, s string) (int, error) {
	if e, ok := escapes[s[0]]; ok {
		b.WriteString(e)
		return 1, nil
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]]
	if digits == 0 {
		b.WriteByte('\\')
		b.WriteByte(s[0])
		return 1, nil
	}
	if len(s) <= digits {
		return 0, fmt.Errorf("a short escape in a string")
	}
	v, err := strconv.ParseUint(s[1:1+digits], 16, 32)
	if err != nil {
		return 0, fmt.Errorf("the escape %q in a string", s[:1+digits])
	}
	b.WriteRune(rune(v))
	return 1 + digits, nil
}
