package neuro

import (
	"errors"
	"fmt"
	"math"
)

// ErrLimit is wrapped by errors about networks that do not fit the cores.
var ErrLimit = errors.New("core limit")

// Kind names a layer's form.
type Kind string

const (
	Conv   Kind = "conv"   // two-dimensional convolution
	Linear Kind = "linear" // reads all elements of its input, flattened
)

// Layer is a folded layer: y[o] = 1 if sum w*x >= Thresholds[o], else 0.
type Layer struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	In   Shape  `json:"in"`  // of the input; a linear layer flattens it in this order
	Out  int    `json:"out"` // output channels, or features
	// Kernel, Stride and Pad are height and width; a linear layer leaves them
	// zero. Padding is bits that are 0.
	Kernel [2]int `json:"kernel"`
	Stride [2]int `json:"stride"`
	Pad    [2]int `json:"pad"`
	Groups int    `json:"groups"` // blocks of consecutive channels (features); 0 means 1
	// Weights are [Out, C/Groups, kernel height, kernel width], -1, 0 or 1.
	Weights []int8 `json:"weights"`
	// Thresholds are [Out]; a threshold above the fan-in never fires, one of at
	// most -fan-in always does.
	Thresholds []int32 `json:"thresholds"`
	// Perm, if not nil, permutes the input channels (features): channel c that
	// the layer sees is channel Perm[c] of the previous layer's output.
	Perm []int32 `json:"perm,omitempty"`
}

// Net is a folded network, a chain of layers.
type Net struct {
	Input   Shape   `json:"input"`
	Layers  []Layer `json:"layers"`
	Actions int     `json:"actions"` // output o votes for action o mod Actions
}

// geometry is a layer seen as a convolution.
type geometry struct {
	in, out     Shape
	kh, kw      int
	sh, sw      int
	ph, pw      int
	groups      int
	cin, cout   int // channels of one group
	fanIn       int
	perm        []int32
	weightCount int
}

func (l *Layer) geometry() geometry {
	g := geometry{in: l.In, kh: l.Kernel[0], kw: l.Kernel[1], sh: l.Stride[0], sw: l.Stride[1], ph: l.Pad[0], pw: l.Pad[1], perm: l.Perm}
	if l.Kind == Linear {
		g.in = Shape{l.In.Size(), 1, 1}
		g.kh, g.kw, g.sh, g.sw, g.ph, g.pw = 1, 1, 1, 1, 0, 0
	}
	g.groups = max(1, l.Groups)
	g.cin, g.cout = g.in.C/g.groups, l.Out/g.groups
	g.out = Shape{C: l.Out}
	if g.sh > 0 && g.sw > 0 {
		g.out.H = (g.in.H+2*g.ph-g.kh)/g.sh + 1
		g.out.W = (g.in.W+2*g.pw-g.kw)/g.sw + 1
	}
	g.fanIn = g.cin * g.kh * g.kw
	g.weightCount = l.Out * g.fanIn
	return g
}

// OutShape returns the shape of the layer's output.
func (l *Layer) OutShape() Shape { g := l.geometry(); return g.out }

// FanIn returns the number of inputs of one output.
func (l *Layer) FanIn() int { g := l.geometry(); return g.fanIn }

// source returns the flat index in the previous layer's output of channel c,
// row y, column x as the layer sees them.
func (g *geometry) source(c, y, x int) int {
	if g.perm != nil {
		c = int(g.perm[c])
	}
	return (c*g.in.H+y)*g.in.W + x
}

// Check says what is wrong with the net: shapes, values, permutations. A net
// that passes may still not fit the cores; Map says so.
func (n *Net) Check() error {
	if len(n.Layers) == 0 {
		return errors.New("neuro: net: no layers")
	}
	if err := checkShape(n.Input); err != nil {
		return fmt.Errorf("neuro: net: input: %w", err)
	}
	prev := n.Input
	for i := range n.Layers {
		l := &n.Layers[i]
		if err := l.check(prev); err != nil {
			return fmt.Errorf("neuro: layer %d %q: %w", i, l.Name, err)
		}
		prev = l.OutShape()
	}
	if n.Actions < 1 || n.Actions > prev.Size() {
		return fmt.Errorf("neuro: net: %d actions for %d outputs, want 1..%d", n.Actions, prev.Size(), prev.Size())
	}
	return nil
}

// maxElements bounds shapes, so that products of few of them fit an int32.
const maxElements = 1 << 24

func checkShape(s Shape) error {
	for _, d := range []int{s.C, s.H, s.W} {
		if d < 1 || d > maxElements {
			return fmt.Errorf("shape %v, want dimensions of 1..%d", s, maxElements)
		}
	}
	if s.C*s.H > maxElements || s.C*s.H*s.W > maxElements {
		return fmt.Errorf("shape %v has more than %d elements", s, maxElements)
	}
	return nil
}

func (l *Layer) check(prev Shape) error {
	if l.Kind != Conv && l.Kind != Linear {
		return fmt.Errorf("kind %q, want %q or %q", l.Kind, Conv, Linear)
	}
	if l.In != prev {
		return fmt.Errorf("input shape %v, the layer before gives %v", l.In, prev)
	}
	g := l.geometry()
	if l.Kind == Conv {
		for i, what := range []string{"height", "width"} {
			if l.Kernel[i] < 1 || l.Kernel[i] > 256 || l.Stride[i] < 1 || l.Stride[i] > 256 || l.Pad[i] < 0 || l.Pad[i] > 255 {
				return fmt.Errorf("%s: kernel %d, stride %d, padding %d, want 1..256, 1..256, 0..255", what, l.Kernel[i], l.Stride[i], l.Pad[i])
			}
		}
		if l.Kernel[0] > l.In.H+2*l.Pad[0] || l.Kernel[1] > l.In.W+2*l.Pad[1] {
			return fmt.Errorf("kernel %dx%d is larger than the padded input of %dx%d", l.Kernel[0], l.Kernel[1], l.In.H+2*l.Pad[0], l.In.W+2*l.Pad[1])
		}
	}
	if err := checkShape(g.out); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	if l.Groups < 0 || g.in.C%g.groups != 0 || l.Out%g.groups != 0 {
		return fmt.Errorf("%d groups do not divide %d inputs and %d outputs", l.Groups, g.in.C, l.Out)
	}
	if g.fanIn > maxElements {
		return fmt.Errorf("fan-in %d, want at most %d", g.fanIn, maxElements)
	}
	if len(l.Weights) != g.weightCount || len(l.Thresholds) != l.Out {
		return fmt.Errorf("%d weights and %d thresholds, want %d and %d", len(l.Weights), len(l.Thresholds), g.weightCount, l.Out)
	}
	for i, w := range l.Weights {
		if w < -1 || w > 1 {
			return fmt.Errorf("weight %d of output %d is %d, want -1, 0 or 1", i%g.fanIn, i/g.fanIn, w)
		}
	}
	return checkPerm(l.Perm, g.in.C)
}

func checkPerm(perm []int32, n int) error {
	if perm == nil {
		return nil
	}
	if len(perm) != n {
		return fmt.Errorf("permutation of %d channels, want %d", len(perm), n)
	}
	seen := make([]bool, n)
	for i, p := range perm {
		if p < 0 || int(p) >= n || seen[p] {
			return fmt.Errorf("permutation: element %d is %d, not a permutation of 0..%d", i, p, n-1)
		}
		seen[p] = true
	}
	return nil
}

// checkFanIn demands that an output's inputs fit the axons of one core.
func (l *Layer) checkFanIn() error {
	g := l.geometry()
	if g.fanIn <= MaxFanIn {
		return nil
	}
	fits := g.smallestGroups(l.Out)
	advice := fmt.Sprintf("groups %d is the smallest that fits", fits)
	if fits == 0 {
		advice = fmt.Sprintf("no group count that divides %d inputs and %d outputs fits", g.in.C, l.Out)
	}
	return fmt.Errorf("neuro: layer %q: fan-in %d (kernel %dx%d, %d of %d channels), want at most %d (%d axons, two for an input); %s: %w",
		l.Name, g.fanIn, g.kh, g.kw, g.cin, g.in.C, MaxFanIn, CoreAxons, advice, ErrLimit)
}

// smallestGroups returns the smallest group count whose fan-in fits, 0 if none.
func (g *geometry) smallestGroups(out int) int {
	for n := 1; n <= min(g.in.C, out); n++ {
		if g.in.C%n == 0 && out%n == 0 && g.kh*g.kw*g.in.C/n <= MaxFanIn {
			return n
		}
	}
	return 0
}

// Threshold folds batch norm and the step function into an integer threshold:
//
//	gamma*(a-mean)/sigma + beta >= 0  <=>  a >= Threshold, for integers a
//
//	sigma   sqrt(variance + epsilon), > 0
//	gamma   > 0: a negative scale would turn the comparison round
//	fanIn   the result is held within -fanIn..fanIn+1, which changes no bit
//
// ceil(mean - beta*sigma/gamma) in float64. A trainer that computes the left
// side in float32 can differ where it is nearly 0; it must evaluate its own
// formula at the threshold and the integer below, and move by one if needed.
func Threshold(mean, sigma, gamma, beta float64, fanIn int) (int32, error) {
	if !(sigma > 0) || !(gamma > 0) || fanIn < 1 || fanIn > maxElements {
		return 0, fmt.Errorf("neuro: threshold: sigma %v, gamma %v, fan-in %d, want all above 0", sigma, gamma, fanIn)
	}
	t := math.Ceil(mean - beta*sigma/gamma)
	if math.IsNaN(t) {
		return 0, fmt.Errorf("neuro: threshold: mean %v, sigma %v, gamma %v, beta %v give no number", mean, sigma, gamma, beta)
	}
	return int32(max(float64(-fanIn), min(float64(fanIn+1), t))), nil
}
