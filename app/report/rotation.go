package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"lowbit/method/silq"
)

// rotations says how the weights of each kind of layer moved, and how much of that
// is a rotation; false if no run moved any.
func rotations(runs []LanguageRun) (Section, bool) {
	s := Section{Heading: "How the weights moved", Texts: 2,
		Head: []string{"run", "layers", "number", "change", "rotation of inputs", "by chance", "rotation of outputs", "by chance"}}
	var moved []LanguageRun
	var kinds []string
	most, where := math.Inf(-1), "" // of one kind
	mean, of := math.Inf(-1), ""    // over all layers
	for _, r := range runs {
		if len(r.Outcome.Rotations) == 0 {
			continue
		}
		moved = append(moved, r)
		in, out := beyond(r.Outcome.Rotations)
		if in > mean {
			mean, of = in, "inputs of "+r.Name
		}
		if out > mean {
			mean, of = out, "outputs of "+r.Name
		}
		for _, k := range r.Outcome.Rotations {
			if !slices.Contains(kinds, k.Kind) {
				kinds = append(kinds, k.Kind)
			}
			if more := max(k.Input-k.InputChance, k.Output-k.OutputChance); more > most {
				most, where = more, k.Kind+" of "+r.Name
			}
			s.Rows = append(s.Rows, []string{r.Name, k.Kind, fmt.Sprint(k.Layers), percent(k.Change), percent(k.Input), percent(k.InputChance), percent(k.Output), percent(k.OutputChance)})
		}
	}
	if len(moved) == 0 {
		return s, false
	}
	s.Note = "Change is |after − before| over |before|, mean over the layers of a kind. SpinQuant and QuaRot rotate a layer's inputs or outputs before they round; " +
		"the rotation's share is what the best such rotation takes away of the squared change (orthogonal Procrustes). " +
		"Rotations are many of the directions that a matrix can move in, so a small change without any direction has a share, too: that by chance. What lies above it speaks of a rotation. " +
		fmt.Sprintf("Over all layers that is %+.1f points at most (%s): %s Of one kind the most is %+.1f points (%s).", 100*mean, of, meaning(mean), 100*most, where)
	s.SVG = drawRotations(moved, kinds)
	for i, r := range moved {
		s.Keys = append(s.Keys, legend(i, r.Name))
	}
	return s, true
}

// beyond is the mean over layers of what is above chance, of inputs and outputs.
func beyond(kinds []silq.KindRotation) (in, out float64) {
	n := 0.0
	for _, k := range kinds {
		w := float64(k.Layers)
		in, out, n = in+w*(k.Input-k.InputChance), out+w*(k.Output-k.OutputChance), n+w
	}
	return in / n, out / n
}

// meaning puts a share above chance in words. The borders are round numbers, not a
// test of significance.
func meaning(beyond float64) string {
	switch {
	case beyond < 0.05:
		return "no more than a change at random would have, so rounding was not answered by a rotation."
	case beyond < 0.25:
		return "a small part of the change is a rotation, most of it is none."
	}
	return "a rotation is a good part of the change, which a method that rotates before it rounds could have had without training."
}

// drawRotations draws the shares of each kind, inputs left and outputs right, each
// with the share by chance as a dashed line.
func drawRotations(runs []LanguageRun, kinds []string) string {
	y := scale{0, 1, chartH - bottom, top}
	c := newCanvas(chartW, chartH, "Share of the weights' change that is a rotation")
	frame(c, y, 100, "share of the squared change, %")
	column := float64(chartW-left-right) / float64(len(kinds))
	for i, kind := range kinds {
		x := left + column*float64(i)
		c.text("tick", "middle", x+column/2, chartH-6, strings.TrimSuffix(kind, "_proj"))
		sides := []struct {
			name          string
			share, chance func(silq.KindRotation) float64
		}{
			{"in", func(k silq.KindRotation) float64 { return k.Input }, func(k silq.KindRotation) float64 { return k.InputChance }},
			{"out", func(k silq.KindRotation) float64 { return k.Output }, func(k silq.KindRotation) float64 { return k.OutputChance }},
		}
		for side, of := range sides {
			middle := x + column*(0.28+0.44*float64(side))
			c.text("tick", "middle", middle, chartH-bottom+18, of.name)
			for n, r := range runs {
				at := slices.IndexFunc(r.Outcome.Rotations, func(k silq.KindRotation) bool { return k.Kind == kind })
				if at < 0 {
					continue
				}
				k := r.Outcome.Rotations[at]
				c.line("fp", middle-column*0.18, y.at(of.chance(k)), middle+column*0.18, y.at(of.chance(k)))
				spread := min(10, column*0.3/float64(len(runs)))
				c.mark(fmt.Sprintf("mark s%d", n%6), n, middle+spread*(float64(n)-float64(len(runs)-1)/2), y.at(of.share(k)),
					fmt.Sprintf("%s, %s: %.1f %% of the change is a rotation of %sputs, %.1f %% by chance", r.Name, kind, 100*of.share(k), of.name, 100*of.chance(k)))
			}
		}
	}
	return string(c.html())
}
