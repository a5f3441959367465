package torchzip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// The values of a pickle. Beside these: nil (None), bool, int64, float64,
// string, []byte, and what rebuild makes (*tensorRef, *storage).
type (
	tuple []any
	list  struct{ items []any }
	// dict keeps its pairs in the order of the file.
	dict struct{ pairs []pair }
	pair struct{ key, value any }
	// global is the name of a class or function; it is never looked up.
	global string
	// bigInt is an integer beyond 64 bits, two's complement, little endian.
	bigInt []byte
	// opaque stands for an object of a class that is not read.
	opaque struct{ class global }
)

// get returns the value of a string key; the last one counts, as in Python.
func (d *dict) get(key string) (any, bool) {
	for i := len(d.pairs) - 1; i >= 0; i-- {
		if k, ok := d.pairs[i].key.(string); ok && k == key {
			return d.pairs[i].value, true
		}
	}
	return nil, false
}

// maxOps bounds the work on one pickle: a tensor of a state dict takes about
// forty, so there is room for 100,000 tensors.
const maxOps = 1 << 22

var errTruncated = fmt.Errorf("pickle: %w", io.ErrUnexpectedEOF)

// unpickler runs one pickle program. It calls nothing: a class or function is
// a name, and applying it gives what reduce knows or an opaque value. Each op
// pushes at most one value of constant size beside bytes copied from the
// input, so memory is bounded by a multiple of the input.
type unpickler struct {
	data  []byte
	pos   int
	stack []any
	marks []int
	memo  map[uint32]any
	// persistent turns a persistent id into a value (a storage).
	persistent func(id any) (any, error)
	copied     int // pairs that orderedDict has copied
}

// run executes up to STOP and returns the value; u.pos is then behind it.
func (u *unpickler) run() (any, error) {
	u.memo = map[uint32]any{}
	for range maxOps {
		at := u.pos
		op, err := u.byte()
		if err != nil {
			return nil, err
		}
		if op == '.' {
			return u.pop()
		}
		if err := u.step(op); err != nil {
			return nil, fmt.Errorf("pickle: op %q at byte %d: %w", op, at, err)
		}
	}
	return nil, fmt.Errorf("pickle: more than %d ops", maxOps)
}

var errStack = errors.New("the stack is too short")

func (u *unpickler) push(v any) { u.stack = append(u.stack, v) }

// floor is the stack height that the innermost open mark protects.
func (u *unpickler) floor() int {
	if n := len(u.marks); n > 0 {
		return u.marks[n-1]
	}
	return 0
}

func (u *unpickler) pop() (any, error) {
	n := len(u.stack)
	if n <= u.floor() {
		return nil, errStack
	}
	v := u.stack[n-1]
	u.stack = u.stack[:n-1]
	return v, nil
}

func (u *unpickler) top() (any, error) {
	if len(u.stack) <= u.floor() {
		return nil, errStack
	}
	return u.stack[len(u.stack)-1], nil
}

// popN returns the top n values in a slice of their own.
func (u *unpickler) popN(n int) ([]any, error) {
	if len(u.stack)-u.floor() < n {
		return nil, errStack
	}
	at := len(u.stack) - n
	v := append([]any(nil), u.stack[at:]...)
	u.stack = u.stack[:at]
	return v, nil
}

func (u *unpickler) popMark() ([]any, error) {
	if len(u.marks) == 0 {
		return nil, errors.New("no mark on the stack")
	}
	at := u.floor()
	u.marks = u.marks[:len(u.marks)-1]
	v := append([]any(nil), u.stack[at:]...)
	u.stack = u.stack[:at]
	return v, nil
}

func (u *unpickler) byte() (byte, error) {
	if u.pos >= len(u.data) {
		return 0, errTruncated
	}
	u.pos++
	return u.data[u.pos-1], nil
}

func (u *unpickler) bytes(n uint64) ([]byte, error) {
	if n > uint64(len(u.data)-u.pos) {
		return nil, errTruncated
	}
	b := u.data[u.pos : u.pos+int(n)]
	u.pos += int(n)
	return b, nil
}

// uint reads n bytes, little endian.
func (u *unpickler) uint(n uint64) (uint64, error) {
	b, err := u.bytes(n)
	if err != nil {
		return 0, err
	}
	var buf [8]byte
	copy(buf[:], b)
	return binary.LittleEndian.Uint64(buf[:]), nil
}

// sized reads a length of n bytes and then as many bytes.
func (u *unpickler) sized(n uint64) ([]byte, error) {
	size, err := u.uint(n)
	if err != nil {
		return nil, err
	}
	return u.bytes(size)
}

func (u *unpickler) line() (string, error) {
	i := bytes.IndexByte(u.data[u.pos:], '\n')
	if i < 0 {
		return "", errTruncated
	}
	s := string(u.data[u.pos : u.pos+i])
	u.pos += i + 1
	return s, nil
}

// step executes one op of protocols 1 to 5. The text forms that only protocol
// 0 writes are not known: torch.save never used it.
func (u *unpickler) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		v, err := u.byte()
		if err == nil && v > 5 {
			err = fmt.Errorf("protocol %d, want at most 5", v)
		}
		return err
	case 0x95: // FRAME
		_, err := u.bytes(8)
		return err
	case '(':
		u.marks = append(u.marks, len(u.stack))
		return nil
	case '0': // POP; on an empty level it drops the mark
		if n := len(u.marks); n > 0 && len(u.stack) == u.floor() {
			u.marks = u.marks[:n-1]
			return nil
		}
		_, err := u.pop()
		return err
	case '1': // POP_MARK
		_, err := u.popMark()
		return err
	case '2': // DUP
		return u.pushResult(u.top())
	}
	if v, known, err := u.scalar(op); known {
		return u.pushResult(v, err)
	}
	if known, err := u.memoOp(op); known {
		return err
	}
	if v, known, err := u.container(op); known {
		return u.pushResult(v, err)
	}
	if known, err := u.fill(op); known {
		return err
	}
	if v, known, err := u.object(op); known {
		return u.pushResult(v, err)
	}
	return errors.New("unknown op")
}

func (u *unpickler) pushResult(v any, err error) error {
	if err == nil {
		u.push(v)
	}
	return err
}

// scalar reads ops that carry a plain value.
func (u *unpickler) scalar(op byte) (v any, known bool, err error) {
	switch op {
	case 'N':
		return nil, true, nil
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		return op == 0x88, true, nil
	case 'K', 'M', 'J': // BININT1, BININT2, BININT
		n := map[byte]uint64{'K': 1, 'M': 2, 'J': 4}[op]
		x, err := u.uint(n)
		if op == 'J' {
			return int64(int32(x)), true, err
		}
		return int64(x), true, err
	case 0x8a, 0x8b: // LONG1, LONG4
		b, err := u.sized(map[byte]uint64{0x8a: 1, 0x8b: 4}[op])
		return parseLong(b), true, err
	case 'G': // BINFLOAT, the one big-endian value
		b, err := u.bytes(8)
		if err != nil {
			return nil, true, err
		}
		return math.Float64frombits(binary.BigEndian.Uint64(b)), true, nil
	case 0x8c, 'X', 0x8d, 'U', 'T': // text; U and T are Python 2's str
		b, err := u.sized(map[byte]uint64{0x8c: 1, 'X': 4, 0x8d: 8, 'U': 1, 'T': 4}[op])
		return string(b), true, err
	case 'C', 'B', 0x8e, 0x96: // bytes, bytearray
		b, err := u.sized(map[byte]uint64{'C': 1, 'B': 4, 0x8e: 8, 0x96: 8}[op])
		return append([]byte(nil), b...), true, err
	}
	return nil, false, nil
}

// parseLong reads a two's complement little-endian integer.
func parseLong(b []byte) any {
	if len(b) > 8 {
		return bigInt(append([]byte(nil), b...))
	}
	var buf [8]byte
	copy(buf[:], b)
	x := int64(binary.LittleEndian.Uint64(buf[:]))
	if shift := 64 - 8*len(b); len(b) > 0 {
		x = x << shift >> shift
	}
	return x
}

func (u *unpickler) memoOp(op byte) (known bool, err error) {
	switch op {
	case 'q', 'r', 0x94: // BINPUT, LONG_BINPUT, MEMOIZE
		i := uint64(len(u.memo))
		if op != 0x94 {
			if i, err = u.uint(map[byte]uint64{'q': 1, 'r': 4}[op]); err != nil {
				return true, err
			}
		}
		v, err := u.top()
		if err != nil {
			return true, err
		}
		u.memo[uint32(i)] = v
		return true, nil
	case 'h', 'j': // BINGET, LONG_BINGET
		i, err := u.uint(map[byte]uint64{'h': 1, 'j': 4}[op])
		if err != nil {
			return true, err
		}
		v, ok := u.memo[uint32(i)]
		if !ok {
			return true, fmt.Errorf("memo %d is not set", i)
		}
		u.push(v)
		return true, nil
	}
	return false, nil
}

// container reads ops that make a container.
func (u *unpickler) container(op byte) (v any, known bool, err error) {
	var items []any
	switch op {
	case ')':
		return tuple(nil), true, nil
	case 0x85, 0x86, 0x87: // TUPLE1..3
		items, err = u.popN(int(op - 0x84))
		return tuple(items), true, err
	case 't':
		items, err = u.popMark()
		return tuple(items), true, err
	case ']':
		return &list{}, true, nil
	case 'l':
		items, err = u.popMark()
		return &list{items}, true, err
	case '}':
		return &dict{}, true, nil
	case 'd':
		if items, err = u.popMark(); err != nil {
			return nil, true, err
		}
		d := &dict{}
		return d, true, d.add(items)
	case 0x8f: // EMPTY_SET
		return &opaque{"set"}, true, nil
	case 0x91: // FROZENSET
		_, err = u.popMark()
		return &opaque{"frozenset"}, true, err
	}
	return nil, false, nil
}

func (d *dict) add(items []any) error {
	if len(items)%2 != 0 {
		return errors.New("a dict key without a value")
	}
	for i := 0; i < len(items); i += 2 {
		d.pairs = append(d.pairs, pair{items[i], items[i+1]})
	}
	return nil
}

// fill reads ops that add to the container below. What goes into an opaque
// object is dropped.
func (u *unpickler) fill(op byte) (known bool, err error) {
	var items []any
	switch op {
	case 'a', 's': // APPEND, SETITEM
		items, err = u.popN(map[byte]int{'a': 1, 's': 2}[op])
	case 'e', 'u', 0x90: // APPENDS, SETITEMS, ADDITEMS
		items, err = u.popMark()
	default:
		return false, nil
	}
	if err != nil {
		return true, err
	}
	target, err := u.top()
	if err != nil {
		return true, err
	}
	switch c := target.(type) {
	case *opaque:
		return true, nil
	case *list:
		if op == 'a' || op == 'e' {
			c.items = append(c.items, items...)
			return true, nil
		}
	case *dict:
		if op == 's' || op == 'u' {
			return true, c.add(items)
		}
	}
	return true, fmt.Errorf("the target is %T", target)
}
