package graph

import (
	"fmt"

	"lowbit/tensor"
)

// LengthMask is 1 at the first length places of each sequence and 0 behind.
// Operand: lengths i32 [batch]. Result: f32 [batch, Seq].
type LengthMask struct {
	Seq int `json:"seq"`
}

// Kind implements Op.
func (LengthMask) Kind() string { return "length_mask" }

// Infer implements Op.
func (o LengthMask) Infer(in []Type) (Type, error) {
	if err := wantInputs(in, 1); err != nil {
		return Type{}, err
	}
	if in[0].DType != tensor.I32 || len(in[0].Shape) != 1 || o.Seq < 1 {
		return Type{}, fmt.Errorf("%w: want i32[batch] and a sequence of at least 1, got %v and %d", tensor.ErrShape, in[0], o.Seq)
	}
	return F32(in[0].Shape[0], o.Seq), nil
}
