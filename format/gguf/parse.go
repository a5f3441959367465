package gguf

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"lowbit/tensor"
)

const (
	magic            = "GGUF"
	alignmentKey     = "general.alignment"
	defaultAlignment = 32
	maxDims          = 4 // ggml's own limit
)

// Info describes one tensor of a file.
type Info struct {
	Name  string
	Type  Type
	Shape tensor.Shape // outermost first: the reverse of the file's order
	// SizeBytes is what the values take in the file; 0 for an unknown type.
	SizeBytes int

	begin int // from the start of the data
}

// parse checks everything but the values.
func (f *File) parse(b []byte) error {
	c := &cursor{b: b}
	tensors, pairs, err := c.head()
	if err != nil {
		return err
	}
	f.values = make(map[string]any, min(pairs, 1<<10))
	for range pairs {
		if err := f.parsePair(c); err != nil {
			return err
		}
	}
	f.byName = make(map[string]int, min(tensors, 1<<10))
	for range tensors {
		if err := f.parseInfo(c); err != nil {
			return err
		}
	}
	alignment, err := f.alignment()
	if err != nil {
		return err
	}
	at := (c.at + alignment - 1) / alignment * alignment
	if at > len(b) {
		if tensors > 0 {
			return fmt.Errorf("data: %w", errTruncated)
		}
		at = len(b) // nothing follows, so nothing need be padded
	}
	f.data = b[at:]
	return f.checkInfos(alignment)
}

// head reads the magic, the version and the counts.
func (c *cursor) head() (tensors, pairs int, err error) {
	m, err := c.take(len(magic))
	if err != nil || !bytes.Equal(m, []byte(magic)) {
		return 0, 0, fmt.Errorf("magic %q, want %q", m, magic)
	}
	version, err := c.u32()
	if err != nil {
		return 0, 0, err
	}
	switch {
	case version == 2, version == 3:
	case version&0xffff == 0 && version != 0:
		return 0, 0, errors.New("a big-endian file, want little endian")
	default:
		return 0, 0, fmt.Errorf("version %d, want 2 or 3", version)
	}
	// A tensor takes at least name length, dimension count, type and offset; a
	// pair takes name length, type and one byte.
	if tensors, err = c.count("tensors", 24); err != nil {
		return 0, 0, err
	}
	pairs, err = c.count("metadata pairs", 13)
	return tensors, pairs, err
}

func (f *File) parsePair(c *cursor) error {
	key, err := c.text()
	if err != nil {
		return fmt.Errorf("metadata pair %d: key: %w", len(f.order), err)
	}
	if _, twice := f.values[key]; twice {
		return fmt.Errorf("metadata %q appears twice", key)
	}
	id, err := c.u32()
	if err == nil {
		f.values[key], err = c.value(id, 0)
	}
	if err != nil {
		return fmt.Errorf("metadata %q: %w", key, err)
	}
	f.order = append(f.order, key)
	return nil
}

func (f *File) parseInfo(c *cursor) error {
	name, err := c.text()
	if err != nil {
		return fmt.Errorf("tensor %d: name: %w", len(f.infos), err)
	}
	if _, twice := f.byName[name]; twice {
		return fmt.Errorf("tensor %q appears twice", name)
	}
	info, err := c.info()
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	info.Name = name
	f.byName[name] = len(f.infos)
	f.infos = append(f.infos, info)
	return nil
}

// info reads a tensor's dimensions, type and offset.
func (c *cursor) info() (Info, error) {
	var info Info
	n, err := c.u32()
	if err != nil {
		return info, err
	}
	if n > maxDims {
		return info, fmt.Errorf("%d dimensions, want at most %d", n, maxDims)
	}
	info.Shape = make(tensor.Shape, n)
	for i := range info.Shape {
		d, err := c.u64()
		if err != nil {
			return info, err
		}
		if d > math.MaxInt {
			return info, fmt.Errorf("a dimension of %d", d)
		}
		info.Shape[int(n)-1-i] = int(d)
	}
	t, err := c.u32()
	if err != nil {
		return info, err
	}
	info.Type = Type(t)
	offset, err := c.u64()
	if err != nil {
		return info, err
	}
	if offset > math.MaxInt {
		return info, fmt.Errorf("offset %d", offset)
	}
	info.begin = int(offset)
	info.SizeBytes, err = sizeBytes(info.Type, info.Shape)
	return info, err
}

// sizeBytes returns what the values of a shape take, 0 for an unknown type.
func sizeBytes(t Type, shape tensor.Shape) (int, error) {
	n, err := shape.CheckedSize()
	if err != nil {
		return 0, err
	}
	tr, ok := traits[t]
	if !ok {
		return 0, nil
	}
	row := 1
	if len(shape) > 0 {
		row = shape[len(shape)-1]
	}
	if row%tr.elements != 0 {
		return 0, fmt.Errorf("rows of %d values, want a multiple of %d for %v", row, tr.elements, t)
	}
	if n/tr.elements > math.MaxInt/tr.bytes {
		return 0, fmt.Errorf("shape %v of %v overflows", shape, t)
	}
	return n / tr.elements * tr.bytes, nil
}

func (f *File) alignment() (int, error) {
	v, ok := f.values[alignmentKey]
	if !ok {
		return defaultAlignment, nil
	}
	return checkAlignment(v)
}

func checkAlignment(v any) (int, error) {
	a, ok := v.(uint32)
	if !ok || a == 0 || a&(a-1) != 0 || a > 1<<20 {
		return 0, fmt.Errorf("metadata %q: %T %v, want a uint32 power of two up to 2^20", alignmentKey, v, v)
	}
	return int(a), nil
}

// checkInfos demands that the values lie in the file, aligned and apart.
func (f *File) checkInfos(alignment int) error {
	order := make([]int, len(f.infos))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return f.infos[a].begin - f.infos[b].begin })
	end, last := 0, ""
	for _, i := range order {
		info := &f.infos[i]
		if info.begin%alignment != 0 {
			return fmt.Errorf("tensor %q: offset %d, want a multiple of %d", info.Name, info.begin, alignment)
		}
		if info.begin > len(f.data) || info.SizeBytes > len(f.data)-info.begin {
			return fmt.Errorf("tensor %q: %d bytes of %v%v at %d, the data has %d", info.Name, info.SizeBytes, info.Type, info.Shape, info.begin, len(f.data))
		}
		if info.begin < end {
			return fmt.Errorf("tensor %q: offset %d overlaps %q, which ends at %d", info.Name, info.begin, last, end)
		}
		end, last = info.begin+info.SizeBytes, info.Name
	}
	return nil
}
