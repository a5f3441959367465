package graph_test

import (
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/tensor"
)

func TestSelectKeepsTheNamedOutputs(t *testing.T) {
	g := graph.New()
	x := g.Input("x", tensor.F32, 3)
	g.Output("a", g.Exp(x))
	g.Output("b", g.Neg(x))
	s, err := graph.Select(g, "b")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Outputs()) != 1 || s.OutputNode("b") == nil || len(s.Nodes()) != 2 {
		t.Errorf("outputs %v, %d nodes; want b alone of 2 nodes", s.Outputs(), len(s.Nodes()))
	}
	if len(g.Outputs()) != 2 {
		t.Error("the graph itself has changed")
	}
	for _, names := range [][]string{{"c"}, {"a", "a"}} {
		if _, err := graph.Select(g, names...); err == nil || !strings.Contains(err.Error(), names[0]) {
			t.Errorf("%v: error %v", names, err)
		}
	}
}
