package neuro

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Pace is how Play feeds frames.
type Pace struct {
	Hz     float64 // frames a second; 0 runs as fast as it can and misses nothing
	Frames int     // to play
	// Pipelined gives one tick a frame, so that the action belongs to the frame
	// Latency-1 before; else each frame runs alone, Latency ticks.
	Pipelined bool
}

// Timing is how fast decisions were. A decision is measured from the moment
// its frame is due (or taken, if the source was late) to the moment its action
// is there.
type Timing struct {
	Frames             int
	Missed             int // decisions that came after the next frame was due
	Median, P99, Worst time.Duration
	Elapsed            time.Duration
}

// Play feeds frames on the grid of pace.Hz and hands each decision on.
//
//	source  fills a frame, Inputs bits; called when the frame is due
//	sink    action and votes of the frame with this number; votes are valid
//	        during the call
//
// When a decision is late the grid goes on from the next point in time, so one
// slow frame is one miss. A cancelled ctx ends it with the timing so far and
// ctx's error.
func (s *Simulator) Play(ctx context.Context, pace Pace, source func(frame int, bits []byte) error, sink func(frame, action int, votes []int32) error) (Timing, error) {
	if pace.Frames < 1 || !(pace.Hz >= 0) || pace.Hz > 1e6 {
		return Timing{}, fmt.Errorf("neuro: play: %d frames at %v Hz, want at least 1 at 0..1e6", pace.Frames, pace.Hz)
	}
	p := player{sim: s, pace: pace, sink: sink, frame: make([]byte, bitBytes(s.nw.Inputs)), votes: make([]int32, s.nw.Actions)}
	p.spent = make([]time.Duration, 0, pace.Frames)
	if pace.Hz > 0 {
		p.period = time.Duration(float64(time.Second) / pace.Hz)
	}
	start := time.Now()
	var err error
	due := start
	for i := 0; i < pace.Frames && err == nil; i++ {
		if due, err = p.wait(ctx, due); err != nil {
			break
		}
		if err = source(i, p.frame); err == nil {
			err = p.decide(i, due)
		}
		due = due.Add(p.period)
	}
	return p.timing(time.Since(start)), err
}

type player struct {
	sim    *Simulator
	pace   Pace
	sink   func(frame, action int, votes []int32) error
	period time.Duration
	frame  []byte
	votes  []int32
	spent  []time.Duration
	missed int
}

// wait sleeps until the next point of the grid that is not past, and returns
// it.
func (p *player) wait(ctx context.Context, due time.Time) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return due, err
	}
	now := time.Now()
	if p.period == 0 {
		return now, nil
	}
	if late := now.Sub(due); late >= p.period {
		due = due.Add(late / p.period * p.period)
	}
	if d := time.Until(due); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return due, ctx.Err()
		}
	}
	return due, nil
}

func (p *player) decide(i int, due time.Time) error {
	s := p.sim
	frame, action := i, 0
	var out []byte
	var err error
	if p.pace.Pipelined {
		if out, err = s.Step(p.frame); err == nil {
			action = Votes(out, s.nw.Outputs, p.votes)
			frame = i - (s.nw.Latency - 1)
		}
	} else {
		action, err = s.Decide(p.frame, p.votes)
	}
	if err != nil {
		return err
	}
	d := time.Since(due)
	p.spent = append(p.spent, d)
	if p.period > 0 && d > p.period {
		p.missed++
	}
	if frame < 0 {
		return nil // the pipeline is not full yet
	}
	return p.sink(frame, action, p.votes)
}

func (p *player) timing(elapsed time.Duration) Timing {
	t := Timing{Frames: len(p.spent), Missed: p.missed, Elapsed: elapsed}
	if len(p.spent) > 0 {
		slices.Sort(p.spent)
		n := len(p.spent)
		t.Median, t.P99, t.Worst = p.spent[n/2], p.spent[min(n-1, n*99/100)], p.spent[n-1]
	}
	return t
}
