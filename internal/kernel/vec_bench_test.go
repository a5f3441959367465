package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// vecBench are the operations to time: bytes counts what one element reads and
// writes.
var vecBench = []struct {
	op    string
	bytes int
	run   func(k *Table, o, a, b []float32)
}{
	{"copy", 8, func(k *Table, o, a, b []float32) { copy(o, a) }},
	{"Add", 12, func(k *Table, o, a, b []float32) { k.Add(o, a, b) }},
	{"MulAdd", 16, func(k *Table, o, a, b []float32) { k.MulAdd(o, a, b, a) }},
	{"Relu", 8, func(k *Table, o, a, b []float32) { k.Relu(o, a) }},
	{"Div", 12, func(k *Table, o, a, b []float32) { k.Div(o, a, b) }},
	{"Sum", 4, func(k *Table, o, a, b []float32) { o[0] = k.Sum(a) }},
	{"MaxAbs", 4, func(k *Table, o, a, b []float32) { o[0] = k.MaxAbs(a) }},
	{"Exp", 8, func(k *Table, o, a, b []float32) { k.Exp(o, a) }},
	{"Log", 8, func(k *Table, o, a, b []float32) { k.Log(o, b) }},
	{"Tanh", 8, func(k *Table, o, a, b []float32) { k.Tanh(o, a) }},
	{"Sigmoid", 8, func(k *Table, o, a, b []float32) { k.Sigmoid(o, a) }},
	{"Erf", 8, func(k *Table, o, a, b []float32) { k.Erf(o, a) }},
	{"FakeQuant", 12, func(k *Table, o, a, b []float32) { k.FakeQuant(o, a, b, -8, 7) }},
	{"FakeQuantGrad", 20, func(k *Table, o, a, b []float32) { k.FakeQuantGrad(o[:len(a)], o[len(a):], a, b, a, -8, 7) }},
}

// BenchmarkVec times calls on one element (the cost of a call), on a block in
// the first-level cache and, without -short, on 2^24 floats in memory.
func BenchmarkVec(b *testing.B) {
	for _, n := range []int{1, 1024, 1 << 24} {
		if n > 1<<20 && testing.Short() {
			continue
		}
		rng := rand.New(rand.NewPCG(1, 1))
		out, x, y := make([]float32, 2*n), make([]float32, n), make([]float32, n)
		for i := range x {
			x[i], y[i] = float32(rng.NormFloat64()), 0.1+rng.Float32()
		}
		rows := Rows()
		for i := range rows {
			for _, c := range vecBench {
				b.Run(fmt.Sprintf("op=%s/impl=%s/n=%d", c.op, rows[i].Name, n), func(b *testing.B) {
					b.SetBytes(int64(c.bytes * n))
					o := out[:n]
					if c.op == "FakeQuantGrad" {
						o = out
					}
					for b.Loop() {
						c.run(&rows[i], o, x, y)
					}
				})
			}
		}
	}
}
