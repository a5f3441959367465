package text

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// str returns the content as a string.
func (p *jsonPart) str() (string, error) {
	var s string
	if err := json.Unmarshal(p.Content, &s); err != nil {
		return "", fmt.Errorf("%s: content: %w", p.Type, err)
	}
	return s, nil
}

func (p *jsonPart) normalizer() (normalizer, error) {
	if p == nil {
		return nil, nil
	}
	switch p.Type {
	case "Sequence":
		var all normalizer
		for i := range p.Normalizers {
			n, err := p.Normalizers[i].normalizer()
			if err != nil {
				return nil, err
			}
			all = append(all, n...)
		}
		return all, nil
	case "BertNormalizer":
		lower := flag(p.Lowercase, true)
		return bertNormalizer(flag(p.CleanText, true), flag(p.Chinese, true), flag(p.StripAccents, lower), lower), nil
	case "Lowercase":
		return normalizer{lowercase}, nil
	case "StripAccents":
		return normalizer{dropAllMarks}, nil
	case "NFD":
		return normalizer{decompose(norm.NFD)}, nil
	case "NFKD":
		return normalizer{decompose(norm.NFKD)}, nil
	case "NFC":
		return normalizer{compose(norm.NFC)}, nil
	case "NFKC":
		return normalizer{compose(norm.NFKC)}, nil
	case "Strip":
		return normalizer{strip(flag(p.StripLeft, true), flag(p.StripRight, true))}, nil
	case "Prepend":
		return normalizer{prepend(p.Prepend)}, nil
	case "Replace":
		with, err := p.str()
		if err != nil {
			return nil, err
		}
		if p.Pattern.String == nil || *p.Pattern.String == "" {
			return nil, fmt.Errorf("Replace: only a string that is not empty can be replaced")
		}
		return normalizer{replaceAll(*p.Pattern.String, with)}, nil
	}
	return nil, fmt.Errorf("%s is not supported", quote(p.Type))
}

func (p *jsonPart) preTokenizer() (preTokenizer, error) {
	if p == nil {
		return nil, nil
	}
	switch p.Type {
	case "Sequence":
		var all preTokenizer
		for i := range p.Pretokenizers {
			t, err := p.Pretokenizers[i].preTokenizer()
			if err != nil {
				return nil, err
			}
			all = append(all, t...)
		}
		return all, nil
	case "BertPreTokenizer":
		return bertCuts, nil
	case "ByteLevel":
		var t preTokenizer
		if flag(p.AddPrefixSpace, true) {
			t = append(t, prefixSpace)
		}
		if flag(p.UseRegex, true) {
			t = append(t, byScanner(gpt2Scanner.next))
		}
		return t, nil
	case "Whitespace":
		return preTokenizer{whitespaceCuts}, nil
	case "WhitespaceSplit":
		return preTokenizer{byRune(unicode.IsSpace, removed)}, nil
	case "Digits":
		if p.Individual {
			return preTokenizer{byRune(isNumber, isolated)}, nil
		}
		return preTokenizer{byRune(isNumber, contiguous)}, nil
	case "Punctuation":
		b, ok := behaviors[p.Behavior]
		if p.Behavior == "" {
			b, ok = isolated, true
		}
		if !ok {
			return nil, fmt.Errorf("Punctuation: behavior %s", quote(p.Behavior))
		}
		return preTokenizer{byRune(isPunctuation, b)}, nil
	case "Metaspace":
		return p.metaspace()
	case "Split":
		return p.split()
	}
	return nil, fmt.Errorf("%s is not supported", quote(p.Type))
}

func (p *jsonPart) metaspace() (preTokenizer, error) {
	scheme, ok := map[string]int{"": prependAlways, "always": prependAlways, "first": prependFirst, "never": prependNever}[p.PrependScheme]
	if !ok {
		return nil, fmt.Errorf("Metaspace: prepend_scheme %s, want always, first or never", quote(p.PrependScheme))
	}
	if p.PrependScheme == "" && !flag(p.AddPrefixSpace, true) {
		scheme = prependNever
	}
	if p.Replacement == "" {
		return nil, fmt.Errorf("Metaspace: no replacement")
	}
	return metaspace(p.Replacement, scheme, flag(p.Split, true)), nil
}

func (p *jsonPart) split() (preTokenizer, error) {
	b, ok := behaviors[p.Behavior]
	if !ok {
		return nil, fmt.Errorf("Split: behavior %s", quote(p.Behavior))
	}
	switch {
	case p.Pattern.String != nil && *p.Pattern.String != "" && !p.Invert:
		return preTokenizer{byString(*p.Pattern.String, b)}, nil
	case p.Pattern.Regex == nil:
		return nil, fmt.Errorf("Split: no pattern that is supported")
	}
	known, ok := knownScanners[*p.Pattern.Regex]
	if ok && (b == isolated && !p.Invert || b == removed && p.Invert) {
		return preTokenizer{byScanner(known.next)}, nil
	}
	c, err := byPattern(*p.Pattern.Regex, b, p.Invert)
	if err != nil {
		return nil, fmt.Errorf("Split: %w", err)
	}
	return preTokenizer{c}, nil
}

// template sets the marks; a nil part leaves texts bare.
func (p *jsonPart) template(t *Tokenizer) error {
	if p == nil {
		return nil
	}
	switch p.Type {
	case "Sequence":
		for i := range p.Processors {
			if err := p.Processors[i].template(t); err != nil {
				return err
			}
		}
		return nil
	case "ByteLevel":
		t.post.trimOffsets, t.post.prefixSpace = flag(p.TrimOffsets, true), flag(p.AddPrefixSpace, true)
		return nil
	case "BertProcessing", "RobertaProcessing":
		cls, sep := t.pairID(p.Cls), t.pairID(p.Sep)
		if cls < 0 || sep < 0 {
			return fmt.Errorf("%s: cls %v and sep %v, want tokens of the vocabulary", p.Type, p.Cls, p.Sep)
		}
		t.roles["cls"], t.roles["sep"] = cls, sep
		if p.Type == "BertProcessing" {
			t.post = bertTemplate(cls, sep)
			return nil
		}
		t.post = surround(cls, sep)
		second := []templatePart{{id: sep, source: -1}, {source: 1}, {id: sep, source: -1}}
		t.post.pair = append(t.post.single[:3:3], second...)
		t.post.trimOffsets, t.post.prefixSpace = flag(p.TrimOffsets, true), flag(p.AddPrefixSpace, true)
		return nil
	case "TemplateProcessing":
		var err error
		if t.post.single, err = p.pieces(t, p.Single, 1); err == nil {
			t.post.pair, err = p.pieces(t, p.Pair, 2)
		}
		return err
	}
	return fmt.Errorf("%s is not supported", quote(p.Type))
}

// pairID reads ["[CLS]", 101].
func (t *Tokenizer) pairID(v [2]any) int32 {
	s, _ := v[0].(string)
	if id, ok := t.ids[s]; ok {
		return id
	}
	return -1
}

func (p *jsonPart) pieces(t *Tokenizer, list []jsonPiece, texts int) ([]templatePart, error) {
	var parts []templatePart
	seen := 0
	for _, x := range list {
		switch {
		case x.Sequence != nil && (x.Sequence.ID == "A" || x.Sequence.ID == "B" && texts == 2):
			parts = append(parts, templatePart{source: int8(x.Sequence.ID[0] - 'A'), kind: x.Sequence.Type})
			seen++
		case x.Special != nil:
			for _, id := range p.Special[x.Special.ID].IDs {
				if id < 0 || id >= int64(len(t.tokens)) {
					return nil, fmt.Errorf("token %s has id %d, want 0..%d", quote(x.Special.ID), id, len(t.tokens)-1)
				}
				parts = append(parts, templatePart{id: int32(id), source: -1, kind: x.Special.Type})
			}
			if len(p.Special[x.Special.ID].IDs) == 0 {
				return nil, fmt.Errorf("token %s has no ids", quote(x.Special.ID))
			}
		default:
			return nil, fmt.Errorf("template for %d texts: a piece that is neither a text nor a token", texts)
		}
	}
	if seen != texts && !(texts == 2 && len(list) == 0) || len(parts) > 64 {
		return nil, fmt.Errorf("template for %d texts has %d of them in %d pieces", texts, seen, len(parts))
	}
	return parts, nil
}

func (p *jsonPart) decoder() (decoder, error) {
	if p == nil {
		return decoder{kind: decodeWords}, nil
	}
	switch p.Type {
	case "ByteLevel":
		return decoder{kind: decodeBytes}, nil
	case "WordPiece":
		return decoder{kind: decodeBert, prefix: p.Prefix, cleanup: flag(p.Cleanup, true)}, nil
	case "Metaspace":
		d := decoder{kind: decodePieces, replace: [][2]string{{p.Replacement, " "}}, stripLeft: 1}
		if p.Replacement == "" {
			return d, fmt.Errorf("Metaspace: no replacement")
		}
		if p.PrependScheme == "never" || p.PrependScheme == "" && !flag(p.AddPrefixSpace, true) {
			d.stripLeft = 0
		}
		return d, nil
	case "Sequence":
		return p.pieceDecoder()
	}
	return decoder{}, fmt.Errorf("%s is not supported", quote(p.Type))
}

// pieceDecoder reads a chain of replacements, byte fallback, fusing and
// stripping, as Llama's tokenizers have.
func (p *jsonPart) pieceDecoder() (decoder, error) {
	d := decoder{kind: decodePieces}
	fused := false
	var names []string
	for i := range p.Decoders {
		q := &p.Decoders[i]
		names = append(names, q.Type)
		switch {
		case q.Type == "Replace" && q.Pattern.String != nil && *q.Pattern.String != "" && !fused:
			with, err := q.str()
			if err != nil {
				return d, err
			}
			d.replace = append(d.replace, [2]string{*q.Pattern.String, with})
		case q.Type == "ByteFallback" && !fused:
			d.byteFallback = true
		case q.Type == "Fuse":
			fused = true
		case q.Type == "Metaspace" && len(p.Decoders) == 1, q.Type == "ByteLevel" && len(p.Decoders) == 1:
			return q.decoder()
		case q.Type == "Strip" && fused && q.Stop == 0 && string(q.Content) == `" "` && q.Start >= 0:
			d.stripLeft = q.Start
		default:
			return d, fmt.Errorf("the chain %s is not supported", quote(strings.Join(names, ", ")))
		}
	}
	return d, nil
}
