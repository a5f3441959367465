package rl

import (
	"bytes"
	"fmt"
)

// codeTables is what the codes of an emulator's screens look like: 128 colours
// in place of three bytes a pixel. unknown marks the codes without a colour.
type codeTables struct {
	rgb   [256][3]uint8
	shade [256]uint16 // gray; viewBaby: sum of the three colours
}

const unknownCode = 1 << 15

// square is the small screen of one game with what it was made from. Most rows
// of successive screens are equal: only the others are made small again.
type square struct {
	before, last []uint8 // [rows, width] codes of the rows that are shown
	gray         []uint8 // [rows, width]
	mid          []uint8 // viewBaby: [rows, size], narrowed
	out          []uint8 // [size, size]
	dirty        []bool  // rows that changed
	begun        bool
	// viewBaby: darkest and brightest sum of each row and of the screen, and the
	// gray that each sum has for these two.
	rowLo, rowHi []uint16
	lo, hi       uint16
	stretched    [3*255 + 1]uint8
}

// setPalette takes rows code, r, g, b, gray; screens are codes from then on.
func (v *screenView) setPalette(rows [][5]int) error {
	t := &v.codes
	for c := range t.shade {
		t.shade[c] = unknownCode
	}
	for _, row := range rows {
		for _, n := range row {
			if n < 0 || n > 255 {
				return fmt.Errorf("palette row %v, want bytes", row)
			}
		}
		c, r, g, b := row[0], uint8(row[1]), uint8(row[2]), uint8(row[3])
		t.rgb[c] = [3]uint8{r, g, b}
		switch v.kind {
		case viewArea:
			t.shade[c] = uint16(row[4])
		case viewBaby:
			t.shade[c] = uint16(r) + uint16(g) + uint16(b)
		case viewAsync:
			t.shade[c] = uint16(asyncGray(r, g, b))
		}
	}
	return nil
}

// shown returns the first row that a view shows, and how many.
func (v *screenView) shown() (first, rows int) {
	if v.kind == viewBaby {
		return babyTop, babyRows
	}
	return 0, v.height
}

func (v *screenView) newSquare() *square {
	_, rows := v.shown()
	size, n := len(v.cols), rows*v.width
	q := &square{last: make([]uint8, n), gray: make([]uint8, n), out: make([]uint8, size*size), dirty: make([]bool, rows)}
	if v.max {
		q.before = make([]uint8, n)
	}
	if v.kind == viewBaby {
		q.mid, q.rowLo, q.rowHi = make([]uint8, rows*size), make([]uint16, rows), make([]uint16, rows)
	}
	return q
}

// update makes q the square of the last frame but one and the last frame, each
// [height, width] codes: what show makes of their colours.
func (v *screenView) update(q *square, before, last []uint8) error {
	first, rows := v.shown()
	w := v.width
	bad := uint16(0)
	for y := range rows {
		from := (first + y) * w
		b, l := before[from:][:w], last[from:][:w]
		oldL := q.last[y*w:][:w]
		same := q.begun && bytes.Equal(l, oldL)
		if v.max {
			oldB := q.before[y*w:][:w]
			same = same && bytes.Equal(b, oldB)
			copy(oldB, b)
		}
		if q.dirty[y] = !same; same {
			continue
		}
		copy(oldL, l)
		bad |= v.shadeRow(q, y, b, l)
	}
	if bad >= unknownCode {
		q.begun = false
		return fmt.Errorf("a screen with a colour that the palette lacks")
	}
	if v.kind == viewBaby {
		v.stretchCodes(q)
	}
	q.begun = true
	v.reduce(q)
	return nil
}

// shadeRow sets row y of gray, for viewBaby the row's darkest and brightest sum
// instead. Its result is at least unknownCode if a code has no colour.
func (v *screenView) shadeRow(q *square, y int, before, last []uint8) (seen uint16) {
	shade := &v.codes.shade
	if v.kind == viewBaby {
		lo, hi := uint16(unknownCode), uint16(0)
		for _, c := range last {
			lo, hi = min(lo, shade[c]), max(hi, shade[c])
		}
		q.rowLo[y], q.rowHi[y] = lo, hi
		return hi
	}
	gray := q.gray[y*v.width:][:len(last)]
	if !v.max {
		before = last
	}
	before = before[:len(last)]
	for x, c := range last {
		s, b := shade[c], before[x]
		if b != c {
			seen |= shade[b]
			if v.kind == viewArea {
				s = max(s, shade[b])
			} else {
				p, o := v.codes.rgb[c], v.codes.rgb[b]
				seen |= s
				s = uint16(asyncGray(max(p[0], o[0]), max(p[1], o[1]), max(p[2], o[2])))
			}
		}
		seen |= s
		gray[x] = uint8(s)
	}
	return seen
}

// stretchCodes sets the gray of the rows that changed, or of all if the darkest
// or brightest sum of the screen did.
func (v *screenView) stretchCodes(q *square) {
	lo, hi := q.rowLo[0], q.rowHi[0]
	for y := range q.rowLo {
		lo, hi = min(lo, q.rowLo[y]), max(hi, q.rowHi[y])
	}
	all := !q.begun || lo != q.lo || hi != q.hi
	if all {
		q.lo, q.hi, q.stretched = lo, hi, stretchTable(int32(lo), int32(hi))
	}
	for y := range q.dirty {
		if q.dirty[y] = q.dirty[y] || all; !q.dirty[y] {
			continue
		}
		gray := q.gray[y*v.width:][:v.width]
		for x, c := range q.last[y*v.width:][:v.width] {
			gray[x] = q.stretched[v.codes.shade[c]]
		}
	}
}

// reduce makes the rows of out small again whose source changed.
func (v *screenView) reduce(q *square) {
	if v.kind == viewBaby {
		for y, d := range q.dirty {
			if d {
				v.narrowRow(y, q.gray, q.mid)
			}
		}
	}
	for y := range v.rows {
		r := &v.rows[y]
		changed := false
		for _, d := range q.dirty[r.first : r.first+len(r.weight)] {
			changed = changed || d
		}
		if !changed {
			continue
		}
		switch v.kind {
		case viewArea:
			v.areaRow(y, q.gray, q.out)
		case viewBaby:
			v.triangleRow(y, q.mid, q.out)
		case viewAsync:
			v.pointRow(y, q.gray, q.out)
		}
	}
}
