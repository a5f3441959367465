package rl

import (
	"fmt"
)

// Code names how the elements of an observation become a network's input.
type Code string

// Codes. Planes: an element is 0 or 1. Gray: byte/255. Thermometer: Levels
// bits a pixel, bit k set where the byte is at least 256*(k+1)/(Levels+1).
// Change: the thermometer of the newest screen, then one plane where it is
// brighter than the one before and one where it is darker, by at least
// ChangeBytes.
const (
	Planes      Code = "planes"
	Gray        Code = "gray"
	Thermometer Code = "thermometer"
	Change      Code = "change"
)

// ChangeBytes is the least difference that Code Change shows, of 255.
const ChangeBytes = 16

// View is what a network sees of an environment.
type View struct {
	// C, H, W is the shape of the environment's observation.
	C int `json:"c"`
	H int `json:"h"`
	W int `json:"w"`
	// Stack is the number of successive observations shown, oldest first; those
	// before an episode's start are zero. 0 means 1.
	Stack int `json:"stack,omitempty"`
	// Code is how elements are shown, Levels that of Thermometer and Change.
	Code   Code `json:"code"`
	Levels int  `json:"levels,omitempty"`
}

// PlainView shows an environment's observations as they are.
func PlainView(s EnvSpec) View {
	v := View{C: s.C, H: s.H, W: s.W, Stack: 1, Code: Gray}
	if s.Channels != nil {
		v.Code = Planes
	}
	return v
}

// Validate returns an error that names the first setting that makes no sense.
func (v View) Validate() error {
	switch {
	case v.C < 1 || v.H < 1 || v.W < 1 || v.C > 64 || v.H > 512 || v.W > 512:
		return fmt.Errorf("rl: view of %d x %d x %d, want 1..64 channels of at most 512 x 512", v.C, v.H, v.W)
	case v.Stack < 0 || v.Stack > 16:
		return fmt.Errorf("rl: view: stack of %d, want 1..16", v.Stack)
	}
	switch v.Code {
	case Planes, Gray:
		return nil
	case Thermometer, Change:
		if v.Levels < 1 || v.Levels > 16 {
			return fmt.Errorf("rl: view: %d levels of code %s, want 1..16", v.Levels, v.Code)
		}
		if v.Code == Change && v.frames() < 2 {
			return fmt.Errorf("rl: view: code %s needs a stack or screens of 2 channels, have %d", v.Code, v.frames())
		}
		return nil
	}
	return fmt.Errorf("rl: view: code %q, want %s, %s, %s or %s", v.Code, Planes, Gray, Thermometer, Change)
}

// frames returns the planes of the stack before coding.
func (v View) frames() int { return v.C * max(v.Stack, 1) }

// Screens returns how many successive screens of equal size a view consists of,
// oldest first and black before an episode's start; 1 where it is no such stack.
func (v View) Screens() int {
	if v.Code != Gray {
		return 1
	}
	return v.frames()
}

// Shape returns channels, height and width of the network's input.
func (v View) Shape() (c, h, w int) {
	c = v.frames()
	switch v.Code {
	case Thermometer:
		c *= v.Levels
	case Change:
		c = v.Levels + 2
	}
	return c, v.H, v.W
}

// Size returns the elements of the network's input.
func (v View) Size() int { c, h, w := v.Shape(); return c * h * w }

// Binary reports whether each element of the input is 0 or 1.
func (v View) Binary() bool { return v.Code != Gray }

// Bytes returns the bytes that a view of one observation takes: a bit an
// element, packed as Format Bits says, if Binary, else a byte.
func (v View) Bytes() int {
	if v.Binary() {
		return (v.Size() + 7) / 8
	}
	return v.Size()
}

// fits returns an error if the view is of other observations than spec's.
func (v View) fits(s EnvSpec) error {
	if err := v.Validate(); err != nil {
		return err
	}
	if v.C != s.C || v.H != s.H || v.W != s.W {
		return fmt.Errorf("rl: a view of %d x %d x %d, but %s shows %d x %d x %d", v.C, v.H, v.W, s.Name, s.C, s.H, s.W)
	}
	if (v.Code == Planes) != (s.Channels != nil) {
		return fmt.Errorf("rl: code %s does not show %s", v.Code, s.Name)
	}
	return nil
}

// Viewer makes views of the observations of N games; it keeps the stacks.
type Viewer struct {
	view  View
	spec  EnvSpec
	stack []byte // [N, frames*H*W], a byte an element
	out   []byte // [N, Bytes]
}

// NewViewer returns the viewer of an environment's games, or an error if the
// view does not fit it.
func NewViewer(v View, s EnvSpec) (*Viewer, error) {
	if err := v.fits(s); err != nil {
		return nil, err
	}
	w := &Viewer{view: v, spec: s, out: make([]byte, s.Envs*v.Bytes())}
	if !w.plain() {
		w.stack = make([]byte, s.Envs*v.frames()*v.H*v.W)
	}
	return w, nil
}

// plain reports whether views are the observations themselves.
func (w *Viewer) plain() bool {
	return w.view.Stack <= 1 && (w.view.Code == Gray || w.view.Code == Planes && w.spec.Format == Bits)
}

// Show returns the views [N, Bytes] of obs [N, ObsBytes]. fresh [N] says which
// games have just begun. The result is valid until the next call.
func (w *Viewer) Show(obs []byte, fresh []bool) ([]byte, error) {
	if err := checkObs(&w.spec, obs); err != nil {
		return nil, err
	}
	if len(fresh) != w.spec.Envs {
		return nil, fmt.Errorf("rl: view: %d fresh flags for %d games", len(fresh), w.spec.Envs)
	}
	if w.plain() {
		copy(w.out, obs)
		return w.out, nil
	}
	n, nv, nb := len(w.stack)/w.spec.Envs, w.view.Bytes(), w.spec.ObsBytes()
	size := w.spec.C * w.spec.H * w.spec.W
	for i := range fresh {
		s := w.stack[i*n:][:n]
		if fresh[i] {
			clear(s)
		}
		copy(s, s[size:])
		unpackBytes(s[n-size:], obs[i*nb:][:nb], w.spec.Format)
		w.view.encode(w.out[i*nv:][:nv], s)
	}
	return w.out, nil
}

// unpackBytes writes one byte an element.
func unpackBytes(dst, obs []byte, f Format) {
	if f == Bytes {
		copy(dst, obs)
		return
	}
	for e := range dst {
		dst[e] = obs[e>>3] >> (e & 7) & 1
	}
}

// encode writes the view of a stack.
func (v View) encode(dst, stack []byte) {
	if v.Code == Gray {
		copy(dst, stack)
		return
	}
	clear(dst)
	e := 0
	put := func(set bool) {
		if set {
			dst[e>>3] |= 1 << (e & 7)
		}
		e++
	}
	thermometer := func(frame []byte) {
		for k := range v.Levels {
			border := byte(256 * (k + 1) / (v.Levels + 1))
			for _, p := range frame {
				put(p >= border)
			}
		}
	}
	hw := v.H * v.W
	switch v.Code {
	case Planes:
		for _, p := range stack {
			put(p != 0)
		}
	case Thermometer:
		for f := 0; f < len(stack); f += hw {
			thermometer(stack[f : f+hw])
		}
	case Change:
		now, before := stack[len(stack)-hw:], stack[len(stack)-2*hw:len(stack)-hw]
		thermometer(now)
		for _, sign := range []int{1, -1} {
			for i, p := range now {
				put(sign*(int(p)-int(before[i])) >= ChangeBytes)
			}
		}
	}
}

// Floats writes n views, n*Bytes, as network input, n*Size: bits as 0 or 1,
// bytes divided by 255.
func (v View) Floats(dst []float32, views []byte) {
	if !v.Binary() {
		for i, b := range views {
			dst[i] = grayFloat[b]
		}
		return
	}
	size, nb := v.Size(), v.Bytes()
	for len(dst) >= size {
		row, b := dst[:size], views[:nb]
		for ; len(row) >= 8; row, b = row[8:], b[1:] {
			*(*[8]float32)(row) = eightFloats[b[0]]
		}
		if len(row) > 0 {
			copy(row, eightFloats[b[0]][:])
		}
		dst, views = dst[size:], views[nb:]
	}
}

// grayFloat is byte/255; eightFloats the bits of a byte, its lowest first.
var (
	grayFloat = func() (t [256]float32) {
		for b := range t {
			t[b] = float32(b) / 255
		}
		return t
	}()
	eightFloats = func() (t [256][8]float32) {
		for b := range t {
			for k := range 8 {
				t[b][k] = float32(b >> k & 1)
			}
		}
		return t
	}()
)
