package torchzip

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lowbit/tensor"
)

// modelKeys are the keys under which training scripts keep the weights, in
// the order of preference.
var modelKeys = []string{"state_dict", "model_state_dict", "model_state", "model", "net", "module", "params", "weights"}

// otherKeys hold a training run's state beside the weights.
var otherKeys = map[string]bool{
	"optimizer": true, "optimizer_state_dict": true, "optim": true, "lr_scheduler": true,
	"scheduler": true, "scaler": true, "amp": true, "rng_state": true,
}

// wrapperPrefixes are what torch's wrappers put before every name.
var wrapperPrefixes = []string{"module.", "_orig_mod."}

const (
	maxNest      = 32  // dicts and lists inside each other
	maxNameBytes = 512 // of a tensor's joined name
)

// collector walks the values of a file and gathers tensors.
type collector struct {
	budget *budget
	refs   map[string]*tensorRef
	order  []string
	visits int    // values that may still be looked at
	first  global // the first object that was left out
}

// collect gathers the tensors of a file of that length. Each value that a file
// holds takes a byte at least; looking at more means that it repeats some.
func collect(root any, fileBytes int) (*tensor.Store, error) {
	c := &collector{budget: newBudget(fileBytes), refs: map[string]*tensorRef{}, visits: fileBytes}
	if o, ok := root.(*opaque); ok {
		return nil, fmt.Errorf("the file holds an object of %s, which is not read; save model.state_dict() instead", o.class)
	}
	name := ""
	if _, ok := root.(*tensorRef); ok {
		name = "tensor"
	}
	if err := c.walk(name, c.model(root), 0); err != nil {
		return nil, err
	}
	if len(c.refs) == 0 {
		if c.first != "" {
			return nil, fmt.Errorf("no tensors; an object of %s is not read", c.first)
		}
		return nil, errors.New("no tensors")
	}
	store := tensor.NewStore()
	cut := c.commonPrefix()
	for _, name := range c.order {
		t, err := c.refs[name].dense(c.budget)
		if err == nil {
			err = store.Put(name[cut:], t)
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
	}
	return store, nil
}

// model descends to the dict that holds the weights, if a usual key says so.
func (c *collector) model(root any) any {
	for range maxNest {
		d, ok := root.(*dict)
		if !ok {
			return root
		}
		next := root
		for _, k := range modelKeys {
			if v, _ := d.get(k); c.holdsTensors(v, 0) {
				next = v
				break
			}
		}
		if next == root {
			return root
		}
		root = next
	}
	return root
}

// holdsTensors reports whether a dict has a tensor in it or in its dicts.
func (c *collector) holdsTensors(v any, depth int) bool {
	d, ok := v.(*dict)
	if !ok || depth > maxNest {
		return false
	}
	for _, p := range d.pairs {
		if c.visits--; c.visits < 0 {
			return false
		}
		if _, ok := p.value.(*tensorRef); ok || c.holdsTensors(p.value, depth+1) {
			return true
		}
	}
	return false
}

func (c *collector) walk(name string, v any, depth int) error {
	if c.visits--; c.visits < 0 {
		return errors.New("containers repeat each other without end")
	}
	if depth > maxNest {
		return fmt.Errorf("containers nest more than %d deep at %q", maxNest, name)
	}
	switch x := v.(type) {
	case *tensorRef:
		if c.refs[name] != nil {
			return fmt.Errorf("tensor %q appears twice", name)
		}
		c.refs[name] = x
		c.order = append(c.order, name)
	case *opaque:
		if strings.HasPrefix(string(x.class), "torch._utils.") || strings.HasPrefix(string(x.class), "torch._tensor.") {
			return fmt.Errorf("tensor %q: a tensor made by %s is not read", name, x.class)
		}
		if c.first == "" {
			c.first = x.class
		}
	case *dict:
		for _, p := range x.pairs {
			if k, ok := p.key.(string); ok && depth == 0 && otherKeys[k] {
				continue
			}
			if err := c.child(name, p.key, p.value, depth); err != nil {
				return err
			}
		}
	case *list, tuple:
		items, _ := elements(v)
		for i, it := range items {
			if err := c.child(name, int64(i), it, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// child walks a container's value if it can hold tensors.
func (c *collector) child(parent string, key, v any, depth int) error {
	switch v.(type) {
	case *tensorRef, *opaque, *dict, *list, tuple:
	default:
		return nil
	}
	var name string
	switch k := key.(type) {
	case string:
		name = k
	case int64:
		name = strconv.FormatInt(k, 10)
	default:
		return nil
	}
	if len(parent)+len(name) > maxNameBytes {
		return fmt.Errorf("a name is longer than %d bytes: %.80q", maxNameBytes, name)
	}
	if depth > 0 {
		name = parent + "." + name
	}
	return c.walk(name, v, depth+1)
}

// commonPrefix returns the length of the wrapper prefixes that all names share.
func (c *collector) commonPrefix() int {
	cut := 0
	for {
		before := cut
		for _, p := range wrapperPrefixes {
			if !slices.ContainsFunc(c.order, func(name string) bool {
				return len(name) <= cut+len(p) || name[cut:cut+len(p)] != p
			}) {
				cut += len(p)
			}
		}
		if cut == before {
			return cut
		}
	}
}

// dense copies a view's elements into a new tensor, outermost dimension first.
func (r *tensorRef) dense(b *budget) (*tensor.Tensor, error) {
	size := r.dtype.Size()
	if size == 0 {
		return nil, fmt.Errorf("%s is not supported", r.dtypeName)
	}
	shape := tensor.Shape(r.shape)
	n, err := shape.CheckedSize()
	if err != nil {
		return nil, err
	}
	if err := b.take(n, size); err != nil {
		return nil, fmt.Errorf("shape %v: %w", shape, err)
	}
	if err := r.checkBounds(n); err != nil {
		return nil, err
	}
	t := tensor.New(r.dtype, r.shape...)
	if n > 0 {
		gather(t.Bytes(), r.storage.data[r.offset*size:], r.shape, r.stride, size)
	}
	return t, nil
}

// checkBounds demands that every element lies in the storage.
func (r *tensorRef) checkBounds(n int) error {
	have := len(r.storage.data) / r.dtype.Size()
	if n == 0 {
		return nil
	}
	left := have - 1 - r.offset // from the first element to the last possible
	for i, d := range r.shape {
		if left < 0 {
			break
		}
		if s := r.stride[i]; s > 0 && d-1 > left/s {
			left = -1
		} else {
			left -= (d - 1) * s
		}
	}
	if left < 0 {
		return fmt.Errorf("shape %v with strides %v from %d, the storage has %d elements", tensor.Shape(r.shape), r.stride, r.offset, have)
	}
	return nil
}

// gather copies elements of size bytes; it returns what is left of dst.
func gather(dst, src []byte, shape, stride []int, size int) []byte {
	if isDense(shape, stride) {
		n := tensor.Shape(shape).Size() * size
		copy(dst[:n], src)
		return dst[n:]
	}
	for i := range shape[0] {
		dst = gather(dst, src[i*stride[0]*size:], shape[1:], stride[1:], size)
	}
	return dst
}

// isDense reports whether the elements follow each other in row-major order.
func isDense(shape, stride []int) bool {
	step := 1
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] != 1 && stride[i] != step {
			return false
		}
		step *= shape[i]
	}
	return true
}
