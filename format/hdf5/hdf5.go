// Package hdf5 writes small HDF5 files: groups, and datasets of numbers or
// fixed-length text, contiguous and uncompressed. It exists for the exchange
// format NIR; libhdf5 1.8 and later reads the files. It has no reader.
//
// Format: HDF5 File Format Specification, version 3.0. Written are superblock
// version 2, object headers version 2 and compact groups (links in the group's
// own header), all of which carry checksums. There are no attributes.
//
// The bytes depend on the content alone: members are written in the order in
// which they were added, and no time is stored.
package hdf5

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"lowbit/internal/atomicfile"
)

// Group is a folder of an HDF5 file. Methods that add a member record the
// first error, which Encode returns.
type Group struct {
	path    string
	names   map[string]bool
	members []member
	err     *error // shared by all groups of a file
}

type member struct {
	name  string
	group *Group
	data  *dataset
}

type dataset struct {
	dims  []uint64 // nil for a scalar
	dtype []byte   // datatype message
	bytes []byte
}

// NewFile returns the root group of a new file.
func NewFile() *Group { return &Group{path: "/", names: map[string]bool{}, err: new(error)} }

func (g *Group) fail(format string, args ...any) {
	if *g.err == nil {
		*g.err = fmt.Errorf("hdf5: %s: %w", g.path, fmt.Errorf(format, args...))
	}
}

// add enters a member; a name is 1..255 bytes of UTF-8 without a slash.
func (g *Group) add(m member) {
	switch {
	case m.name == "" || m.name == "." || len(m.name) > 255 || strings.ContainsAny(m.name, "/\x00") || !utf8.ValidString(m.name):
		g.fail("name %.40q, want 1..255 bytes of UTF-8 without slash", m.name)
	case g.names[m.name]:
		g.fail("%q exists already", m.name)
	}
	g.names[m.name] = true
	g.members = append(g.members, m)
}

// Group adds a group.
func (g *Group) Group(name string) *Group {
	sub := &Group{path: g.path + name + "/", names: map[string]bool{}, err: g.err}
	g.add(member{name: name, group: sub})
	return sub
}

// Float32 adds a dataset in row-major order; no dims make a scalar.
func (g *Group) Float32(name string, v []float32, dims ...int) {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	// Class 1, IEEE single: implied leading bit, sign in bit 31, exponent of 8
	// bits from 23, bias 127.
	dtype := []byte{0x11, 0x20, 31, 0, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0}
	g.dataset(name, dtype, b, len(v), dims)
}

// Int64 adds a dataset in row-major order; no dims make a scalar.
func (g *Group) Int64(name string, v []int64, dims ...int) {
	b := make([]byte, 0, 8*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, uint64(x))
	}
	// Class 0, signed, 64 bits.
	g.dataset(name, []byte{0x10, 0x08, 0, 0, 8, 0, 0, 0, 0, 0, 64, 0}, b, len(v), dims)
}

// Text adds a dataset of strings of equal stored length, padded with zeros; no
// dims make a scalar.
func (g *Group) Text(name string, v []string, dims ...int) {
	size := 1
	for _, s := range v {
		if strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
			g.fail("%q: text %.40q, want UTF-8 without zero bytes", name, s)
		}
		size = max(size, len(s))
	}
	b := make([]byte, size*len(v))
	for i, s := range v {
		copy(b[i*size:], s)
	}
	// Class 3, padded with zeros, ASCII or UTF-8.
	flags := byte(0x01)
	if !isASCII(b) {
		flags |= 0x10
	}
	dtype := binary.LittleEndian.AppendUint32([]byte{0x13, flags, 0, 0}, uint32(size))
	g.dataset(name, dtype, b, len(v), dims)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// maxRank is the format's limit on dimensions.
const maxRank = 32

func (g *Group) dataset(name string, dtype, b []byte, n int, dims []int) {
	d := &dataset{dtype: dtype, bytes: b}
	size := 1
	for _, k := range dims {
		if k < 1 || size > math.MaxInt/k {
			g.fail("%q: dimensions %v, want all at least 1", name, dims)
			return
		}
		size *= k
		d.dims = append(d.dims, uint64(k))
	}
	if size != n || len(dims) > maxRank {
		g.fail("%q: %d values for dimensions %v", name, n, dims)
		return
	}
	g.add(member{name: name, data: d})
}

// Write makes path a file with this root group. On any error path keeps what
// it held.
func (g *Group) Write(path string) error {
	if err := atomicfile.Write(path, g.Encode); err != nil {
		return fmt.Errorf("hdf5: %w", err)
	}
	return nil
}

// Encode writes the file's content; g must be a root group.
func (g *Group) Encode(w io.Writer) error {
	if *g.err != nil {
		return *g.err
	}
	if g.path != "/" {
		return errors.New("hdf5: encode: not the root group")
	}
	e := &encoder{}
	e.buf.Write(make([]byte, superblockBytes))
	root, err := e.group(g)
	if err != nil {
		return err
	}
	b := e.buf.Bytes()
	superblock(b[:0:superblockBytes], uint64(len(b)), root)
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("hdf5: %w", err)
	}
	return nil
}

type encoder struct{ buf bytes.Buffer }
