package torchzip

import (
	"errors"
	"fmt"
	"strings"

	"lowbit/tensor"
)

// storage is a run of elements that tensors view.
type storage struct {
	class    string       // "torch.FloatStorage"
	dtype    tensor.DType // Invalid if package tensor lacks it; U8 if untyped
	elements int
	data     []byte // nil until read
}

// tensorRef is a view of a storage: element (i, j, …) lies at
// offset + i*stride[0] + j*stride[1] + …
type tensorRef struct {
	storage       *storage
	dtype         tensor.DType // Invalid if package tensor lacks it
	dtypeName     string       // for errors
	offset        int          // in elements of dtype
	shape, stride []int
}

// storageTypes gives the element type of a storage class in module torch.
var storageTypes = map[string]tensor.DType{
	"DoubleStorage": tensor.F64, "FloatStorage": tensor.F32, "HalfStorage": tensor.F16,
	"BFloat16Storage": tensor.BF16, "LongStorage": tensor.I64, "IntStorage": tensor.I32,
	"ShortStorage": tensor.I16, "CharStorage": tensor.I8, "ByteStorage": tensor.U8,
	"BoolStorage": tensor.Bool,
}

// scalarTypes gives the element type of a torch.dtype.
var scalarTypes = map[global]tensor.DType{
	"torch.float64": tensor.F64, "torch.float32": tensor.F32, "torch.float16": tensor.F16,
	"torch.bfloat16": tensor.BF16, "torch.int64": tensor.I64, "torch.int32": tensor.I32,
	"torch.int16": tensor.I16, "torch.int8": tensor.I8, "torch.uint8": tensor.U8,
	"torch.bool": tensor.Bool,
}

// object reads ops that name, make or change an object.
func (u *unpickler) object(op byte) (v any, known bool, err error) {
	switch op {
	case 'c': // GLOBAL
		module, err := u.line()
		if err != nil {
			return nil, true, err
		}
		name, err := u.line()
		return global(module + "." + name), true, err
	case 0x93: // STACK_GLOBAL
		return u.stackGlobal()
	case 'R', 0x81: // REDUCE, NEWOBJ: class or function, arguments
		a, err := u.popN(2)
		if err != nil {
			return nil, true, err
		}
		v, err = u.reduce(a[0], a[1])
		return v, true, err
	case 0x92: // NEWOBJ_EX: class, arguments, keywords
		a, err := u.popN(3)
		if err != nil {
			return nil, true, err
		}
		v, err = u.reduce(a[0], a[1])
		return v, true, err
	case 'b': // BUILD sets attributes, which nothing here needs
		a, err := u.popN(2)
		if err != nil {
			return nil, true, err
		}
		return a[0], true, nil
	case 'Q': // BINPERSID
		id, err := u.pop()
		if err != nil {
			return nil, true, err
		}
		if u.persistent == nil {
			return nil, true, errors.New("a persistent id where none may be")
		}
		v, err = u.persistent(id)
		return v, true, err
	}
	return nil, false, nil
}

func (u *unpickler) stackGlobal() (any, bool, error) {
	a, err := u.popN(2)
	if err != nil {
		return nil, true, err
	}
	module, ok1 := a[0].(string)
	name, ok2 := a[1].(string)
	if !ok1 || !ok2 {
		return nil, true, fmt.Errorf("a global named by %T and %T, want strings", a[0], a[1])
	}
	// Two names may follow from the memo many times: bound what joining costs.
	if len(module)+len(name) > 250 {
		return nil, true, errors.New("a global's name is longer than 250 bytes")
	}
	return global(module + "." + name), true, nil
}

// reduce gives the value of a class or function applied to arguments, for
// those that a state dict needs; anything else becomes opaque.
func (u *unpickler) reduce(fn, args any) (any, error) {
	name, ok := fn.(global)
	if !ok {
		if o, isOpaque := fn.(*opaque); isOpaque {
			return o, nil
		}
		return nil, fmt.Errorf("%T is called, want a global", fn)
	}
	a, ok := args.(tuple)
	if !ok {
		return nil, fmt.Errorf("%s: arguments are %T, want a tuple", name, args)
	}
	v, err := u.apply(name, a)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

func (u *unpickler) apply(name global, a tuple) (any, error) {
	switch name {
	case "collections.OrderedDict", "builtins.dict", "__builtin__.dict":
		return u.orderedDict(a)
	case "collections.defaultdict":
		return &dict{}, nil // its one argument is the factory
	case "torch.Size", "builtins.tuple", "__builtin__.tuple":
		return sequence(a)
	case "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor":
		return rebuildTensor(a, "")
	case "torch._utils._rebuild_tensor_v3": // …, requires_grad, hooks, dtype
		if len(a) < 7 {
			return nil, fmt.Errorf("%d arguments, want at least 7", len(a))
		}
		g, ok := a[6].(global)
		if !ok {
			return nil, fmt.Errorf("dtype is %T, want a torch.dtype", a[6])
		}
		return rebuildTensor(a, g)
	case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state":
		return argument(a, 0)
	case "torch._tensor._rebuild_from_type_v2": // function, type, arguments, state
		if len(a) != 4 {
			return nil, fmt.Errorf("%d arguments, want 4", len(a))
		}
		switch a[1] {
		case global("torch.Tensor"), global("torch.nn.parameter.Parameter"), global("torch.nn.parameter.Buffer"):
			inner, ok := a[0].(global)
			if !ok || !strings.HasPrefix(string(inner), "torch._utils.") {
				return nil, fmt.Errorf("rebuilt by %v, want a function of torch._utils", a[0])
			}
			return u.reduce(inner, a[2])
		}
	}
	return &opaque{name}, nil
}

func argument(a tuple, i int) (any, error) {
	if len(a) <= i {
		return nil, fmt.Errorf("%d arguments, want at least %d", len(a), i+1)
	}
	return a[i], nil
}

// orderedDict takes no argument, or a list of pairs as Python 2 wrote it.
func (u *unpickler) orderedDict(a tuple) (any, error) {
	d := &dict{}
	if len(a) == 0 {
		return d, nil
	}
	items, ok := elements(a[0])
	if !ok {
		if same, isDict := a[0].(*dict); isDict {
			return same, nil
		}
		return nil, fmt.Errorf("argument is %T, want a list of pairs", a[0])
	}
	// The memo can hand the same list to many calls; a real file uses each once.
	if u.copied += len(items); u.copied > len(u.data) {
		return nil, errors.New("more pairs are copied than the file can hold")
	}
	for _, it := range items {
		p, ok := elements(it)
		if !ok || len(p) != 2 {
			return nil, errors.New("an item is not a pair")
		}
		d.pairs = append(d.pairs, pair{p[0], p[1]})
	}
	return d, nil
}

func sequence(a tuple) (any, error) {
	if len(a) == 0 {
		return tuple(nil), nil
	}
	items, ok := elements(a[0])
	if !ok {
		return nil, fmt.Errorf("argument is %T, want a sequence", a[0])
	}
	return tuple(items), nil
}

// elements returns the items of a list or tuple.
func elements(v any) ([]any, bool) {
	switch s := v.(type) {
	case tuple:
		return s, true
	case *list:
		return s.items, true
	}
	return nil, false
}

// rebuildTensor reads (storage, offset, size, stride, …). dtype is empty where
// the storage class gives it.
func rebuildTensor(a tuple, dtype global) (any, error) {
	if len(a) < 4 {
		return nil, fmt.Errorf("%d arguments, want at least 4", len(a))
	}
	s, ok := a[0].(*storage)
	if !ok {
		return nil, fmt.Errorf("storage is %T", a[0])
	}
	offset, ok := a[1].(int64)
	if !ok || offset < 0 || int64(int(offset)) != offset {
		return nil, fmt.Errorf("storage offset %v, want a whole number from 0", a[1])
	}
	shape, err := dimensions(a[2])
	if err != nil {
		return nil, fmt.Errorf("size: %w", err)
	}
	stride, err := dimensions(a[3])
	if err != nil {
		return nil, fmt.Errorf("stride: %w", err)
	}
	if len(stride) != len(shape) {
		return nil, fmt.Errorf("%d dimensions and %d strides", len(shape), len(stride))
	}
	t := &tensorRef{storage: s, dtype: s.dtype, dtypeName: s.class, offset: int(offset), shape: shape, stride: stride}
	if dtype != "" {
		t.dtype, t.dtypeName = scalarTypes[dtype], string(dtype)
	}
	return t, nil
}

// maxDims is PyTorch's own limit.
const maxDims = 64

func dimensions(v any) ([]int, error) {
	items, ok := elements(v)
	if !ok {
		return nil, fmt.Errorf("got %T, want a tuple", v)
	}
	if len(items) > maxDims {
		return nil, fmt.Errorf("%d dimensions, want at most %d", len(items), maxDims)
	}
	d := make([]int, len(items))
	for i, it := range items {
		n, ok := it.(int64)
		if !ok || n < 0 || int64(int(n)) != n {
			return nil, fmt.Errorf("got %v, want whole numbers from 0", it)
		}
		d[i] = int(n)
	}
	return d, nil
}

// storageID is a persistent id: ("storage", class, key, device, elements),
// in the legacy form followed by a view (key, offset, elements) or None.
type storageID struct {
	class    string
	dtype    tensor.DType
	key      string
	elements int
	view     any
}

func parseStorageID(id any) (storageID, error) {
	t, ok := id.(tuple)
	if !ok || len(t) < 5 || t[0] != any("storage") {
		return storageID{}, errors.New("persistent id, want a storage")
	}
	class, ok1 := t[1].(global)
	key, ok2 := t[2].(string)
	n, ok3 := t[4].(int64)
	if !ok1 || !ok2 || !ok3 || n < 0 || int64(int(n)) != n {
		return storageID{}, errors.New("persistent id of a storage, want class, key, device and size")
	}
	s := storageID{class: string(class), key: key, elements: int(n)}
	name, isTorch := strings.CutPrefix(s.class, "torch.")
	switch {
	case name == "storage.UntypedStorage", name == "UntypedStorage":
		s.dtype = tensor.U8
	case isTorch && strings.HasSuffix(name, "Storage"):
		s.dtype = storageTypes[strings.TrimPrefix(name, "cuda.")]
	default:
		return storageID{}, fmt.Errorf("persistent id of class %s, want a torch storage", class)
	}
	if len(t) > 5 {
		s.view = t[5]
	}
	return s, nil
}
