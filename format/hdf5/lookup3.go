package hdf5

import "math/bits"

// lookup3 is the checksum of HDF5's metadata: Bob Jenkins' hash of that name
// (2006, public domain), initial value 0.
func lookup3(k []byte) uint32 {
	a := 0xdeadbeef + uint32(len(k))
	b, c := a, a
	word := func(i int) uint32 {
		var v uint32
		for j := range 4 {
			if i+j < len(k) {
				v |= uint32(k[i+j]) << (8 * j)
			}
		}
		return v
	}
	if len(k) == 0 {
		return c
	}
	for len(k) > 12 {
		a, b, c = a+word(0), b+word(4), c+word(8)
		for _, s := range [6]int{4, 6, 8, 16, 19, 4} {
			a -= c
			a ^= bits.RotateLeft32(c, s)
			c += b
			a, b, c = b, c, a
		}
		k = k[12:]
	}
	a, b, c = a+word(0), b+word(4), c+word(8)
	for _, s := range [7]int{14, 11, 25, 16, 4, 14, 24} {
		c ^= b
		c -= bits.RotateLeft32(b, s)
		a, b, c = b, c, a
	}
	// The seven rounds have turned the three words by one.
	return b
}
