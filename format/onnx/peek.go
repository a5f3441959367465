package onnx

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// maxInputBytes bounds the description of one input.
const maxInputBytes = 1 << 16

// Inputs reads the descriptions of a model file's inputs and nothing else: it
// steps over the weights.
func Inputs(path string) ([]Value, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	inputs, err := peekInputs(f, stat.Size())
	if err != nil {
		return nil, fmt.Errorf("onnx: %s: %w", path, err)
	}
	return inputs, nil
}

func peekInputs(f io.ReadSeeker, size int64) (inputs []Value, err error) {
	p := peeker{r: bufio.NewReaderSize(f, 4096), f: f, size: size}
	err = p.message(p.size, func(number int, size int64) (bool, error) {
		if number != 7 {
			return false, nil
		}
		return true, p.message(p.at+size, func(number int, size int64) (bool, error) {
			if number != 11 {
				return false, nil
			}
			if size > maxInputBytes {
				return false, fmt.Errorf("input %d: %d bytes, want at most %d", len(inputs), size, maxInputBytes)
			}
			b := make([]byte, size)
			if _, err := io.ReadFull(p.r, b); err != nil {
				return false, err
			}
			p.at += size
			v, err := decodeValue(b)
			inputs = append(inputs, v)
			return true, err
		})
	})
	return inputs, err
}

// peeker walks a file's messages.
type peeker struct {
	r        *bufio.Reader
	f        io.ReadSeeker
	at, size int64
}

// message calls f for each field with a length up to the byte at end; f tells
// whether it has read it.
func (p *peeker) message(end int64, f func(number int, size int64) (bool, error)) error {
	for p.at < end {
		key, err := p.varint()
		if err != nil {
			return err
		}
		size := int64(0)
		switch key & 7 {
		case varintKind:
			_, err = p.varint()
		case eightKind:
			size = 8
		case fourKind:
			size = 4
		case bytesKind:
			var n uint64
			n, err = p.varint()
			if size = int64(min(n, uint64(p.size)+1)); err == nil && size <= end-p.at {
				read, err := f(int(key>>3), size)
				if err != nil {
					return err
				}
				if read {
					size = 0
				}
			}
		default:
			err = fmt.Errorf("field %d of wire kind %d, which messages of ONNX do not have", key>>3, key&7)
		}
		if err != nil {
			return err
		}
		if size > end-p.at {
			return fmt.Errorf("field %d: %d bytes of %d: %w", key>>3, size, end-p.at, errTruncated)
		}
		if err := p.skip(size); err != nil {
			return err
		}
	}
	return nil
}

func (p *peeker) skip(n int64) error {
	p.at += n
	if n <= int64(p.r.Buffered()) {
		_, err := p.r.Discard(int(n))
		return err
	}
	if _, err := p.f.Seek(p.at, io.SeekStart); err != nil {
		return err
	}
	p.r.Reset(p.f)
	return nil
}

func (p *peeker) varint() (uint64, error) {
	var b [binary.MaxVarintLen64]byte
	for i := range b {
		c, err := p.r.ReadByte()
		if err != nil {
			return 0, errTruncated
		}
		p.at++
		if b[i] = c; c < 0x80 {
			v, n := binary.Uvarint(b[:i+1])
			if n <= 0 {
				return 0, errTruncated
			}
			return v, nil
		}
	}
	return 0, errTruncated
}
