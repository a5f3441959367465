package engine

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"lowbit/graph"
	"lowbit/tensor"
)

type goldenTensor struct {
	Shape []int     `json:"shape"`
	Data  []float64 `json:"data"`
}

type goldenCase struct {
	Name, Kind string
	Attrs      json.RawMessage
	Operands   []goldenTensor
	Labels     []int
	Dy, Result goldenTensor
	Grads      []*goldenTensor
}

// goldenTol bounds the difference to PyTorch relative to the largest value: two
// float32 implementations with sums of up to some hundred terms in other orders.
const goldenTol = 2e-5

func decodeOp[T graph.Op](raw []byte) (graph.Op, error) {
	var op T
	err := json.Unmarshal(raw, &op)
	return op, err
}

func (c goldenCase) op() (graph.Op, error) {
	switch c.Kind {
	case "conv2d":
		return decodeOp[graph.Conv2D](c.Attrs)
	case "max_pool", "avg_pool":
		return decodeOp[graph.Pool](c.Attrs)
	case "matmul":
		return decodeOp[graph.MatMul](c.Attrs)
	case "softmax", "log_softmax":
		return decodeOp[graph.Softmax](c.Attrs)
	case "cross_entropy":
		return decodeOp[graph.CrossEntropy](c.Attrs)
	case "kl_divergence":
		return decodeOp[graph.KLDivergence](c.Attrs)
	case "batch_norm":
		return decodeOp[graph.BatchNorm](c.Attrs)
	case "batch_norm_train":
		return decodeOp[graph.BatchNormTrain](c.Attrs)
	case "add", "sub", "mul", "div", "max", "min":
		return decodeOp[graph.Binary](c.Attrs)
	case "reduce_mean", "reduce_sum":
		return decodeOp[graph.Reduce](c.Attrs)
	case "slice":
		return decodeOp[graph.Slice](c.Attrs)
	case "pad":
		return decodeOp[graph.Pad](c.Attrs)
	case "concat":
		return decodeOp[graph.Concat](c.Attrs)
	case "transpose":
		return decodeOp[graph.Transpose](c.Attrs)
	case "reshape":
		return decodeOp[graph.Reshape](c.Attrs)
	}
	return decodeOp[graph.Unary](c.Attrs)
}

func float32s(v []float64) []float32 {
	f := make([]float32, len(v))
	for i, x := range v {
		f[i] = float32(x)
	}
	return f
}

// build makes the graph of a case: its result and, from the sum of result*dy,
// its gradients.
func (c goldenCase) build(t *testing.T) (*graph.Graph, *tensor.Store) {
	g, store := graph.New(), tensor.NewStore()
	var xs []*graph.Node
	for i, o := range c.Operands {
		if c.Labels[i] == 1 {
			xs = append(xs, g.Input("labels", tensor.I32, o.Shape...))
			continue
		}
		name := fmt.Sprintf("x%d", i)
		xs = append(xs, g.Param(graph.Param{Name: name, Shape: o.Shape}))
		_ = store.Put(name, tensor.FromFloat32s(float32s(o.Data), o.Shape...))
	}
	op, err := c.op()
	if err != nil {
		t.Fatal(err)
	}
	in := xs
	if _, ok := op.(graph.BatchNormTrain); ok {
		in = append(in, g.Apply(graph.Moments{}, xs[0]))
	}
	y := g.Apply(op, in...)
	g.Output("y", y)
	loss := g.Sum(g.Mul(y, g.Apply(graph.Const{Shape: c.Dy.Shape, Values: float32s(c.Dy.Data)})))
	grads, err := graph.Gradients(g, loss, xs)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range grads {
		if (d == nil) != (c.Grads[i] == nil) {
			t.Fatalf("operand %d: gradient %v, PyTorch's %v", i, d != nil, c.Grads[i] != nil)
		}
		if d != nil {
			g.Output(fmt.Sprintf("d%d", i), d)
		}
	}
	return g, store
}

func compareGolden(t *testing.T, what string, got *tensor.Tensor, want goldenTensor) {
	t.Helper()
	if !got.Shape().Equal(want.Shape) {
		t.Fatalf("%s: shape %v, PyTorch's %v", what, got.Shape(), want.Shape)
	}
	largest := 1e-3
	for _, v := range want.Data {
		largest = math.Max(largest, math.Abs(v))
	}
	for i, v := range got.Float32s() {
		if d := math.Abs(float64(v) - want.Data[i]); !(d <= goldenTol*largest) {
			t.Fatalf("%s[%d] = %g, PyTorch's %g", what, i, v, want.Data[i])
		}
	}
}

func TestOpsEqualPyTorch(t *testing.T) {
	raw, err := os.ReadFile("testdata/ops.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []goldenCase }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 30 {
		t.Fatalf("%d cases", len(file.Cases))
	}
	e := New(2)
	defer e.Close()
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			g, store := c.build(t)
			p, err := e.Compile(g, store)
			if err != nil {
				t.Fatal(err)
			}
			if labels := p.Input("labels"); labels != nil {
				for i, v := range c.Operands[1].Data {
					labels.Int32s()[i] = int32(v)
				}
			}
			if err := p.Run(); err != nil {
				t.Fatal(err)
			}
			compareGolden(t, "result", p.Output("y"), c.Result)
			for i, d := range c.Grads {
				if d != nil {
					compareGolden(t, fmt.Sprintf("gradient %d", i), p.Output(fmt.Sprintf("d%d", i)), *d)
				}
			}
		})
	}
}
