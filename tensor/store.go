package tensor

import (
	"fmt"
	"sort"
)

// Store holds tensors by name: parameters, running statistics, optimizer
// state. Several plans may share one Store; they bind to its storage, so a
// tensor, once put, keeps its storage and shape (Put with the same shape and
// type copies into it). A Store is not safe for concurrent changes.
type Store struct {
	tensors map[string]*Tensor
}

// NewStore returns an empty Store.
func NewStore() *Store { return &Store{tensors: map[string]*Tensor{}} }

// Get returns the tensor of that name, or nil.
func (s *Store) Get(name string) *Tensor { return s.tensors[name] }

// Put sets a name. If the name exists with the same type and shape, the values
// are copied into the existing storage; with another type or shape it is an
// error.
func (s *Store) Put(name string, t *Tensor) error {
	old := s.tensors[name]
	if old == nil {
		s.tensors[name] = t
		return nil
	}
	if old.dtype != t.dtype || !old.shape.Equal(t.shape) {
		return fmt.Errorf("tensor: %w: %q is %v, got %v", ErrShape, name, old, t)
	}
	if old != t {
		copy(old.data, t.data)
	}
	return nil
}

// Delete removes a name. Plans bound to it keep its storage.
func (s *Store) Delete(name string) { delete(s.tensors, name) }

// Len returns the number of tensors.
func (s *Store) Len() int { return len(s.tensors) }

// Names returns all names, sorted.
func (s *Store) Names() []string {
	n := make([]string, 0, len(s.tensors))
	for k := range s.tensors {
		n = append(n, k)
	}
	sort.Strings(n)
	return n
}

// SizeBytes returns the bytes of all tensors together.
func (s *Store) SizeBytes() int {
	n := 0
	for _, t := range s.tensors {
		n += len(t.data)
	}
	return n
}

// Clone returns a Store with independent copies of all tensors.
func (s *Store) Clone() *Store {
	c := NewStore()
	for k, t := range s.tensors {
		c.tensors[k] = t.Clone()
	}
	return c
}
