// Package torchzip reads the tensors of PyTorch's own files (.pt, .pth, .th)
// in both forms: the zip archive of torch.save since 1.6 and the sequence of
// pickles before it.
//
// Such a file is a pickle, a program that could call any Python function. The
// reader here calls nothing: it knows containers, plain values, tensors and
// their storages, and keeps every other object as a name. What it finds:
//
//   - a state dict, or a dict that holds one under a usual key ("state_dict",
//     "model", …), or any nest of dicts and lists: names are joined with dots,
//     and what is no tensor (an epoch, a Namespace) is left out;
//   - a tensor alone, under the name "tensor".
//
// A prefix "module." or "_orig_mod." that all names share (torch's parallel
// and compiled wrappers add them) is taken off. An object in place of the
// dict, or of a tensor in it, is an error that names its class.
package torchzip

import (
	"bytes"
	"errors"
	"fmt"

	"lowbit/format/internal/mapfile"
	"lowbit/tensor"
)

// Tensors may share storage or repeat elements (stride 0), and archive
// entries may be deflated, so values can need more room than the file has.
// They may need this much; more is refused as a trap.
const (
	maxExpansion   = 16
	spareExpansion = 1 << 20
)

// Read returns all tensors of a file, each dense and with storage of its own.
// Every error names the path.
func Read(path string) (*tensor.Store, error) {
	f, err := mapfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("torchzip: %w", err)
	}
	defer f.Close()
	s, err := decode(f.Bytes())
	if err != nil {
		return nil, fmt.Errorf("torchzip: %s: %w", path, err)
	}
	return s, nil
}

// Decode does the same for a file's content. Tensors take at most
// 16 len(b) + 1 MiB, inflated entries as much again, and the pickle's values
// at most 256 times the pickle's length.
func Decode(b []byte) (*tensor.Store, error) {
	s, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("torchzip: %w", err)
	}
	return s, nil
}

func decode(b []byte) (*tensor.Store, error) {
	var root any
	var err error
	switch {
	case bytes.HasPrefix(b, []byte("PK\x03\x04")):
		root, err = readArchive(b)
	case len(b) >= 2 && b[0] == 0x80:
		root, err = readLegacy(b)
	default:
		err = errors.New("neither a zip archive nor a pickle, so no file of torch.save")
	}
	if err != nil {
		return nil, err
	}
	return collect(root, len(b))
}

// budget counts down the bytes that may still be allocated.
type budget struct{ left int64 }

func newBudget(fileBytes int) *budget {
	return &budget{left: maxExpansion*int64(fileBytes) + spareExpansion}
}

// take reserves n elements of size bytes.
func (b *budget) take(n, size int) error {
	if int64(n) > b.left/int64(size) {
		return fmt.Errorf("%d values of %d bytes exceed the limit of %d times the file", n, size, maxExpansion)
	}
	b.left -= int64(n) * int64(size)
	return nil
}
