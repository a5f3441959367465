package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"lowbit/data"
	"lowbit/eval"
	"lowbit/optim"
	"lowbit/tensor"
)

// epoch runs what is left of an epoch, evaluates the held-out part and writes
// the checkpoint.
func (r *run) epoch(ctx context.Context) error {
	epochBegan, images := time.Now(), r.images
	for r.pos.Step < r.loader.Steps() {
		if ctx.Err() != nil {
			return r.interrupted(ctx)
		}
		b, err := r.loader.Next()
		if err != nil {
			return fmt.Errorf("train: %w", err)
		}
		if err := r.step(b); err != nil {
			return err
		}
		if err := r.afterStep(); err != nil {
			return err
		}
	}
	p := &r.pos
	p.TrainLoss = p.LossSum / float64(p.Examples)
	p.TrainAccuracy = p.accuracy()
	p.Epoch, p.Step, p.Examples, p.Scored, p.Correct, p.LossSum = p.Epoch+1, 0, 0, 0, 0, 0
	m := Metric{Kind: "epoch", LR: r.lr(p.Total - 1), Loss: p.TrainLoss, Accuracy: p.TrainAccuracy}
	m.ImagesPerS = float64(r.images-images) / time.Since(epochBegan).Seconds()
	if r.held != nil && (p.Epoch%r.EvalEvery == 0 || p.Epoch == r.Epochs) {
		res, err := r.judge()
		if err != nil {
			return err
		}
		m.HeldOut, m.HeldOutLoss = &res.Accuracy, &res.Loss
	}
	if err := r.measure(m); err != nil {
		return err
	}
	r.show(true)
	r.result()
	if r.job.Brief && !r.begun && !r.due() {
		return nil
	}
	return r.checkpoint()
}

// interrupted keeps the state of a run whose context ended.
func (r *run) interrupted(ctx context.Context) error {
	err := fmt.Errorf("train: epoch %d, step %d: %w: %w", r.pos.Epoch, r.pos.Step, ErrInterrupted, context.Cause(ctx))
	if r.pos != r.saved {
		err = errors.Join(err, r.checkpoint())
	}
	return err
}

// lr returns the learning rate of a step.
func (r *run) lr(total int) float64 { return r.Schedule.At(total, r.loader.Steps(), r.Epochs) }

// bind connects a batch with the training plan and runs the teacher.
func (r *run) bind(p *batchPlan, b *data.Batch) error {
	for _, t := range p.dropout {
		t.Int64s()[0], t.Int64s()[1] = int64(r.Seed), int64(r.pos.Total)
	}
	if r.source != nil {
		if err := r.source.Fill(b.Index, p.Forward.Input); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	} else if err := p.bindImages(b); err != nil {
		return err
	}
	if p.teacher == nil {
		return nil
	}
	for _, name := range p.shared {
		if err := p.teacher.SetInput(name, p.Forward.Input(name)); err != nil {
			return fmt.Errorf("train: teacher: %w", err)
		}
	}
	if err := p.teacher.Run(); err != nil {
		return fmt.Errorf("train: teacher: %w", err)
	}
	return nil
}

// bindImages connects a batch of images with both plans.
func (p *batchPlan) bindImages(b *data.Batch) error {
	if err := p.Forward.SetInput("input", b.Images); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if p.inputs["labels"] {
		if err := p.Forward.SetInput("labels", b.Labels); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	if p.teacher == nil {
		return nil
	}
	if err := p.teacher.SetInput("input", b.Images); err != nil {
		return fmt.Errorf("train: teacher: %w", err)
	}
	return nil
}

// labels returns the labels of the batch that is bound; nil if the graph reads
// none.
func (p *batchPlan) labels(b *data.Batch) []int32 {
	if b.Labels != nil {
		return b.Labels.Int32s()
	}
	if t := p.Forward.Input("labels"); t != nil {
		return t.Int32s()
	}
	return nil
}

// step trains one batch and moves the position.
func (r *run) step(b *data.Batch) error {
	h := r.job.Hooks
	if h.Batch != nil {
		if err := h.Batch(b); err != nil {
			return fmt.Errorf("train: batch hook: %w", err)
		}
	}
	p, o, err := r.gradient(b)
	if err != nil {
		return err
	}
	began, loss := time.Now(), o.loss
	info := StepInfo{r.pos.Epoch, r.pos.Total, r.lr(r.pos.Total), loss, p.Forward, r.job.Store}
	if h.AfterGradients != nil {
		if err := h.AfterGradients(info); err != nil {
			return fmt.Errorf("train: gradient hook: %w", err)
		}
	}
	if err := p.Apply(info.LR, r.pos.Total+1); err != nil {
		return err
	}
	r.engineSeconds += time.Since(began).Seconds()
	r.pos.Correct += o.correct
	r.pos.Scored += o.scored
	n := len(b.Index)
	r.pos.LossSum += loss * float64(n)
	r.pos.Examples += n
	r.pos.Step++
	r.pos.Total++
	r.images += n
	if h.AfterStep != nil {
		if err := h.AfterStep(info); err != nil {
			return fmt.Errorf("train: step hook: %w", err)
		}
	}
	if r.pos.Total%r.job.MetricsEvery != 0 {
		return nil
	}
	m := Metric{Kind: "step", LR: info.LR, Loss: loss, Accuracy: r.pos.accuracy()}
	if t := p.Update.Output("grad_norm"); r.Optim.ClipNorm > 0 && t != nil {
		norm := float64(t.Float32s()[0])
		m.GradNorm = &norm
	}
	return r.measure(m)
}

// afterStep shows progress and writes a checkpoint when it is time; the one at
// an epoch's end is written by epoch.
func (r *run) afterStep() error {
	r.show(false)
	if r.due() && r.pos.Step < r.loader.Steps() {
		return r.checkpoint()
	}
	return nil
}

// due reports whether the last checkpoint, or the beginning, is too long ago.
func (r *run) due() bool { return time.Since(r.savedAt).Seconds() >= r.job.CheckpointSeconds }

// seconds is the run's wall time so far.
func (r *run) seconds() float64 { return r.before + time.Since(r.began).Seconds() }

// measure appends a line to metrics.jsonl.
func (r *run) measure(m Metric) error {
	if r.metrics == nil {
		return nil
	}
	m.Epoch, m.Step, m.Seconds, m.EngineSeconds = r.pos.Epoch, r.pos.Total, r.seconds(), r.engineSeconds
	line, err := json.Marshal(m)
	if err == nil {
		_, err = r.metrics.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("train: metrics: %w", err)
	}
	return nil
}

// show reports progress about once a second, or now.
func (r *run) show(now bool) {
	since := time.Since(r.shown).Seconds()
	if since < 1 && !now {
		return
	}
	p := r.pos
	steps := r.loader.Steps()
	done := Progress{
		Epoch: p.Epoch, Epochs: r.Epochs, Step: p.Step, Steps: steps, HeldOut: p.HeldOut,
		LR: r.lr(max(p.Total-1, 0)), Elapsed: r.seconds(),
		Loss: p.TrainLoss, Accuracy: p.TrainAccuracy,
	}
	if p.Examples > 0 {
		done.Loss, done.Accuracy = p.LossSum/float64(p.Examples), p.accuracy()
	}
	if since > 0 {
		done.ImagesPerS = float64(r.images-r.shownImages) / since
	}
	if p.Total > 0 {
		done.Left = done.Elapsed / float64(p.Total) * float64(steps*r.Epochs-p.Total)
	}
	r.shown, r.shownImages = time.Now(), r.images
	r.job.Progress(done)
}

// checkpoint writes the state, and the record with what is known so far.
func (r *run) checkpoint() error {
	r.saved, r.savedAt = r.pos, time.Now()
	if r.job.Out == "" {
		return nil
	}
	if !r.begun {
		if err := errors.Join(r.begin(), r.openMetrics()); err != nil {
			return err
		}
	}
	if err := writeCheckpoint(r.job.Out, r.job.Store, r.names, r.pos, r.job.Keep); err != nil {
		return err
	}
	r.result()
	return r.record.write(r.job.Out)
}

// judge evaluates the held-out part and keeps the best weights.
func (r *run) judge() (eval.Result, error) {
	if r.judged != r.job.Store {
		averaged, err := optim.Averaged(r.job.Store)
		if err != nil {
			return eval.Result{}, fmt.Errorf("train: %w", err)
		}
		if err := restore(r.judged, averaged); err != nil {
			return eval.Result{}, err
		}
	}
	res, err := r.heldOut()
	if err != nil {
		return res, fmt.Errorf("train: held-out part: %w", err)
	}
	r.pos.HeldOut = res.Accuracy
	if res.Accuracy <= r.pos.BestHeldOut {
		return res, nil
	}
	r.pos.BestHeldOut, r.pos.BestEpoch = res.Accuracy, r.pos.Epoch
	switch {
	case !r.Best:
	case r.job.Out == "":
		r.best = r.judged.Clone()
	default:
		err = r.writeWeights(bestName, r.judged)
	}
	return res, err
}

// writeWeights writes the inference graph's parameters.
func (r *run) writeWeights(name string, store *tensor.Store) error {
	var names []string
	for _, n := range r.job.Graph.Params() {
		names = append(names, n.Name())
	}
	meta, err := r.pos.meta()
	if err != nil {
		return err
	}
	return writeTensors(filepath.Join(r.job.Out, name), store, names, meta)
}

// result brings the record up to date.
func (r *run) result() {
	p, res := r.pos, &r.record.Result
	res.TrainLoss, res.TrainAccuracy = p.TrainLoss, p.TrainAccuracy
	if p.HeldOut >= 0 {
		res.HeldOut, res.BestHeldOut, res.BestEpoch = p.HeldOut, p.BestHeldOut, p.BestEpoch
	}
	res.Epochs, res.Steps = p.Epoch, p.Total
	res.Seconds, res.EngineSeconds = r.seconds(), r.engineSeconds
}

// finish gives the last state its name, chooses the weights, evaluates the
// test part and completes the record.
func (r *run) finish() error {
	if r.begun {
		from := filepath.Join(r.job.Out, r.pos.fileName())
		if err := linkOrCopy(from, filepath.Join(r.job.Out, lastName)); err != nil {
			return err
		}
	}
	weights, err := r.choose()
	if err != nil {
		return err
	}
	res := &r.record.Result
	measure, err := r.job.Evaluator(r.Config)
	if err != nil {
		return err
	}
	if measure != nil {
		t, err := measure()
		if err != nil {
			return fmt.Errorf("train: test part: %w", err)
		}
		res.Accuracy, res.Top5, res.Loss = t.Accuracy, t.Top5, t.Loss
		res.Examples, res.StandardError = t.Examples, t.StandardError
		if err := r.measure(Metric{Kind: "test", Loss: t.Loss, Accuracy: t.Accuracy}); err != nil {
			return err
		}
	}
	r.result()
	res.Complete = true
	if !r.begun {
		return nil
	}
	res.Weights = weights
	return r.record.write(r.job.Out)
}

// choose puts the weights to report into the store and returns their file.
func (r *run) choose() (string, error) {
	switch {
	case r.Best && r.pos.BestEpoch > 0 && r.job.Out == "":
		return bestName, restore(r.job.Store, r.best)
	case r.Best && r.pos.BestEpoch > 0:
		best, _, err := readCheckpoint(filepath.Join(r.job.Out, bestName))
		if err != nil {
			return "", err
		}
		return bestName, restore(r.job.Store, best)
	case r.Optim.EMA > 0 && r.Epochs > 0:
		averaged, err := optim.Averaged(r.job.Store)
		if err != nil {
			return "", fmt.Errorf("train: %w", err)
		}
		if r.begun {
			if err := r.writeWeights(averageName, averaged); err != nil {
				return "", err
			}
		}
		return averageName, restore(r.job.Store, averaged)
	}
	return lastName, nil
}
