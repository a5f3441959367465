package train

import (
	"fmt"
	"time"

	"lowbit/data"
	"lowbit/eval"
)

// outcome is what a batch's forward pass gave.
type outcome struct {
	loss            float64
	correct, scored int
}

// gradient computes loss and gradients of a batch, in parts if the run
// accumulates. They stand in the returned plan.
func (r *run) gradient(b *data.Batch) (*batchPlan, outcome, error) {
	var p *batchPlan
	var o outcome
	n, part := len(b.Index), len(b.Index)
	if r.Accumulate > 1 {
		part = r.partSize()
	}
	for from := 0; from < n; from += part {
		one := *b
		one.Index = b.Index[from:min(from+part, n)]
		var err error
		if p, err = r.plan(len(one.Index), r.length(&one)); err != nil {
			return nil, o, err
		}
		if part < n && len(p.dropout) > 0 {
			return nil, o, fmt.Errorf("train: a batch in %d parts: the parts of a network with dropout would drop the same values", r.Accumulate)
		}
		began := time.Now()
		if err := r.bind(p, &one); err != nil {
			return nil, o, err
		}
		loss, err := p.Gradient()
		if err != nil {
			return nil, o, r.failed(p, &one, err)
		}
		if part < n {
			share := float64(len(one.Index)) / float64(n)
			loss *= share
			r.accumulate(p, float32(share), from == 0, from+part >= n)
		}
		r.engineSeconds += time.Since(began).Seconds()
		o.loss += loss
		if labels := p.labels(&one); labels != nil {
			o.correct += eval.Correct(p.Forward.Output("logits").Float32s(), labels, p.classes)
			o.scored += scored(labels)
		}
	}
	return p, o, nil
}

// accumulate adds a share of the plan's gradients to the sums; the last part's
// plan gets the sums as its gradients.
func (r *run) accumulate(p *batchPlan, share float32, first, last bool) {
	if r.sums == nil {
		for _, g := range p.grads {
			r.sums = append(r.sums, make([]float32, g.Len()))
		}
	}
	for i, g := range p.grads {
		v, sum := g.Float32s(), r.sums[i]
		if first {
			clear(sum)
		}
		for j, x := range v {
			sum[j] += float32(share * x)
		}
		if last {
			copy(v, sum)
		}
	}
}
