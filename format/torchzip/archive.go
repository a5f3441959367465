package torchzip

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"strings"
)

// archive is torch.save's zip form: under one folder data.pkl, byteorder and
// data/KEY for each storage.
type archive struct {
	raw      []byte
	folder   string
	files    map[string]*zip.File
	inflated *budget
	storages map[string]*storage
}

func readArchive(b []byte) (any, error) {
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	a := &archive{raw: b, files: map[string]*zip.File{}, inflated: newBudget(len(b)), storages: map[string]*storage{}}
	found := false
	for _, f := range z.File {
		if a.files[f.Name] != nil {
			return nil, fmt.Errorf("entry %q appears twice", f.Name)
		}
		a.files[f.Name] = f
		if path.Base(f.Name) == "data.pkl" && strings.Count(f.Name, "/") <= 1 {
			if found {
				return nil, errors.New("two entries data.pkl, want one")
			}
			a.folder, found = strings.TrimSuffix(f.Name, "data.pkl"), true
		}
	}
	if !found {
		return nil, errors.New("no entry data.pkl, so no file of torch.save")
	}
	if a.files[a.folder+"constants.pkl"] != nil {
		return nil, errors.New("a TorchScript archive, which holds a program; save model.state_dict() instead")
	}
	if err := a.checkByteOrder(); err != nil {
		return nil, err
	}
	program, err := a.entry("data.pkl")
	if err != nil {
		return nil, err
	}
	u := &unpickler{data: program, persistent: a.storage}
	root, err := u.run()
	if err != nil {
		return nil, fmt.Errorf("data.pkl: %w", err)
	}
	return root, nil
}

func (a *archive) checkByteOrder() error {
	if a.files[a.folder+"byteorder"] == nil {
		return nil // before torch 2.1; all were little endian in practice
	}
	order, err := a.entry("byteorder")
	if err != nil {
		return err
	}
	if string(order) != "little" {
		return fmt.Errorf("byteorder %.20q, want \"little\"", order)
	}
	return nil
}

// entry returns the content of a file in the archive's folder: a part of the
// archive itself where it is stored plainly.
func (a *archive) entry(name string) ([]byte, error) {
	f := a.files[a.folder+name]
	if f == nil {
		return nil, fmt.Errorf("no entry %q", a.folder+name)
	}
	b, err := a.content(f)
	if err != nil {
		return nil, fmt.Errorf("entry %q: %w", f.Name, err)
	}
	return b, nil
}

func (a *archive) content(f *zip.File) ([]byte, error) {
	size, packed := f.UncompressedSize64, f.CompressedSize64
	if f.Method == zip.Store {
		at, err := f.DataOffset()
		if err != nil {
			return nil, err
		}
		if size != packed || at < 0 || at > int64(len(a.raw)) || size > uint64(int64(len(a.raw))-at) {
			return nil, fmt.Errorf("%d bytes at %d, the file has %d", size, at, len(a.raw))
		}
		b := a.raw[at : at+int64(size)]
		// torch can be told to save no checksums; it then writes 0.
		if sum := crc32.ChecksumIEEE(b); f.CRC32 != 0 && sum != f.CRC32 {
			return nil, fmt.Errorf("checksum %08x, want %08x: the file is damaged", sum, f.CRC32)
		}
		return b, nil
	}
	if size > uint64(a.inflated.left) {
		return nil, fmt.Errorf("%d bytes inflated exceed the limit of %d times the file", size, maxExpansion)
	}
	a.inflated.left -= int64(size)
	r, err := f.Open() // checks the checksum at its end
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(r, int64(size)+1))
	if err == nil && uint64(n) != size {
		err = fmt.Errorf("%d bytes inflated, want %d", n, size)
	}
	return buf.Bytes(), err
}

// storage answers a persistent id; each storage is read once.
func (a *archive) storage(id any) (any, error) {
	s, err := parseStorageID(id)
	if err != nil {
		return nil, err
	}
	if have := a.storages[s.key]; have != nil {
		if have.class != s.class || have.elements != s.elements {
			return nil, fmt.Errorf("storage %q is both %s of %d and %s of %d elements", s.key, have.class, have.elements, s.class, s.elements)
		}
		return have, nil
	}
	data, err := a.entry("data/" + s.key)
	if err != nil {
		return nil, err
	}
	made := &storage{class: s.class, dtype: s.dtype, elements: s.elements, data: data}
	if size := s.dtype.Size(); size > 0 && (len(data)%size != 0 || len(data)/size != s.elements) {
		return nil, fmt.Errorf("storage %q: %d bytes for %d elements of %s", s.key, len(data), s.elements, s.class)
	}
	a.storages[s.key] = made
	return made, nil
}
