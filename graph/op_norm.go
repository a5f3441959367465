package graph

import (
	"fmt"

	"lowbit/tensor"
)

// BatchNorm normalises each channel (axis 1) with fixed statistics:
// y = gamma*(x-mean)/sqrt(var+Eps) + beta. Operands: x, gamma, beta, mean, var,
// the last four [c]. A forward graph has this op; Training replaces it by
// BatchNormTrain and the updates of the running statistics, with Momentum as
// PyTorch means it: running = (1-Momentum)*running + Momentum*batch.
type BatchNorm struct {
	Eps      float64 `json:"eps"`
	Momentum float64 `json:"momentum"`
}

// Kind implements Op.
func (BatchNorm) Kind() string { return "batch_norm" }

// Infer implements Op.
func (o BatchNorm) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 5); err != nil {
		return Type{}, err
	}
	return channelVectors(in, 1, []int{1, 2, 3, 4})
}

// channelVectors checks that in[0] has at least two axes and that each listed
// operand is k vectors of its channels; it returns in[0]'s type.
func channelVectors(in []Type, k int, which []int) (Type, error) {
	x := in[0].Shape
	if len(x) < 2 {
		return Type{}, fmt.Errorf("%w: want a channel axis, got %v", tensor.ErrShape, x)
	}
	want := tensor.Shape{x[1]}
	if k > 1 {
		want = tensor.Shape{k, x[1]}
	}
	for _, i := range which {
		if !in[i].Shape.Equal(want) {
			return Type{}, fmt.Errorf("%w: operand %d: want %v for %v, got %v", tensor.ErrShape, i, want, x, in[i].Shape)
		}
	}
	return Type{tensor.F32, x.Clone()}, nil
}

// Gradient implements Differentiable: to x, gamma and beta; the statistics are
// constants.
func (o BatchNorm) Gradient(g *Graph, n, dy *Node) []*Node {
	x, gamma, mean, variance := n.in[0], n.in[1], n.in[3], n.in[4]
	stats := g.Apply(Concat{0}, g.Reshape(mean, 1, -1), g.Reshape(variance, 1, -1))
	sums := g.Apply(BatchNormGradSums{Eps: o.Eps}, x, dy, stats)
	inv := g.Div(gamma, g.Sqrt(g.Add(variance, g.Scalar(float32(o.Eps)))))
	shape := make([]int, len(x.Shape())-1) // [c, 1, 1]
	for i := range shape {
		shape[i] = 1
	}
	shape[0] = x.Shape()[1]
	return []*Node{g.Mul(dy, g.Reshape(inv, shape...)), g.row(sums, 1), g.row(sums, 0), nil, nil}
}

// row returns row i of a [k, c] value as [c].
func (g *Graph) row(x *Node, i int) *Node {
	return g.Reshape(g.Slice(x, 0, i, i+1, 1), x.Shape()[1])
}

// Moments returns [2, c]: mean and biased variance of each channel (axis 1).
type Moments struct{}

// Kind implements Op.
func (Moments) Kind() string { return "moments" }

// Infer implements Op.
func (Moments) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 1); err != nil {
		return Type{}, err
	}
	if len(in[0].Shape) < 2 {
		return Type{}, fmt.Errorf("%w: want a channel axis, got %v", tensor.ErrShape, in[0].Shape)
	}
	return F32(2, in[0].Shape[1]), nil
}

// BatchNormTrain normalises with the batch's own moments. Operands: x, gamma,
// beta, moments [2, c] of x. Its gradient goes through the moments.
type BatchNormTrain struct {
	Eps float64 `json:"eps"`
}

// Kind implements Op.
func (BatchNormTrain) Kind() string { return "batch_norm_train" }

// Infer implements Op.
func (o BatchNormTrain) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 4); err != nil {
		return Type{}, err
	}
	if _, err := channelVectors(in, 1, []int{1, 2}); err != nil {
		return Type{}, err
	}
	return channelVectors(in, 2, []int{3})
}

// Gradient implements Differentiable.
func (o BatchNormTrain) Gradient(g *Graph, n, dy *Node) []*Node {
	x, gamma, moments := n.in[0], n.in[1], n.in[3]
	sums := g.Apply(BatchNormGradSums{Eps: o.Eps}, x, dy, moments)
	dx := g.Apply(BatchNormGradInput{Eps: o.Eps}, x, dy, gamma, moments, sums)
	return []*Node{dx, g.row(sums, 1), g.row(sums, 0), nil}
}

// BatchNormGradSums returns [2, c]: the sums over each channel of dy and of
// dy*(x-mean)/sqrt(var+Eps). Operands: x, dy, moments.
type BatchNormGradSums struct {
	Eps float64 `json:"eps"`
}

// Kind implements Op.
func (BatchNormGradSums) Kind() string { return "batch_norm_grad_sums" }

// Infer implements Op.
func (o BatchNormGradSums) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 3); err != nil {
		return Type{}, err
	}
	if !in[0].Shape.Equal(in[1].Shape) {
		return Type{}, fmt.Errorf("%w: x %v, dy %v", tensor.ErrShape, in[0].Shape, in[1].Shape)
	}
	if _, err := channelVectors(in, 2, []int{2}); err != nil {
		return Type{}, err
	}
	return F32(2, in[0].Shape[1]), nil
}

// BatchNormGradInput returns, with xhat = (x-mean)/sqrt(var+Eps) and m elements
// a channel, gamma/sqrt(var+Eps) * (dy - sums[0]/m - xhat*sums[1]/m).
// Operands: x, dy, gamma, moments, sums.
type BatchNormGradInput struct {
	Eps float64 `json:"eps"`
}

// Kind implements Op.
func (BatchNormGradInput) Kind() string { return "batch_norm_grad_input" }

// Infer implements Op.
func (o BatchNormGradInput) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 5); err != nil {
		return Type{}, err
	}
	if !in[0].Shape.Equal(in[1].Shape) {
		return Type{}, fmt.Errorf("%w: x %v, dy %v", tensor.ErrShape, in[0].Shape, in[1].Shape)
	}
	if _, err := channelVectors(in, 1, []int{2}); err != nil {
		return Type{}, err
	}
	return channelVectors(in, 2, []int{3, 4})
}

// RunningStat moves a running statistic towards the batch's:
// (1-Momentum)*old + Momentum*Correction*moments[Row]. Operands: old [c],
// moments [2, c].
type RunningStat struct {
	Momentum   float64 `json:"momentum"`
	Row        int     `json:"row"`
	Correction float64 `json:"correction"`
}

// Kind implements Op.
func (RunningStat) Kind() string { return "running_stat" }

// Infer implements Op.
func (o RunningStat) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 2); err != nil {
		return Type{}, err
	}
	if len(in[0].Shape) != 1 || !in[1].Shape.Equal(tensor.Shape{2, in[0].Shape[0]}) || o.Row < 0 || o.Row > 1 {
		return Type{}, fmt.Errorf("%w: running %v, moments %v", tensor.ErrShape, in[0].Shape, in[1].Shape)
	}
	return F32(in[0].Shape.Clone()...), nil
}
