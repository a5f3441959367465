package text

import (
	"slices"
	"testing"
	"unicode/utf8"
)

func TestBytesAreTheirOwnTokens(t *testing.T) {
	b, err := BytesJSON()
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if end, ok := tok.Special("eos"); !ok || end != 256 || tok.Size() != 257 {
		t.Errorf("end %d (%t) of %d tokens", end, ok, tok.Size())
	}
	var all []byte
	for i := range 256 {
		all = append(all, byte(i))
	}
	for _, s := range []string{"", "func main() {\n\tprintln(\"é 漢 🙂\")\n}\n", "a  b\r\n", string(all)} {
		ids := tok.AppendPlain(nil, s)
		want := make([]int32, len(s))
		for i := range len(s) {
			want[i] = int32(s[i])
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%q: %v", s, ids)
		}
		if back := tok.Decode(ids, false); back != s && utf8.ValidString(s) {
			t.Errorf("%q comes back as %q", s, back)
		}
	}
}
