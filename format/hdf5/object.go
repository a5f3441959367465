package hdf5

import (
	"encoding/binary"
	"fmt"
)

const (
	superblockBytes = 48
	undefined       = ^uint64(0) // the format's "no address"
	maxMessageBytes = 1<<16 - 1
)

// Message types of object headers, section IV.A.2 of the specification.
const (
	msgDataspace = 0x01
	msgLinkInfo  = 0x02
	msgDatatype  = 0x03
	msgFill      = 0x05
	msgLink      = 0x06
	msgLayout    = 0x08
	msgGroupInfo = 0x0a
)

// superblock appends version 2, section II.A: offsets and lengths of 8 bytes.
func superblock(b []byte, end, root uint64) []byte {
	b = append(b, "\x89HDF\r\n\x1a\n\x02\x08\x08\x00"...)
	for _, v := range []uint64{0, undefined, end, root} { // base, extension, end of file, root group
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, lookup3(b))
}

// header is an object header of version 2 in the making.
type header struct {
	messages []byte
	err      error
}

func (h *header) add(kind byte, body ...byte) {
	if len(body) > maxMessageBytes && h.err == nil {
		h.err = fmt.Errorf("message of %d bytes", len(body))
	}
	h.messages = append(h.messages, kind)
	h.messages = binary.LittleEndian.AppendUint16(h.messages, uint16(len(body)))
	h.messages = append(append(h.messages, 0), body...)
}

// write puts the header at the end of the file and returns its address.
func (e *encoder) write(h *header) (uint64, error) {
	if h.err != nil {
		return 0, h.err
	}
	e.align()
	at := uint64(e.buf.Len())
	b := append([]byte("OHDR"), 2, 0x02) // version; the size below has 4 bytes
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.messages)))
	b = append(b, h.messages...)
	e.buf.Write(binary.LittleEndian.AppendUint32(b, lookup3(b)))
	return at, nil
}

// align pads the file to 8 bytes.
func (e *encoder) align() {
	for e.buf.Len()%8 != 0 {
		e.buf.WriteByte(0)
	}
}

// group writes the members, then the group with links to them.
func (e *encoder) group(g *Group) (uint64, error) {
	var h header
	var info []byte
	info = append(info, 0, 0) // version, no creation order
	info = binary.LittleEndian.AppendUint64(info, undefined)
	info = binary.LittleEndian.AppendUint64(info, undefined) // neither heap nor index: links stand here
	h.add(msgLinkInfo, info...)
	h.add(msgGroupInfo, 0, 0)
	for _, m := range g.members {
		var at uint64
		var err error
		if m.group != nil {
			at, err = e.group(m.group)
		} else {
			at, err = e.dataset(m.data)
		}
		if err != nil {
			return 0, fmt.Errorf("hdf5: %s%s: %w", g.path, m.name, err)
		}
		link := append([]byte{1, 0x10, 1, byte(len(m.name))}, m.name...) // version, names in UTF-8, length of one byte
		h.add(msgLink, binary.LittleEndian.AppendUint64(link, at)...)
	}
	return e.write(&h)
}

func (e *encoder) dataset(d *dataset) (uint64, error) {
	e.align()
	data := uint64(e.buf.Len())
	e.buf.Write(d.bytes)
	var h header
	space := []byte{2, byte(len(d.dims)), 0, 1} // version, rank, no maximal dimensions, simple
	if d.dims == nil {
		space[3] = 0 // scalar
	}
	for _, n := range d.dims {
		space = binary.LittleEndian.AppendUint64(space, n)
	}
	h.add(msgDataspace, space...)
	h.add(msgDatatype, d.dtype...)
	h.add(msgFill, 3, 0x0a) // version; allocated late, written if set, no value
	layout := []byte{3, 1}  // version, contiguous
	layout = binary.LittleEndian.AppendUint64(layout, data)
	layout = binary.LittleEndian.AppendUint64(layout, uint64(len(d.bytes)))
	h.add(msgLayout, layout...)
	return e.write(&h)
}
