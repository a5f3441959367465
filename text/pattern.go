package text

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// byPattern cuts by a regular expression that no scanner is written for, in
// linear time with package regexp. Of what it lacks it knows the one thing
// that tokenizers use: \s+(?!\S) before \s+ at the end.
func byPattern(pattern string, b behavior, invert bool) (cut, error) {
	if len(pattern) > 4096 {
		return nil, fmt.Errorf("a pattern of %d bytes, want at most 4096", len(pattern))
	}
	body, tail := strings.CutSuffix(pattern, `|\s+(?!\S)|\s+`)
	if tail {
		body += `|(?P<tail>\s+)`
	}
	body, err := unicodeSpaces(body)
	var re *regexp.Regexp
	if err == nil {
		re, err = regexp.Compile(body)
	}
	if err != nil {
		return nil, fmt.Errorf("the pattern %s is not supported: %w", quote(pattern), err)
	}
	group := 2 * max(0, re.SubexpIndex("tail"))
	return func(p aligned, _ bool, yield func(aligned)) {
		var all []match
		at := 0
		for at < len(p.s) {
			m := re.FindStringSubmatchIndex(p.s[at:])
			if m == nil {
				break
			}
			i, j := at+m[0], at+m[1]
			if group > 0 && m[group] >= 0 && j < len(p.s) {
				// White space before a word leaves its last character to it.
				if _, n := utf8.DecodeLastRuneInString(p.s[i:j]); j-n > i {
					j -= n
				}
			}
			if i == j { // an empty match moves on by one character
				_, n := utf8.DecodeRuneInString(p.s[i:])
				j += n
				all = append(all, match{at, j, invert})
				at = j
				continue
			}
			if at < i {
				all = append(all, match{at, i, invert})
			}
			all = append(all, match{i, j, !invert})
			at = j
		}
		cutAt(p, append(all, match{at, len(p.s), invert}), b, yield)
	}, nil
}

// unicodeSpaces makes \s, \S and \d those of Unicode, as the reference has
// them; package regexp means ASCII.
func unicodeSpaces(p string) (string, error) {
	const space = `\t-\r\x{85}\p{Z}`
	var b strings.Builder
	inClass := false
	for i := 0; i < len(p); i++ {
		if p[i] != '\\' || i+1 == len(p) {
			inClass = p[i] == '[' || inClass && p[i] != ']'
			b.WriteByte(p[i])
			continue
		}
		i++
		switch c := p[i]; {
		case c == 's' && inClass:
			b.WriteString(space)
		case c == 's':
			b.WriteString("[" + space + "]")
		case c == 'S' && !inClass:
			b.WriteString("[^" + space + "]")
		case c == 'S':
			return "", fmt.Errorf("\\S inside brackets")
		case c == 'd':
			b.WriteString(`\p{Nd}`)
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}
