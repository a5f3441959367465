package report

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"lowbit/app/play"
	"lowbit/engine"
	"lowbit/method/distill"
	"lowbit/neuro"
	"lowbit/rl"
	"lowbit/train"
)

// PolicyRun is a run of a game's player: one that was distilled, or an agent.
type PolicyRun struct {
	Name, Dir string
	Record    train.Record
	Metrics   []rl.Metric
	// Distilled is what the distillation came to; nil of an agent's training and
	// of a run that has not ended.
	Distilled *play.DistillReport
	// Cores is the network of cores that the player runs on; nil if it has none.
	Cores *neuro.Network
}

// policyMethods are the methods that train players.
var policyMethods = []string{"distill", "ppo", "dqn"}

// LoadPolicy reads the run directory of a player; false if it is another run's.
func LoadPolicy(dir string) (PolicyRun, bool, error) {
	rec, err := train.ReadRecord(dir)
	if err != nil || !slices.Contains(policyMethods, rec.Method) {
		return PolicyRun{}, false, nil // who reads other runs says what is wrong
	}
	r := PolicyRun{Name: filepath.Base(filepath.Clean(dir)), Dir: dir, Record: rec}
	if r.Metrics, err = rl.ReadMetrics(dir); err != nil {
		return r, true, fmt.Errorf("report: %w", err)
	}
	r.Distilled, err = play.ReadReport(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return r, true, nil
	}
	if err != nil {
		return r, true, fmt.Errorf("report: %w", err)
	}
	if r.Distilled.Student == "corenet" && r.Distilled.Bits == "ternary" {
		r.Cores, err = coresOf(dir)
	}
	return r, true, err
}

// coresOf maps a run's player onto cores.
func coresOf(dir string) (*neuro.Network, error) {
	a, err := rl.OpenRun(dir)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	e := engine.New(1)
	defer e.Close()
	_, nw, err := distill.OnCores(e, a)
	if err != nil {
		return nil, fmt.Errorf("report: %s: %w", dir, err)
	}
	return nw, nil
}

// best is the highest return on held-out seeds; false if there is none.
func (r PolicyRun) best() (rl.Metric, bool) {
	var best rl.Metric
	for _, m := range r.Metrics {
		if m.Return != nil && (best.Return == nil || *m.Return > *best.Return) {
			best = m
		}
	}
	return best, best.Return != nil
}

// health is what the last line says of the binary layers.
func (r PolicyRun) health() []rl.LayerHealth {
	for i := len(r.Metrics) - 1; i >= 0; i-- {
		if l := r.Metrics[i].Layers; len(l) > 0 {
			return l
		}
	}
	return nil
}

// WritePolicies makes path the page of players.
func WritePolicies(path string, runs []PolicyRun, c Config) error {
	if len(runs) == 0 {
		return errors.New("report: no runs")
	}
	if c.Title == "" {
		c.Title = "Players of " + runs[0].Record.Model
		for _, r := range runs {
			if r.Record.Model != runs[0].Record.Model {
				c.Title = "Players of few bits"
			}
		}
	}
	if c.Lead == "" {
		c.Lead = policyLead(runs)
	}
	sections := []Section{policyTable(runs)}
	if s, ok := shares(runs); ok {
		sections = append(sections, s)
	}
	returns := func(m rl.Metric) (float64, float64, bool) {
		if m.Return == nil {
			return 0, 0, false
		}
		return float64(m.Step) / 1000, *m.Return, true
	}
	agreement := func(m rl.Metric) (float64, float64, bool) {
		if m.Agreement == nil {
			return 0, 0, false
		}
		return float64(m.Updates), 100 * *m.Agreement, true
	}
	for _, s := range []Section{
		learning(runs, "Learning", "mean return", "thousand decisions of all training games", "Returns of whole games, or games that are cut, on seeds kept for choosing the weights.", returns),
		learning(runs, "Agreement with the teacher", "same action, %", "optimizer steps", "States of held-out episodes in which the student's best action is its teacher's.", agreement),
	} {
		if s.SVG != "" {
			sections = append(sections, s)
		}
	}
	for _, r := range runs {
		if s, ok := spikes(r); ok {
			sections = append(sections, s)
		}
		if r.Cores != nil {
			sections = append(sections, coreMap(r))
		}
	}
	return WriteSections(path, sections, c)
}

// policyLead sums up the run with the greatest share of its teacher's return.
func policyLead(runs []PolicyRun) string {
	var best *play.DistillReport
	for _, r := range runs {
		if d := r.Distilled; d != nil && (best == nil || d.Share > best.Share) {
			best = d
		}
	}
	if best == nil {
		return ""
	}
	return fmt.Sprintf("The %s student with %s bits plays %s at %.1f %% of the way from random play to its teacher: %.2f of %.2f.",
		best.Student, best.Bits, best.Env, 100*best.Share, best.StudentReturn, best.TeacherReturn)
}

func policyTable(runs []PolicyRun) Section {
	s := Section{Heading: "What each player reaches", Texts: 4,
		Head: []string{"run", "game", "player", "bits", "return", "teacher", "random", "share", "agreement", "episodes", "time"},
		Note: "Mean return and its standard error on seeds that chose nothing; the share is (player - random)/(teacher - random). Players that are still in training, and agents, stand with their best return on the seeds that choose the weights."}
	for _, r := range runs {
		d := r.Distilled
		if d == nil {
			row := []string{r.Name, r.Record.Model, r.Record.Method, "", "", "", "", "", "", "", ""}
			if m, ok := r.best(); ok {
				row[4], row[9] = fmt.Sprintf("%.2f ± %.2f", *m.Return, m.ReturnSE), thousands(m.Episodes)
			}
			if n := len(r.Metrics); n > 0 {
				row[10] = seconds(r.Metrics[n-1].Seconds)
			}
			s.Rows = append(s.Rows, row)
			continue
		}
		s.Rows = append(s.Rows, []string{r.Name, d.Env, d.Student + " of " + filepath.Base(d.Teacher), d.Bits, fmt.Sprintf("%.2f ± %.2f", d.StudentReturn, d.ReturnSE),
			fmt.Sprintf("%.2f ± %.2f", d.TeacherReturn, d.TeacherSE), fmt.Sprintf("%.2f", d.RandomReturn), percent(d.Share), percent(d.Agreement), thousands(d.Episodes), seconds(d.Seconds)})
	}
	return s
}

// shares draws the share of the teacher's return against precision, a series a
// game; false if no run was distilled.
func shares(runs []PolicyRun) (Section, bool) {
	var columns, games []string
	hi := 1.0
	lo := 0.0
	for _, r := range runs {
		if d := r.Distilled; d != nil {
			if !slices.Contains(columns, d.Bits) {
				columns = append(columns, d.Bits)
			}
			if !slices.Contains(games, d.Env) {
				games = append(games, d.Env)
			}
			hi, lo = math.Max(hi, d.Share+shareError(d)), math.Min(lo, d.Share-shareError(d))
		}
	}
	if len(columns) == 0 {
		return Section{}, false
	}
	y := scale{math.Floor(lo*10) / 10, math.Ceil(hi*10) / 10, chartH - bottom, top}
	c := newCanvas(chartW, chartH, "Return against precision")
	frame(c, y, 100, "share of the teacher's return, %")
	c.line("fp", left, y.at(1), chartW-right, y.at(1))
	c.text("fp-label", "end", chartW-right, y.at(1)-6, "teacher")
	column := float64(chartW-left-right) / float64(len(columns))
	s := Section{Heading: "Return against precision", Note: "100 % is the teacher, 0 % random play; bars show the 95 % interval of the player's mean."}
	for i, bits := range columns {
		c.text("tick", "middle", left+column*(float64(i)+.5), chartH-bottom+20, bits)
	}
	for g, game := range games {
		s.Keys = append(s.Keys, legend(g, game))
		class := fmt.Sprintf("s%d", g%6)
		for _, r := range runs {
			d := r.Distilled
			if d == nil || d.Env != game {
				continue
			}
			spread := math.Min(26, column/float64(len(games)+1))
			x := left + column*(float64(slices.Index(columns, d.Bits))+.5) + spread*(float64(g)-float64(len(games)-1)/2)
			from, to := y.at(d.Share-shareError(d)), y.at(d.Share+shareError(d))
			c.line("bar "+class, x, to, x, from)
			c.mark("mark "+class, g, x, y.at(d.Share), fmt.Sprintf("%s, %s: %.2f of %.2f", r.Name, d.Bits, d.StudentReturn, d.TeacherReturn))
			value(c, g, x, y.at(d.Share), to, from, fmt.Sprintf("%.0f", 100*d.Share))
		}
	}
	s.SVG = string(c.html())
	return s, true
}

// shareError is half the 95 % interval of the player's part of a share.
func shareError(d *play.DistillReport) float64 {
	span := math.Abs(d.TeacherReturn - d.RandomReturn)
	if span == 0 {
		return 0
	}
	return Interval * d.ReturnSE / span
}

// learning draws one figure of each run's metrics; without an SVG if no run has
// two of them.
func learning(runs []PolicyRun, heading, yTitle, xTitle, note string, at func(rl.Metric) (x, y float64, ok bool)) Section {
	s := Section{Heading: heading, Note: note}
	var curves []curve
	for _, r := range runs {
		k := curve{name: r.Name}
		for _, m := range r.Metrics {
			if x, y, ok := at(m); ok {
				k.xs, k.ys = append(k.xs, x), append(k.ys, y)
			}
		}
		curves = append(curves, k)
	}
	svg, keys := drawCurves(curves, heading, yTitle, xTitle)
	s.SVG, s.Keys = string(svg), keys
	return s
}

// spikes tabulates the binary layers of a player.
func spikes(r PolicyRun) (Section, bool) {
	layers := r.health()
	s := Section{Heading: "Spikes of " + r.Name, Texts: 1, Head: []string{"layer", "spikes", "neurons that never change", "outside the surrogate gradient", "weights that are 0"},
		Note: "On held-out states at the end of training: the mean output of each layer's neurons, and what does not take part."}
	for _, l := range layers {
		s.Rows = append(s.Rows, []string{l.Layer, percent(l.Spikes), percent(l.Constant), percent(l.Silent), percent(l.Zeros)})
	}
	return s, len(layers) > 0
}

// coreMap draws the cores on their mesh, by layer.
func coreMap(r PolicyRun) Section {
	nw, use := r.Cores, r.Cores.Resources()
	cell := math.Min(28, chartW/float64(max(nw.Width, 1)))
	s := Section{Heading: "Cores of " + r.Name, Texts: 1, Head: []string{"layer", "units", "on cores", "cores", "splitters", "neurons", "axons", "synapses", "ticks"}}
	s.Note = fmt.Sprintf("%d cores of 256 axons and 256 neurons (%d only repeat spikes), %d ticks from a frame to the votes; each square is a core on its mesh, darker with more of its neurons in use.",
		use.Cores, use.Splitters, use.LatencyTicks)
	size := cell * float64(nw.Width)
	from := (chartW - size) / 2 // a small mesh stays small
	c := newCanvas(chartW, size, "Core map")
	for _, core := range nw.Cores {
		what := nw.Layers[core.Layer].Name
		if core.Splitter {
			what += ", splitter"
		}
		fmt.Fprintf(&c.b, `<g class="mark s%d"><title>%s: %d neurons at %d, %d</title><rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill-opacity="%.2f"/></g>`,
			core.Layer%6, what, len(core.Neurons), core.X, core.Y, from+cell*float64(core.X)+1, cell*float64(core.Y)+1, cell-2, cell-2,
			.25+.75*float64(len(core.Neurons))/neuro.CoreNeurons)
	}
	s.SVG = string(c.html())
	for i, l := range use.Layers {
		s.Keys = append(s.Keys, legend(i, cmp.Or(l.Name, fmt.Sprint(i))))
		s.Rows = append(s.Rows, []string{l.Name, thousands(l.Units), thousands(l.Mapped), thousands(l.Cores), thousands(l.Splitters), thousands(l.Neurons), thousands(l.Axons), thousands(l.Synapses), fmt.Sprint(l.Ticks)})
	}
	return s
}
