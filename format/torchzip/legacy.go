package torchzip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The legacy form: pickles of a magic number, the protocol, facts about the
// writing machine, the object and the list of storage keys; then for each key
// an element count of 8 bytes and the raw values.
var legacyMagic = bigInt{0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19}

const legacyProtocol = 1001

type legacy struct {
	data     []byte
	pos      int
	storages map[string]*storage // roots, by key
	views    []legacyView
}

// legacyView is a part of a root storage, as files before torch 0.4 have it.
type legacyView struct {
	of     *storage
	root   string
	offset int
}

func readLegacy(b []byte) (any, error) {
	l := &legacy{data: b, storages: map[string]*storage{}}
	if err := l.readPreamble(); err != nil {
		return nil, err
	}
	root, err := l.pickle("object", l.storage)
	if err != nil {
		return nil, err
	}
	keys, err := l.pickle("storage keys", nil)
	if err != nil {
		return nil, err
	}
	list, ok := elements(keys)
	if !ok {
		return nil, fmt.Errorf("storage keys: got %T, want a list", keys)
	}
	for _, k := range list {
		key, ok := k.(string)
		if !ok {
			return nil, fmt.Errorf("storage keys: got %T, want strings", k)
		}
		if err := l.readStorage(key); err != nil {
			return nil, fmt.Errorf("storage %q: %w", key, err)
		}
	}
	return root, l.resolveViews()
}

func (l *legacy) pickle(what string, persistent func(any) (any, error)) (any, error) {
	u := &unpickler{data: l.data, pos: l.pos, persistent: persistent}
	v, err := u.run()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	l.pos = u.pos
	return v, nil
}

func (l *legacy) readPreamble() error {
	magic, err := l.pickle("magic number", nil)
	if err != nil {
		return err
	}
	if m, ok := magic.(bigInt); !ok || !bytes.Equal(m, legacyMagic) {
		return errors.New("magic number: a pickle, but not one of torch.save")
	}
	protocol, err := l.pickle("protocol", nil)
	if err != nil {
		return err
	}
	if protocol != any(int64(legacyProtocol)) {
		return fmt.Errorf("protocol: got %v, want %d", protocol, legacyProtocol)
	}
	info, err := l.pickle("machine facts", nil)
	if err != nil {
		return err
	}
	d, ok := info.(*dict)
	if !ok {
		return fmt.Errorf("machine facts: got %T, want a dict", info)
	}
	if little, ok := d.get("little_endian"); ok && little != any(true) {
		return fmt.Errorf("machine facts: little_endian is %v, want true", little)
	}
	return nil
}

// storage answers a persistent id: the values follow later in the file.
func (l *legacy) storage(id any) (any, error) {
	if t, ok := id.(tuple); ok && len(t) > 1 && t[0] == any("module") {
		// A class together with its source text, which is not read.
		if g, ok := t[1].(global); ok {
			return g, nil
		}
	}
	s, err := parseStorageID(id)
	if err != nil {
		return nil, err
	}
	root := l.storages[s.key]
	switch {
	case root == nil:
		root = &storage{class: s.class, dtype: s.dtype, elements: s.elements}
		l.storages[s.key] = root
	case root.class != s.class:
		return nil, fmt.Errorf("storage %q is both %s and %s", s.key, root.class, s.class)
	}
	if s.view == nil {
		return root, nil
	}
	v, ok := s.view.(tuple)
	if !ok || len(v) != 3 {
		return nil, fmt.Errorf("storage %q: view is %T, want (key, offset, size)", s.key, s.view)
	}
	offset, ok1 := v[1].(int64)
	n, ok2 := v[2].(int64)
	if !ok1 || !ok2 || offset < 0 || n < 0 || int64(int(offset)) != offset || int64(int(n)) != n {
		return nil, fmt.Errorf("storage %q: view from %v of %v elements", s.key, v[1], v[2])
	}
	part := &storage{class: s.class, dtype: s.dtype, elements: int(n)}
	l.views = append(l.views, legacyView{part, s.key, int(offset)})
	return part, nil
}

// readStorage takes the next raw storage from the file.
func (l *legacy) readStorage(key string) error {
	s := l.storages[key]
	if s == nil {
		return errors.New("no tensor refers to it")
	}
	if s.data != nil {
		return errors.New("it appears twice")
	}
	if s.dtype.Size() == 0 {
		return fmt.Errorf("%s is not supported, and its size is unknown", s.class)
	}
	left := l.data[l.pos:]
	if len(left) < 8 {
		return errTruncated
	}
	n := binary.LittleEndian.Uint64(left)
	left = left[8:]
	if n > uint64(len(left)/s.dtype.Size()) {
		return fmt.Errorf("%d elements of %s, the file has %d bytes left", n, s.class, len(left))
	}
	s.elements = int(n)
	size := s.elements * s.dtype.Size()
	s.data = left[:size:size]
	l.pos += 8 + size
	return nil
}

// resolveViews gives the views their part of the data, once all is read.
func (l *legacy) resolveViews() error {
	for _, v := range l.views {
		root, size := l.storages[v.root], v.of.dtype.Size()
		if v.offset > root.elements || v.of.elements > root.elements-v.offset {
			return fmt.Errorf("storage %q: view from %d of %d elements, it has %d", v.root, v.offset, v.of.elements, root.elements)
		}
		if root.data != nil {
			v.of.data = root.data[v.offset*size : (v.offset+v.of.elements)*size]
		}
	}
	return nil
}
