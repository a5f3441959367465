package torchzip

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"lowbit/format/formattest"
)

// Pieces of pickle programs. A value is the ops that push it.

func str(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func num(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func tup(values ...string) string { return "(" + strings.Join(values, "") + "t" }

func nums(n ...int64) string {
	v := make([]string, len(n))
	for i := range n {
		v[i] = num(n[i])
	}
	return tup(v...)
}

func glob(module, name string) string { return "c" + module + "\n" + name + "\n" }

func call(fn string, args ...string) string { return fn + tup(args...) + "R" }

func dictOf(keysAndValues ...string) string { return "}(" + strings.Join(keysAndValues, "") + "u" }

func storageOps(class, key string, n int64, view string) string {
	return tup(str("storage"), glob("torch", class), str(key), str("cpu"), num(n), view) + "Q"
}

func tensorOps(storage string, offset int64, shape, stride string) string {
	return call(glob("torch._utils", "_rebuild_tensor_v2"), storage, num(offset), shape, stride, "\x89", "N")
}

// four is a tensor of the values 1, 2, 3, 4 in storage "0".
func four(offset int64, shape, stride string) string {
	return tensorOps(storageOps("FloatStorage", "0", 4, "N"), offset, shape, stride)
}

const preamble = "\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + "\x80\x02M\xe9\x03."

// legacyFile makes a file of the legacy form around an object's ops, with the
// storage "0" of 1, 2, 3, 4 in float32.
func legacyFile(object string) []byte {
	b := []byte(preamble + "\x80\x02" + dictOf(str("little_endian"), "\x88") + "." + "\x80\x02" + object + "." + "\x80\x02](" + str("0") + "e.")
	b = binary.LittleEndian.AppendUint64(b, 4)
	for _, v := range []uint32{0x3f800000, 0x40000000, 0x40400000, 0x40800000} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func TestHandMadeFiles(t *testing.T) {
	whole := four(0, nums(2, 2), nums(2, 1))
	system := call(glob("posix", "system"), str("echo no"))
	partView := storageOps("FloatStorage", "0", 4, tup(str("0:1"), num(1), num(3)))
	cases := []struct {
		what, object, name string
		want               []float32
	}{
		{"plain", dictOf(str("w"), whole), "w", []float32{1, 2, 3, 4}},
		{"transposed", dictOf(str("w"), four(0, nums(2, 2), nums(1, 2))), "w", []float32{1, 3, 2, 4}},
		{"a stride of a size of 1 is of no account", dictOf(str("w"), four(1, nums(1, 2), nums(1<<40, 2))), "w", []float32{2, 4}},
		{"view of a legacy storage", dictOf(str("w"), tensorOps(partView, 1, nums(2), nums(1)), str("all"), whole), "w", []float32{3, 4}},
		{"a call beside the tensors", dictOf(str("x"), system, str("w"), whole), "w", []float32{1, 2, 3, 4}},
		{"key of a model before others", dictOf(str("ema"), dictOf(str("e"), whole), str("model"), dictOf(str("w"), whole)), "w", []float32{1, 2, 3, 4}},
		{"a model key without tensors is passed by", dictOf(str("model"), dictOf(str("depth"), num(3)), str("net"), dictOf(str("w"), whole)), "w", []float32{1, 2, 3, 4}},
		{"ordered dict of pairs", call(glob("collections", "OrderedDict"), "]"+tup(str("w"), whole)+"a"), "w", []float32{1, 2, 3, 4}},
		{"both wrappers", dictOf(str("_orig_mod.module.w"), whole, str("_orig_mod.module.v"), whole), "w", []float32{1, 2, 3, 4}},
		{"a wrapper that not all share", dictOf(str("module.w"), whole, str("v"), whole), "module.w", []float32{1, 2, 3, 4}},
		{"a name that is a wrapper's alone", dictOf(str("module."), whole), "module.", []float32{1, 2, 3, 4}},
		{"class with source text", dictOf(str("w"), whole, str("m"), call(tup(str("module"), glob("a", "B"), str("f"), str("s"))+"Q", "N")), "w", []float32{1, 2, 3, 4}},
		{"object with attributes", dictOf(str("w"), whole, str("x"), call(glob("a", "B"))+dictOf(str("k"), num(1))+"b"), "w", []float32{1, 2, 3, 4}},
	}
	for _, c := range cases {
		store, err := Decode(legacyFile(c.object))
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		got := store.Get(c.name)
		if got == nil || !slices.Equal(got.Float32s(), c.want) {
			t.Errorf("%s: %q is %v among %q, want %v", c.what, c.name, got, store.Names(), c.want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	whole := four(0, nums(2, 2), nums(2, 1))
	w := func(v string) string { return dictOf(str("w"), v) }
	system := call(glob("posix", "system"), str("echo no"))
	unused := storageOps("FloatStorage", "0", 4, "N") + "0" // the file has it, no tensor does
	deep := whole
	for range maxNest + 2 {
		deep = w(deep)
	}
	cases := []struct {
		what, object string
		parts        []string
	}{
		{"a call in place of the dict", unused + system, []string{"posix.system", "state_dict"}},
		{"a call and nothing else", unused + w(system), []string{"no tensors", "posix.system"}},
		{"a tensor of another kind", dictOf(str("w"), whole, str("q"), call(glob("torch._utils", "_rebuild_qtensor"), "N")), []string{`"q"`, "_rebuild_qtensor"}},
		{"a tensor's subclass", unused + w(call(glob("torch._tensor", "_rebuild_from_type_v2"), glob("torch._utils", "_rebuild_tensor_v2"), glob("a", "B"), ")", "N")), []string{`"w"`, "_rebuild_from_type_v2"}},
		{"rebuilt by anything", w(call(glob("torch._tensor", "_rebuild_from_type_v2"), glob("os", "system"), glob("torch", "Tensor"), ")", "N")), []string{"os.system", "torch._utils"}},
		{"beyond the storage", w(four(1, nums(4), nums(1))), []string{`"w"`, "[4]", "4 elements"}},
		{"offset beyond the storage", w(four(5, nums(1), nums(1))), []string{`"w"`, "from 5"}},
		{"huge stride", w(four(0, nums(2, 2), nums(1<<62, 1<<62))), []string{`"w"`, "strides"}},
		{"strides that wrap", w(four(0, nums(3, 3, 3), nums(1<<62, 1<<62, 1<<62))), []string{`"w"`, "strides"}},
		{"negative offset", w(four(-1, nums(1), nums(1))), []string{"offset -1"}},
		{"negative stride", w(four(3, nums(4), nums(-1))), []string{"stride", "-1"}},
		{"negative size", w(four(0, nums(-4), nums(1))), []string{"size", "-4"}},
		{"strides of another rank", w(four(0, nums(2, 2), nums(1))), []string{"2 dimensions and 1 strides"}},
		{"too many dimensions", w(four(0, nums(make([]int64, 65)...), nums(make([]int64, 65)...))), []string{"65 dimensions"}},
		{"size that overflows", w(four(0, nums(1<<62, 1<<62), nums(0, 0))), []string{`"w"`, "overflows"}},
		{"expanded without measure", w(four(0, nums(1<<20, 1<<10), nums(0, 0))), []string{`"w"`, "limit"}},
		{"storage of no known type", w(tensorOps(storageOps("QInt8Storage", "0", 4, "N"), 0, nums(4), nums(1))), []string{"QInt8Storage"}},
		{"storage of two types", dictOf(str("w"), whole, str("v"), tensorOps(storageOps("HalfStorage", "0", 4, "N"), 0, nums(4), nums(1))), []string{"FloatStorage", "HalfStorage"}},
		{"storage that is missing", unused + w(tensorOps(storageOps("FloatStorage", "1", 4, "N"), 0, nums(4), nums(1))), []string{"0 elements"}},
		{"view beyond its storage", w(tensorOps(storageOps("FloatStorage", "0", 4, tup(str("v"), num(3), num(2))), 0, nums(1), nums(1))), []string{"view from 3 of 2"}},
		{"storage from elsewhere", w(tensorOps(tup(str("storage"), glob("os", "system"), str("0"), str("cpu"), num(4))+"Q", 0, nums(4), nums(1))), []string{"os.system"}},
		{"persistent id of no storage", w(tup(str("file"), str("/etc/passwd")) + "Q"), []string{"persistent id"}},
		{"name twice", dictOf(str("w"), whole, str("w"), whole), []string{`"w"`, "twice"}},
		{"dict that holds itself", "}q\x00(" + str("a") + "h\x00" + str("w") + whole + "u", []string{"nest"}},
		{"nested too deeply", deep, []string{"nest", "32"}},
		{"name too long", w(dictOf(str(strings.Repeat("x", 600)), whole)), []string{"512 bytes"}},
		{"memo not set", "h\x07", []string{"memo 7"}},
		{"empty stack", "R", []string{"stack"}},
		{"no mark", "t", []string{"mark"}},
		{"below a mark", "N(s", []string{"stack"}},
		{"text op of protocol 0", "I1\n", []string{"unknown op", "'I'"}},
		{"protocol of the future", "\x80\x06N", []string{"protocol 6"}},
		{"odd dict", "(Nd", []string{"without a value"}},
		{"calling a number", num(1) + ")R", []string{"int64 is called"}},
		{"huge text", "X\xff\xff\xff\xffab", []string{"EOF"}},
		{"huge number", "\x8b\xff\xff\xff\xff", []string{"EOF"}},
		{"storage as an offset", w(call(glob("torch._utils", "_rebuild_tensor_v2"), storageOps("FloatStorage", "0", 4, "N"), "N", ")", ")")), []string{"offset"}},
	}
	for _, c := range cases {
		err := formattest.Bounded(t, c.what, legacyFile(c.object), 256+maxExpansion, spareExpansion+1<<18, decodeOnly)
		formattest.WantError(t, c.what, err, append(c.parts, "torchzip: ")...)
	}
}

// The memo lets a short program repeat a large value: work and memory must
// stay in proportion to the file.
func TestRepetitionIsBounded(t *testing.T) {
	pairs := "](" + strings.Repeat(tup("N", "N"), 5000) + "e\x94"
	bombs := map[string]string{
		"pairs copied":    pairs + strings.Repeat("0"+call(glob("collections", "OrderedDict"), "h\x00"), 5000),
		"lists of lists":  nestedLists(30),
		"lists in a dict": dictOf(str("a"), nestedLists(30)),
		"model of models": nestedDicts(30),
		"memo entries":    "N" + strings.Repeat("\x94", 100000),
		"empty dicts":     "(" + strings.Repeat("}", 100000) + "t",
		"long globals":    str(strings.Repeat("m", 125)) + "\x94" + strings.Repeat("h\x00h\x00\x930", 20000) + "N",
	}
	for what, object := range bombs {
		err := formattest.Bounded(t, what, legacyFile(object), 256, 1<<20, decodeOnly)
		formattest.WantError(t, what, err, "torchzip: ")
	}
}

// nestedLists gives a list that holds the one before twice, n levels deep.
func nestedLists(n int) string {
	s := "](}}e\x94"
	for i := range n {
		s += fmt.Sprintf("0](h%ch%ce\x94", i, i)
	}
	return s
}

func nestedDicts(n int) string {
	s := "}\x94"
	for i := range n {
		s += fmt.Sprintf("0}(%sh%c%sh%cu\x94", str("model"), i, str("b"), i)
	}
	return s
}

func archiveOf(t *testing.T, method uint16, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: files[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArchiveRefuses(t *testing.T) {
	program := "\x80\x02" + dictOf(str("w"), four(0, nums(4), nums(1))) + "."
	data := strings.Repeat("\x00\x00\x80\x3f", 4)
	if _, err := Decode(archiveOf(t, zip.Store, "a/data.pkl", program, "a/data/0", data)); err != nil {
		t.Errorf("the sound archive: %v", err)
	}
	big := strings.Repeat("\x00", 40<<20)
	bigProgram := "\x80\x02" + dictOf(str("w"), tensorOps(storageOps("FloatStorage", "0", 10<<20, "N"), 0, nums(10<<20), nums(1))) + "."
	cases := []struct {
		what    string
		content []byte
		parts   []string
	}{
		{"big endian", archiveOf(t, zip.Store, "a/data.pkl", program, "a/data/0", data, "a/byteorder", "big"), []string{"byteorder", `"big"`}},
		{"no program", archiveOf(t, zip.Store, "a/data/0", data), []string{"data.pkl"}},
		{"no values", archiveOf(t, zip.Store, "a/data.pkl", program), []string{`"a/data/0"`}},
		{"fewer values", archiveOf(t, zip.Store, "a/data.pkl", program, "a/data/0", data[4:]), []string{`"0"`, "12 bytes", "4 elements"}},
		{"values twice", archiveOf(t, zip.Store, "a/data.pkl", program, "a/data/0", data, "a/data/0", data), []string{"twice"}},
		{"two programs", archiveOf(t, zip.Store, "a/data.pkl", program, "b/data.pkl", program), []string{"two entries"}},
		{"deflated without measure", archiveOf(t, zip.Deflate, "a/data.pkl", bigProgram, "a/data/0", big), []string{"a/data/0", "limit"}},
		{"no archive", []byte("PK\x03\x04"), []string{"zip"}},
		{"text", []byte("hello"), []string{"neither"}},
		{"nothing", nil, []string{"neither"}},
		{"another pickle", []byte("\x80\x02}."), []string{"magic number"}},
		{"big-endian legacy", bytes.Replace(legacyFile(dictOf(str("w"), four(0, nums(4), nums(1)))), []byte("little_endian\x88"), []byte("little_endian\x89"), 1), []string{"little_endian is false"}},
		{"other protocol", []byte(preamble[:len(preamble)-3] + "\x01\x00."), []string{"protocol", "1001"}},
	}
	for _, c := range cases {
		err := formattest.Bounded(t, c.what, c.content, 64, 1<<20, decodeOnly)
		formattest.WantError(t, c.what, err, append(c.parts, "torchzip: ")...)
	}
}

// FuzzPickle changes the program alone, inside a file that is sound otherwise.
func FuzzPickle(f *testing.F) {
	whole := four(0, nums(2, 2), nums(1, 2))
	f.Add([]byte(dictOf(str("state_dict"), dictOf(str("module.w"), whole), str("x"), call(glob("a", "B"), "N"))))
	f.Add([]byte("(lp0\n}q\x00]\x94\x8c\x01a\x8c\x01b\x93)\x81h\x00K\x01\x85e."))
	f.Add([]byte("](NNK\x01M\x01\x02J\x01\x02\x03\x04G\x3f\xf0\x00\x00\x00\x00\x00\x00\x88C\x01aB\x01\x00\x00\x00a\x8f(N\x91e"))
	f.Add([]byte(call(glob("collections", "OrderedDict"), "]"+tup(str("w"), whole)+"a") + "}b"))
	f.Fuzz(func(t *testing.T, object []byte) {
		if store, err := Decode(legacyFile(string(object))); err == nil && store.Len() == 0 {
			t.Fatal("no tensors and no error")
		}
	})
}
