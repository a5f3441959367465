package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"lowbit/data"
	"lowbit/train"
)

// line is a progress line on stderr that rewrites itself. It shows nothing if
// stderr is no terminal or with --quiet. Use it from one goroutine at a time.
type line struct {
	w     io.Writer // nil: shows nothing
	width int
	shown bool
}

// progress returns this call's progress line.
func (a *app) progress() *line {
	width, ok := isTerminal(a.stderr)
	if !ok || a.quiet {
		return &line{}
	}
	return &line{w: a.stderr, width: width}
}

// set shows text in place of what was shown.
func (l *line) set(text string) {
	if l.w == nil {
		return
	}
	if n := l.width - 1; len(text) > n {
		text = text[:n]
	}
	fmt.Fprintf(l.w, "\r\x1b[K%s", text)
	l.shown = true
}

// clear removes the line, so that other output can follow.
func (l *line) clear() {
	if l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.shown = false
	}
}

// bar draws a share of 0 to 1.
func bar(share float64) string {
	const cells = 20
	n := min(max(int(share*cells), 0), cells)
	return "[" + strings.Repeat("=", n) + strings.Repeat(" ", cells-n) + "]"
}

// training returns a callback for train.Job.Progress.
func (l *line) training(what string) func(train.Progress) {
	return func(p train.Progress) {
		done := float64(p.Epoch)
		if p.Steps > 0 {
			done += float64(p.Step) / float64(p.Steps)
		}
		s := fmt.Sprintf("%s %s epoch %d/%d, step %d/%d, loss %.4f, accuracy %.1f %%",
			what, bar(done/float64(max(p.Epochs, 1))), min(p.Epoch+1, p.Epochs), p.Epochs, p.Step, p.Steps, p.Loss, 100*p.Accuracy)
		if p.HeldOut >= 0 {
			s += fmt.Sprintf(", held out %.1f %%", 100*p.HeldOut)
		}
		l.set(fmt.Sprintf("%s, %.0f examples/s, %s left", s, p.ImagesPerS, duration(p.Left)))
	}
}

// fetching is a callback for data.Get.
func (l *line) fetching(p data.Progress) {
	if p.Total > 0 {
		share := float64(p.Done) / float64(p.Total)
		l.set(fmt.Sprintf("%s from %s %s %s of %s", p.Name, p.Source, bar(share), size(p.Done), size(p.Total)))
		return
	}
	l.set(fmt.Sprintf("%s from %s, %s", p.Name, p.Source, size(p.Done)))
}

// stage is a callback for analyses.
func (l *line) stage(stage string, done, all int) {
	l.set(fmt.Sprintf("%s %s %d/%d", stage, bar(float64(done)/float64(max(all, 1))), done, all))
}

// counted returns a callback that shows how many of some things are done, and
// the time that is left.
func counted(l *line, what, things string) func(done, of int) {
	began := time.Now()
	return func(done, of int) {
		left := time.Since(began).Seconds() / float64(done) * float64(of-done)
		l.set(fmt.Sprintf("%s %s %d of %d %s, %s left", what, bar(float64(done)/float64(of)), done, of, things, duration(left)))
	}
}
