package infer

import (
	"fmt"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// Deployed is the deploy form of a network, written out: what a session
// computes, instruction by instruction, for a writer of another format. Values
// have the shape [channels, rows, columns]; those of a vector are [n, 1, 1].
type Deployed struct {
	Instructions []Instruction
	Input        []int // shape of one example
	Output       *Value
	OutputShape  []int // of one example
}

// Value is an activation: codes of a grid, or floats from Min to Max.
type Value struct {
	Node     string // that computes it
	Codes    bool
	Step     float32 // of codes
	Zero     int32   // what stands for code 0 among unsigned bytes
	Lo, Hi   int32   // least and greatest code that occurs
	Min, Max float32 // of floats
	Shape    [3]int
}

// InstructionKind names what an instruction does.
type InstructionKind string

// Instructions. Input is the network's input; Sum an integer sum with its deploy
// forms; Copy brings a value into other forms; AddValues, SubValues and MulValues
// take two values, Scaled is In*Scale+Shift of each channel; MaxOf and MeanOf are
// poolings; Move puts Parts at places of a value of Pad; Flat brings an image
// into logical order, as a vector; SoftmaxOf is a softmax over channels.
const (
	InputValue InstructionKind = "input"
	Sum        InstructionKind = "sum"
	Copy       InstructionKind = "copy"
	AddValues  InstructionKind = "add"
	SubValues  InstructionKind = "sub"
	MulValues  InstructionKind = "mul"
	Scaled     InstructionKind = "scaled"
	MaxOf      InstructionKind = "max"
	MeanOf     InstructionKind = "mean"
	Move       InstructionKind = "move"
	Flat       InstructionKind = "flatten"
	SoftmaxOf  InstructionKind = "softmax"
)

// Instruction computes every one of Out, the same in different forms, from In.
type Instruction struct {
	Kind         InstructionKind
	Node         string
	In, Out      []*Value
	Conv         graph.Conv2D // of Sum
	Weights      []int8       // of Sum: codes times a power of two, row-major in WeightShape
	WeightShape  [4]int
	Requant      [][]quant.Requant // of Sum: for each of Out, for each channel
	Scale, Shift []float32         // of Scaled
	Pool         graph.Pool        // of MaxOf and MeanOf
	Parts        []Part            // of Move, for each of In
	Pad          float32           // of Move
	Log          bool              // of SoftmaxOf
}

// Part is every Step-th element of Size elements of an operand from Start on,
// which go to At. Axes are channel, row, column.
type Part struct{ Start, Step, Size, At [3]int }

// Deploy returns the deploy form of an inference graph with quantizers whose
// parameters store holds. Errors: see Lower.
func Deploy(g *graph.Graph, store *tensor.Store) (d *Deployed, err error) {
	defer guard("deploy", &err)
	one, err := prepare(g)
	if err != nil {
		return nil, fmt.Errorf("infer: deploy: %w", err)
	}
	l, err := trace(one, storeSource{store})
	if err != nil {
		return nil, fmt.Errorf("infer: deploy: %w", err)
	}
	w := writer{values: map[*value]*Value{}}
	d = &Deployed{Input: l.plan.input, OutputShape: l.plan.outputShape}
	for _, i := range l.plan.instructions {
		d.Instructions = append(d.Instructions, w.instruction(i))
	}
	d.Output = w.value(l.plan.output)
	return d, nil
}

// writer gives each value of a plan its public form once.
type writer struct{ values map[*value]*Value }

func (w writer) value(v *value) *Value {
	o := w.values[v]
	if o == nil {
		t := v.to
		o = &Value{Node: v.node.Name(), Codes: t.codes, Step: t.step, Zero: t.zero(), Lo: t.lo, Hi: t.hi,
			Min: t.min, Max: t.max, Shape: [3]int{v.c, v.h, v.w}}
		w.values[v] = o
	}
	return o
}

var floatInstructions = map[floatKind]InstructionKind{
	copyFloats: Copy, addFloats: AddValues, subFloats: SubValues, mulFloats: MulValues, affineFloats: Scaled,
}

func (w writer) instruction(i *instruction) Instruction {
	n := Instruction{Node: i.info.Name}
	for _, v := range i.in {
		n.In = append(n.In, w.value(v))
	}
	for _, v := range i.out {
		n.Out = append(n.Out, w.value(v))
	}
	switch o := i.op.(type) {
	case *inputOp:
		n.Kind = InputValue
	case *sumOp:
		n.sum(o)
	case *floatOp:
		n.Kind = floatInstructions[o.kind]
		if o.kind == affineFloats {
			n.Scale, n.Shift = o.scale[:o.channels], o.shift[:o.channels]
		}
	case *maxPoolOp:
		n.Kind, n.Pool = MaxOf, o.o
	case *meanOp:
		n.Kind, n.Pool = MeanOf, o.o
	case *moveOp:
		n.Kind, n.Pad = Move, o.pad
		if o.flatten {
			n.Kind = Flat
		}
		for _, p := range o.parts {
			n.Parts = append(n.Parts, Part{p.start, p.step, p.size, p.at})
		}
	case *softmaxOp:
		n.Kind, n.Log = SoftmaxOf, o.log
	}
	return n
}

// sum writes an integer sum; weights of constant channels are zeros.
func (n *Instruction) sum(o *sumOp) {
	n.Kind = Sum
	s := o.root.shape
	n.Conv = graph.Conv2D{
		Stride: [2]int{s.SH, s.SW}, Dilation: [2]int{s.DH, s.DW}, Groups: s.Groups, Pad: [4]int{s.PT, s.PL, s.PB, s.PR},
	}
	n.WeightShape = [4]int{s.O, s.C / s.Groups, s.KH, s.KW}
	size := n.WeightShape[1] * s.KH * s.KW
	n.Weights = append([]int8(nil), channelsFirst(o.root.weights(), s.O, n.WeightShape[1], s.KH*s.KW)...)
	for c, f := range o.form {
		if f.Constant {
			clear(n.Weights[c*size:][:size])
		}
	}
	for _, k := range o.sinks {
		n.Requant = append(n.Requant, k.form)
	}
}
