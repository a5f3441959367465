package infer

import (
	"slices"
	"testing"

	"lowbit/model"
)

// Every convolutional network of the zoo, an eighth as wide and on small
// pictures, equals the reference with both policies of residual adds.
func TestZooNetworksEqualTheReference(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the reference of every network of the zoo: run without -short")
	}
	for _, name := range model.Names() {
		info, _ := model.Lookup(name)
		if len(info.InputShape) != 3 {
			continue
		}
		shape := slices.Clone(info.InputShape)
		if shape[1] > 32 {
			shape[1], shape[2] = 64, 64
		}
		for i, residual := range []bool{true, false} {
			g, err := model.Build(name, model.Config{Width: 0.125, InputShape: shape})
			if err != nil { // its last pool wants the full size
				g, err = model.Build(name, model.Config{Width: 0.125})
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(g.Nodes()) > 400 {
				continue // deep networks repeat the blocks of the others
			}
			comparePlan(t, quantizeGraph(t, g, i == 0, residual, func(string) (int, int) { return 4, 4 }), uint64(i+1))
		}
	}
}
