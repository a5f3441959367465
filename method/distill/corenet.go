package distill

import (
	"fmt"

	"lowbit/neuro"
)

// Sides of what a corenet can look at.
const (
	minBoard, maxBoard   = 4, 16
	minScreen, maxScreen = 64, 96
)

// corenet returns the layers of the core-mappable student: each has a fan-in of
// at most neuro.MaxFanIn, by the fewest groups that allow it. On boards a 3 x 3
// convolution to 32 channels, then 2 x 2 ones that double the channels and
// halve the map until it is one cell, then the votes. On screens a 4 x 4
// convolution of stride 4 comes first, and the channels stop at 512.
func corenet(c, h, w, actions, width int) ([]layer, error) {
	if h != w || !(h >= minBoard && h <= maxBoard || h >= minScreen && h <= maxScreen) {
		return nil, fmt.Errorf("distill: corenet: %d x %d, want a square of %d..%d or %d..%d", h, w, minBoard, maxBoard, minScreen, maxScreen)
	}
	first := layer{out: 32 * width, kernel: 3, stride: 1}
	if h > maxBoard {
		first = layer{out: 32 * width, kernel: 4, stride: 4}
	}
	n := &narrowing{c: c, side: h}
	if err := n.add(first); err != nil {
		return nil, err
	}
	screen, bottom := h > maxBoard, 1
	if screen {
		bottom = 2 // the votes read a map of 2 x 2
	}
	for out := 64 * width; n.side > bottom; out = min(2*out, 512*width) {
		l := layer{out: out, kernel: 2, stride: 2}
		if n.side < 4 || screen && n.side == 5 { // 5 -> 4 keeps the last row
			l.stride = 1
		}
		if err := n.add(l); err != nil {
			return nil, err
		}
	}
	if screen {
		if err := n.add(layer{out: 512 * width, kernel: 1, stride: 1}); err != nil {
			return nil, err
		}
	}
	err := n.add(layer{out: actions * votesPerAction(actions), kernel: n.side, stride: 1})
	n.layers[len(n.layers)-1].name = "vote"
	return n.layers, err
}

// votesPerAction is 32 for up to 3 actions, 16 for up to 6, else 8.
func votesPerAction(actions int) int {
	switch {
	case actions <= 3:
		return 32
	case actions <= 6:
		return 16
	}
	return 8
}

// narrowing adds layers to a map of c channels and side x side cells.
type narrowing struct {
	c, side int
	layers  []layer
}

func (n *narrowing) add(l layer) error {
	l.name = fmt.Sprintf("conv%d", len(n.layers)+1)
	for l.groups = 1; l.groups <= n.c; l.groups++ {
		if n.c%l.groups == 0 && l.out%l.groups == 0 && l.kernel*l.kernel*n.c/l.groups <= neuro.MaxFanIn {
			break
		}
	}
	if l.groups > n.c {
		return fmt.Errorf("distill: corenet: layer %s: kernel %d on %d channels to %d: no group count has a fan-in of at most %d: %w", l.name, l.kernel, n.c, l.out, neuro.MaxFanIn, neuro.ErrLimit)
	}
	if len(n.layers) > 0 && l.groups > 1 {
		l.shuffle = n.layers[len(n.layers)-1].groups
	}
	n.c, n.side = l.out, (n.side-l.kernel)/l.stride+1
	n.layers = append(n.layers, l)
	return nil
}
