package train

import (
	"fmt"
	"time"

	"lowbit/data"
	"lowbit/eval"
	"lowbit/nn"
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
	var total float64 // of the parts' shares
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
			if r.Loss.Scored {
				share = p.rows()
			}
			loss, total = loss*share, total+share
			r.accumulate(p, float32(share), from == 0)
		}
		r.engineSeconds += time.Since(began).Seconds()
		o.loss += loss
		if labels := p.labels(&one); labels != nil {
			o.correct += eval.Correct(p.Forward.Output("logits").Float32s(), labels, p.classes)
			o.scored += scored(labels)
		}
	}
	if part < n {
		if r.Loss.Scored { // the mean of all rows that count, of whichever part
			o.loss /= max(total, 1)
		} else {
			total = 1
		}
		r.share(p, float32(max(total, 1)))
	}
	return p, o, nil
}

// rows is the number of rows that count in the batch that is bound.
func (p *batchPlan) rows() float64 {
	n := 0.0
	for _, w := range p.Forward.Input(nn.WeightsName).Float32s() {
		n += float64(w)
	}
	return n
}

// accumulate adds a share of the plan's gradients to the sums.
func (r *run) accumulate(p *batchPlan, share float32, first bool) {
	if r.sums == nil {
		for _, g := range p.grads {
			r.sums = append(r.sums, make([]float32, g.Len()))
		}
	}
	for i, g := range p.grads {
		sum := r.sums[i]
		if first {
			clear(sum)
		}
		for j, x := range g.Float32s() {
			sum[j] += float32(share * x)
		}
	}
}

// share makes the sums over a total the gradients of the plan.
func (r *run) share(p *batchPlan, total float32) {
	for i, g := range p.grads {
		v := g.Float32s()
		for j, x := range r.sums[i] {
			v[j] = x / total
		}
	}
}
