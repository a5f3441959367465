package train

import (
	"context"
	"math"
	"testing"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/tensor"
)

// chats is scored documents in windows of 16 tokens.
func chats(t *testing.T) *data.Packed {
	t.Helper()
	var docs []data.Scored
	for k := range 60 {
		d := data.Scored{}
		for i := range 5 + k%9 {
			d.Tokens, d.Scored = append(d.Tokens, int32(1+(i*(k%4+3))%30)), append(d.Scored, i > 1+k%5)
		}
		docs = append(docs, d)
	}
	p, _, _, err := data.PackScored(docs, 16)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The loss of scored text is the mean of both terms over the tokens that are
// scored, whole and in parts.
func TestScoredTokensAloneCount(t *testing.T) {
	e := engine.New(2)
	defer e.Close()
	run := func(parts int, loss Loss) (losses, want []float64) {
		c, job := textJob(t, e, &Windows{Name: "chats", Sets: []*data.Packed{chats(t), numbers(t, 200)}, Weights: []float64{0.75, 0.25}, Examples: 24}, "")
		teacher, err := graph.Clone(job.Graph)
		if err != nil {
			t.Fatal(err)
		}
		full := tensor.NewStore()
		if err := graph.InitParams(teacher, full, 5); err != nil {
			t.Fatal(err)
		}
		job.Teacher = &Teacher{Name: "other", Graph: teacher, Store: full}
		c.Epochs, c.Accumulate = 2, parts
		c.Loss = loss
		if loss.Distill == 0 {
			job.Teacher = nil
		}
		job.Hooks.AfterGradients = func(s StepInfo) error {
			losses = append(losses, s.Loss)
			if parts > 1 {
				return nil
			}
			labels, weights := s.Plan.Input("labels").Int32s(), s.Plan.Input("weights").Float32s()
			logits := s.Plan.Output("logits").Float32s()
			var sum, n float64
			for i, y := range labels {
				if (y >= 0) != (weights[i] == 1) {
					t.Fatalf("row %d: label %d, weight %g", i, y, weights[i])
				}
				if y >= 0 {
					sum += crossEntropyOf(logits[i*32:][:32], int(y))
					n++
				}
			}
			if n < 4 || n == float64(len(labels)) {
				t.Fatalf("%g of %d rows count", n, len(labels))
			}
			want = append(want, sum/n)
			return nil
		}
		if _, err := Run(context.Background(), c, job); err != nil {
			t.Fatal(err)
		}
		return losses, want
	}
	own, want := run(0, Loss{CrossEntropy: 1, Scored: true})
	for i, l := range own {
		if math.Abs(l-want[i]) > 1e-4 {
			t.Errorf("step %d: loss %g, want the mean cross entropy %g", i, l, want[i])
		}
	}
	both := Loss{CrossEntropy: 0.5, Distill: 2, Temperature: 1, Scored: true}
	whole, _ := run(0, both)
	for _, parts := range []int{2, 4} {
		got, _ := run(parts, both)
		for i, l := range got {
			if math.Abs(l/whole[i]-1) > 1e-4 || len(got) != len(whole) {
				t.Fatalf("%d parts: step %d has loss %g, in a whole batch %g", parts, i, l, whole[i])
			}
		}
	}
}

func crossEntropyOf(x []float32, y int) float64 {
	var sum float64
	for _, v := range x {
		sum += math.Exp(float64(v))
	}
	return math.Log(sum) - float64(x[y])
}
