package text

// table maps 64-bit keys to two 32-bit values: open addressing, linear probes,
// at most half full. The zero table is empty. It is what every model looks
// things up in, about four times as fast as a map here.
type table struct {
	slots []slot
	n     int
}

type slot struct {
	key  uint64 // noKey if free
	a, b int32
}

const noKey = ^uint64(0)

func hash(k uint64) uint64 {
	k *= 0x9E3779B97F4A7C15 // 2^64 / golden ratio: multiplicative hashing
	return k ^ k>>29
}

// get returns the values of a key, which is not noKey.
func (t *table) get(key uint64) (a, b int32, ok bool) {
	if len(t.slots) == 0 {
		return 0, 0, false
	}
	mask := uint64(len(t.slots) - 1)
	for i := hash(key) & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.key == key {
			return s.a, s.b, true
		}
		if s.key == noKey {
			return 0, 0, false
		}
	}
}

// put sets the values of a key.
func (t *table) put(key uint64, a, b int32) {
	if 2*(t.n+1) > len(t.slots) {
		t.grow(max(16, 2*len(t.slots)))
	}
	mask := uint64(len(t.slots) - 1)
	for i := hash(key) & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.key == noKey {
			t.n++
		} else if s.key != key {
			continue
		}
		*s = slot{key, a, b}
		return
	}
}

func (t *table) grow(size int) {
	old := t.slots
	t.slots = make([]slot, size)
	for i := range t.slots {
		t.slots[i].key = noKey
	}
	t.n = 0
	for _, s := range old {
		if s.key != noKey {
			t.put(s.key, s.a, s.b)
		}
	}
}

// trie finds strings of a set at the start of a text.
type trie struct {
	next  table   // node<<8 | byte -> node
	value []int32 // per node: what was put, or -1
	first [256]bool
}

// put adds a string that is not empty; a second value of one string wins.
func (t *trie) put(s string, v int32) {
	if len(t.value) == 0 {
		t.value = append(t.value, -1)
	}
	t.first[s[0]] = true
	node := int32(0)
	for i := range len(s) {
		key := uint64(node)<<8 | uint64(s[i])
		to, _, ok := t.next.get(key)
		if !ok {
			to = int32(len(t.value))
			t.value = append(t.value, -1)
			t.next.put(key, to, 0)
		}
		node = to
	}
	t.value[node] = v
}

// longest returns the value of the longest string that s begins with, and its
// length; 0 if there is none.
func (t *trie) longest(s string) (v int32, n int) {
	node := int32(0)
	for i := range len(s) {
		to, _, ok := t.next.get(uint64(node)<<8 | uint64(s[i]))
		if !ok {
			break
		}
		if node = to; t.value[node] >= 0 {
			v, n = t.value[node], i+1
		}
	}
	return v, n
}

// step follows one byte from a node, the root being 0; false at the end.
func (t *trie) step(node int32, b byte) (int32, bool) {
	to, _, ok := t.next.get(uint64(node)<<8 | uint64(b))
	return to, ok
}
