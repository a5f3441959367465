package rl

import (
	"bytes"
	"math"
)

// span is the source pixels of one output pixel along one axis: source
// first+k counts weight[k].
type span struct {
	first  int
	weight []int32
}

// resizer reduces gray screens to squares; one axis after the other.
type resizer struct {
	rows, cols []span
	width      int
	total      uint32   // area: sum of the weights' products
	inverse    uint64   // area: 2^40/total rounded up, exact for sums up to 256 totals
	acc        []uint32 // area: one output row over all source columns
	mid        []uint8  // triangle: rounded between the axes
}

// areaSpans returns the overlaps of out equal cells with in pixels, in units
// of 1/out pixel after division by their greatest common divisor.
func areaSpans(in, out int) (spans []span, total uint32) {
	g := gcd(in, out)
	cell, pixel := in/g, out/g // lengths of an output cell and a source pixel
	for o := range out {
		lo, hi := o*cell, (o+1)*cell
		s := span{first: lo / pixel}
		for p := s.first; p*pixel < hi; p++ {
			s.weight = append(s.weight, int32(min(hi, (p+1)*pixel)-max(lo, p*pixel)))
		}
		spans = append(spans, s)
	}
	return spans, uint32(cell)
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// newAreaResizer averages each output pixel's area exactly, and rounds ties to
// even.
func newAreaResizer(height, width, size int) *resizer {
	r := &resizer{width: width, acc: make([]uint32, width)}
	var down, across uint32
	r.rows, down = areaSpans(height, size)
	r.cols, across = areaSpans(width, size)
	r.total = down * across
	r.inverse = (1<<40 + uint64(r.total) - 1) / uint64(r.total)
	return r
}

// area writes the reduced src [height, width] to dst [size, size].
func (r *resizer) area(src, dst []uint8) {
	for y := range r.rows {
		r.areaRow(y, src, dst)
	}
}

// areaRow writes row y of dst.
func (r *resizer) areaRow(y int, src, dst []uint8) {
	size := len(r.cols)
	half := r.total / 2
	r.addRows(src, &r.rows[y])
	out := dst[y*size:][:size]
	for x := range out {
		col := &r.cols[x]
		var sum uint32
		if w := col.weight; len(w) == 3 {
			v := r.acc[col.first:][:3]
			sum = uint32(w[0])*v[0] + uint32(w[1])*v[1] + uint32(w[2])*v[2]
		} else {
			for k, v := range r.acc[col.first:][:len(w)] {
				sum += uint32(w[k]) * v
			}
		}
		q := uint32(uint64(sum+half) * r.inverse >> 40)
		if q&1 == 1 && q*r.total == sum+half && r.total&1 == 0 {
			q-- // a tie
		}
		out[x] = uint8(q)
	}
}

// addRows sets acc to the weighted sum of the rows of one output row. Three rows,
// the case of 210 -> 84, are added in one pass.
func (r *resizer) addRows(src []uint8, row *span) {
	acc := r.acc
	line := src[row.first*r.width:]
	if w := row.weight; len(w) == 3 {
		a, b, c := line[:len(acc)], line[r.width:][:len(acc)], line[2*r.width:][:len(acc)]
		p, q, s := uint32(w[0]), uint32(w[1]), uint32(w[2])
		for x := range acc {
			acc[x] = p*uint32(a[x]) + q*uint32(b[x]) + s*uint32(c[x])
		}
		return
	}
	clear(acc)
	for k, w := range row.weight {
		for x, v := range line[k*r.width:][:len(acc)] {
			acc[x] += uint32(w) * uint32(v)
		}
	}
}

// filterBits is the precision of the triangle filter's weights: 22 bits, as in
// the image library that the baby-a3c teachers were trained with, so that
// pixels are equal.
const filterBits = 22

// newTriangleResizer interpolates linearly with a filter as wide as the
// reduction, each axis rounded on its own, columns first.
func newTriangleResizer(height, width, size int) *resizer {
	return &resizer{
		rows: triangleSpans(height, size), cols: triangleSpans(width, size),
		width: width, mid: make([]uint8, height*size),
	}
}

func triangleSpans(in, out int) (spans []span) {
	scale := float64(in) / float64(out)
	support := max(scale, 1)
	for o := range out {
		center := (float64(o) + 0.5) * scale
		lo := max(0, int(center-support+0.5))
		hi := min(in, int(center+support+0.5))
		w := make([]float64, hi-lo)
		sum := 0.0
		for k := range w {
			w[k] = max(0, 1-math.Abs(float64(k+lo)-center+0.5)/support)
			sum += w[k]
		}
		s := span{first: lo}
		for _, v := range w {
			s.weight = append(s.weight, int32(v/sum*(1<<filterBits)+0.5))
		}
		spans = append(spans, s)
	}
	return spans
}

// triangle writes the reduced src [height, width] to dst [size, size].
func (r *resizer) triangle(src, dst []uint8) {
	for y := range len(r.mid) / len(r.cols) {
		r.narrowRow(y, src, r.mid)
	}
	for y := range r.rows {
		r.triangleRow(y, r.mid, dst)
	}
}

// narrowRow writes row y of mid [height, size] from row y of src.
func (r *resizer) narrowRow(y int, src, mid []uint8) {
	line := src[y*r.width:][:r.width]
	out := mid[y*len(r.cols):][:len(r.cols)]
	for x, s := range r.cols {
		sum := int32(1 << (filterBits - 1))
		for k, w := range s.weight {
			sum += w * int32(line[s.first+k])
		}
		out[x] = uint8(min(255, sum>>filterBits))
	}
}

// triangleRow writes row y of dst from mid.
func (r *resizer) triangleRow(y int, mid, dst []uint8) {
	size, s := len(r.cols), r.rows[y]
	for x := range size {
		sum := int32(1 << (filterBits - 1))
		for k, w := range s.weight {
			sum += w * int32(mid[(s.first+k)*size+x])
		}
		dst[y*size+x] = uint8(min(255, sum>>filterBits))
	}
}

// newPointResizer interpolates the four pixels around each output pixel's
// centre.
func newPointResizer(height, width, size int) *resizer {
	return &resizer{rows: pointSpans(height, size), cols: pointSpans(width, size), width: width}
}

// pointBits is the precision of the interpolation weights, 11 bits an axis.
const pointBits = 11

func pointSpans(in, out int) (spans []span) {
	scale := float64(in) / float64(out)
	for o := range out {
		at := max(0, (float64(o)+0.5)*scale-0.5)
		first := min(int(at), in-2)
		right := int32(math.RoundToEven(min(1, at-float64(first)) * (1 << pointBits)))
		spans = append(spans, span{first, []int32{1<<pointBits - right, right}})
	}
	return spans
}

// point writes the reduced src [height, width] to dst [size, size].
func (r *resizer) point(src, dst []uint8) {
	for y := range r.rows {
		r.pointRow(y, src, dst)
	}
}

// pointRow writes row y of dst.
func (r *resizer) pointRow(y int, src, dst []uint8) {
	size, row := len(r.cols), r.rows[y]
	a := src[row.first*r.width:][:r.width]
	b := src[(row.first+1)*r.width:][:r.width]
	for x, col := range r.cols {
		top := col.weight[0]*int32(a[col.first]) + col.weight[1]*int32(a[col.first+1])
		low := col.weight[0]*int32(b[col.first]) + col.weight[1]*int32(b[col.first+1])
		sum := row.weight[0]*top + row.weight[1]*low
		dst[y*size+x] = uint8((sum + 1<<(2*pointBits-1)) >> (2 * pointBits))
	}
}

// screenView turns an emulator's screens into squares of gray.
type screenView struct {
	kind   view
	max    bool
	height int // of the screen, or of the rows that are shown
	width  int
	gray   []uint8
	merged []uint8
	sums   []int32
	codes  codeTables
	*resizer
}

const (
	babyTop  = 35 // first row that the baby-a3c teachers see
	babyRows = 160
)

func newScreenView(p AtariPreset, height, width int) *screenView {
	v := &screenView{kind: p.view, max: p.Max, height: height, width: width}
	switch p.view {
	case viewArea:
		v.resizer = newAreaResizer(height, width, p.Size)
		v.merged = make([]uint8, height*width)
	case viewBaby:
		v.resizer = newTriangleResizer(babyRows, width, p.Size)
		v.gray, v.sums = make([]uint8, babyRows*width), make([]int32, babyRows*width)
	case viewAsync:
		v.resizer = newPointResizer(height, width, p.Size)
		v.merged, v.gray = make([]uint8, 3*height*width), make([]uint8, height*width)
	}
	return v
}

// show writes the square for the last frame but one and the last frame, each
// [height, width] gray or [height, width, 3], to dst [size, size].
func (v *screenView) show(before, last, dst []uint8) {
	if v.max {
		brighter(before, last, v.merged, len(last)/v.height)
		last = v.merged
	}
	switch v.kind {
	case viewArea:
		v.area(last, dst)
	case viewBaby:
		v.stretch(last[3*babyTop*v.width:])
		v.triangle(v.gray, dst)
	case viewAsync:
		for i := range v.gray {
			p := last[3*i:][:3]
			v.gray[i] = asyncGray(p[0], p[1], p[2])
		}
		v.point(v.gray, dst)
	}
}

// asyncGray is the luminance that the async-rl teachers saw.
func asyncGray(r, g, b uint8) uint8 {
	return uint8(float64(0.7152*float64(r)) + float64(0.0722*float64(g)) + float64(0.2126*float64(b)))
}

// brighter writes the element-wise maximum of a and b to dst. Most lines of
// two screens are equal.
func brighter(a, b, dst []uint8, line int) {
	for ; len(b) >= line; a, b, dst = a[line:], b[line:], dst[line:] {
		p, q := a[:line], b[:line]
		if bytes.Equal(p, q) {
			copy(dst, q)
			continue
		}
		out := dst[:line]
		for i, v := range q {
			out[i] = max(v, p[i])
		}
	}
}

// stretch sets gray to the mean of each pixel's three colours, the darkest
// mapped to 0 and the brightest to 255, halves rounded up: in float64 and in the
// order (s/3 - lo)*(255/(hi-lo)) + 1/2, as the teachers' preprocessing did.
func (v *screenView) stretch(rgb []uint8) {
	lo, hi := int32(math.MaxInt32), int32(0)
	for i := range v.sums {
		p := rgb[3*i:][:3]
		s := int32(p[0]) + int32(p[1]) + int32(p[2])
		v.sums[i] = s
		lo, hi = min(lo, s), max(hi, s)
	}
	table := stretchTable(lo, hi)
	for i, s := range v.sums {
		v.gray[i] = table[s]
	}
}

// stretchTable returns the gray of each sum of three colours between the least
// and the greatest of a screen.
func stretchTable(lo, hi int32) (table [3*255 + 1]uint8) {
	dark := float64(lo) / 3
	scale := 255.0
	if hi > lo {
		scale = 255 / (float64(hi)/3 - dark)
	}
	for s := lo; s <= hi; s++ {
		table[s] = uint8(float64((float64(s)/3-dark)*scale) + 0.5)
	}
	return table
}
