package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"lowbit/app/quantize"
	"lowbit/app/sweep"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/method/alps"
	"lowbit/method/eagl"
	"lowbit/method/lsq"
	"lowbit/mixed"
	"lowbit/quant"
	"lowbit/train"
)

// mixedFlags are shared by the verbs that choose each layer's bits.
type mixedFlags struct {
	model      modelFlags
	data       dataFlags
	bits, cost string
	init       string
	batch      int

	// Settings of the methods.
	variant, metric                            string
	trialHoldOut, trialLimit, trialEpochs      int
	trialLR                                    float64
	probes, traceExamples, configurations, rep int
}

func (m *mixedFlags) add(cmd *cobra.Command) {
	m.model.add(cmd)
	m.data.add(cmd, true)
	f := cmd.Flags()
	f.StringVar(&m.bits, "bits", "4,2", "allowed precisions: 4,2 or such as w4a8,w4a4,w2a4")
	f.StringVar(&m.cost, "cost", "bit-macs", "what a budget counts: bit-macs, bitops, bytes, or ms: times of the integer runtime on this machine")
	f.StringVar(&m.init, "init", "mse", "first steps of lowered layers in trainings and trials: of least squared error (mse) or by LSQ's own rule (lsq)")
	f.IntVar(&m.batch, "batch", 128, "examples a step of trainings; encoders: 32")
	f.StringVar(&m.variant, "variant", "entropy", "eagl: entropy, difference or bits")
	f.StringVar(&m.metric, "metric", "", "alps, regression: held-out-accuracy, held-out-loss, train-accuracy or train-loss (default: the method's)")
	f.IntVar(&m.trialHoldOut, "trial-hold-out", 5000, "alps, regression: training examples that trials are measured on")
	f.IntVar(&m.trialLimit, "trial-limit", 0, "alps, regression: train on the first N of the others; 0: all")
	f.IntVar(&m.trialEpochs, "trial-epochs", 1, "alps, regression: epochs of a trial")
	f.Float64Var(&m.trialLR, "trial-lr", 0, "alps, regression: learning rate of a trial (default: the method's)")
	f.IntVar(&m.probes, "probes", 0, "hawq: random vectors (default 32)")
	f.IntVar(&m.traceExamples, "trace-examples", 0, "hawq: training examples of the loss (default 512)")
	f.IntVar(&m.configurations, "configurations", 0, "regression: random configurations (default: by the groups)")
	f.IntVar(&m.rep, "repeats", 8, "regression: configurations trained a second time, for the noise")
}

// widths reads --bits, narrowest first.
func (m *mixedFlags) widths() ([]quant.Width, error) {
	var ws []quant.Width
	for _, s := range strings.Split(m.bits, ",") {
		s = strings.TrimSpace(s)
		if n, err := strconv.Atoi(s); err == nil {
			ws = append(ws, quant.Width{Weight: n, Act: n})
			continue
		}
		p, err := quant.ParseBits(s)
		if err != nil || s == "fp32" {
			return nil, usagef("--bits %q: %q, want numbers of bits such as 4,2 or such as w4a4,w2a4", m.bits, s)
		}
		ws = append(ws, p.Default)
	}
	slices.SortFunc(ws, func(a, b quant.Width) int { return (a.Weight-b.Weight)*64 + a.Act - b.Act })
	if len(ws) < 2 {
		return nil, usagef("--bits %s: %d precision, want at least 2 to choose from", m.bits, len(ws))
	}
	for i, w := range ws {
		if err := (quant.BitPlan{Default: w}).Validate(); err != nil {
			return nil, usagef("--bits %s: %v", m.bits, err)
		}
		if i > 0 && (w == ws[i-1] || w.Act < ws[i-1].Act) {
			return nil, usagef("--bits %s: %v and %v, want each wider than the one before in weights or activations and narrower in neither", m.bits, ws[i-1], w)
		}
	}
	return ws, nil
}

// costName reads --cost.
func (m *mixedFlags) costName() (string, error) {
	switch m.cost {
	case "bitops":
		return "bit-ops", nil
	case "ms", sweep.MeasuredCost:
		return sweep.MeasuredCost, nil
	}
	if _, err := mixed.CostNamed(m.cost); err != nil {
		return "", usagef("--cost %q, want bit-macs, bitops, bytes or ms", m.cost)
	}
	return m.cost, nil
}

// slowKernel says why no choice meets a budget of measured time.
func slowKernel(err error, cost string) error {
	if cost == sweep.MeasuredCost && errors.Is(err, mixed.ErrInfeasible) {
		return fmt.Errorf("%w\nThe integer runtime on this machine (%s) multiplies codes of all widths alike: narrower layers save time "+
			"only where reading weights is what takes it. Take a larger budget, or count in bit-macs or bytes", err, engine.KernelRow())
	}
	return err
}

// costUnits writes a cost in its unit; times in ms.
func costUnits(units int64, unit string) string {
	if unit == "ns" {
		return fmt.Sprintf("%.4f ms", float64(units)/1e6)
	}
	return thousands(units) + " " + unit
}

// scoring fills the methods' settings for a network trained at the widest
// precision.
func (m *mixedFlags) scoring(a *app, cmd *cobra.Command, widest quant.Width) (sweep.Scoring, error) {
	bits := quant.Uniform(widest, 8)
	s := sweep.DefaultScoring(bits)
	if load.IsEncoder(m.model.model) {
		s.ALPS.LSQ = lsq.EncoderConfig(bits, 1)
		s.ALPS.LSQ.Distill = 0
	}
	s.EAGL.Variant = eagl.Variant(m.variant)
	if !slices.Contains([]eagl.Variant{eagl.Entropy, eagl.Difference, eagl.TotalBits}, s.EAGL.Variant) {
		return s, usagef("--variant %q, want entropy, difference or bits", m.variant)
	}
	if m.metric != "" {
		s.ALPS.Metric, s.Oracle.Metric = mixed.Metric(m.metric), mixed.Metric(m.metric)
	}
	var err error
	if s.ALPS.LSQ.Start, err = lsq.StartNamed(m.init); err != nil {
		return s, usagef("--init %q, want lsq or mse", m.init)
	}
	set := cmd.Flags().Changed
	if set("trial-lr") {
		s.ALPS.LSQ.LR = m.trialLR
	}
	if set("probes") {
		s.HAWQ.Probes = m.probes
	}
	if set("trace-examples") {
		s.HAWQ.Examples = m.traceExamples
	}
	s.ALPS.HoldOut, s.ALPS.Limit, s.ALPS.LSQ.Epochs = m.trialHoldOut, m.trialLimit, m.trialEpochs
	s.ALPS.LSQ.Warmup = min(s.ALPS.LSQ.Warmup, float64(m.trialEpochs))
	s.Oracle.Configurations, s.Oracle.Repeats, s.Oracle.Seed, s.HAWQ.Seed = m.configurations, m.rep, a.seed, a.seed
	for _, err := range []error{s.ALPS.Validate(), s.HAWQ.Validate(), s.Oracle.Metric.Validate()} {
		if err != nil {
			return s, usage(err)
		}
	}
	return s, nil
}

// trials checks that methods which train have images to do it with.
func (m *mixedFlags) trials(methods []string, s sets) error {
	for _, name := range methods {
		if (name == "alps" || name == "regression") && m.trialHoldOut >= s.examples() {
			return usagef("--trial-hold-out %d of %d training examples, want fewer: %s trains on the others", m.trialHoldOut, s.examples(), name)
		}
	}
	return nil
}

// base is the recipe's part that methods do not decide.
func (m *mixedFlags) base(a *app, l *load.Loaded, s sets) (train.Config, error) {
	c := train.DefaultConfig()
	c.Batch, c.Seed = m.batch, a.seed
	s.look(&c, l.Info)
	return c, usage(c.Validate())
}

// steps gives a full-precision network quantizers at the widest precision, with
// steps of least squared error. The note is empty if it has some already.
func (m *mixedFlags) steps(base train.Config, job *train.Job, widest quant.Width) (note string, err error) {
	if quantized(job.Graph) {
		return "", nil
	}
	c := alps.Recipe(quant.Uniform(widest, 8))
	if job.Graph, job.Store, err = alps.Requantize(base, *job, c); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is in full precision: its steps at %v were calibrated by least squared error; learned ones are better: "+
		"lowbit quantize --model %s --data %s --method lsq --bits %v, then name that run", m.model.model, widest, m.model.model, m.data.data, widest), nil
}

// quantized reports whether a network has quantizers.
func quantized(g *graph.Graph) bool {
	return slices.ContainsFunc(g.Nodes(), func(n *graph.Node) bool {
		_, ok := n.Op().(graph.FakeQuant)
		return ok
	})
}

// granularity is that of a network's weight steps, one a tensor if it has none.
func granularity(g *graph.Graph) quant.Granularity {
	for _, n := range g.Nodes() {
		q, ok := n.Op().(graph.FakeQuant)
		if !ok {
			continue
		}
		if p, ok := n.In()[0].Op().(graph.Param); ok && p.Role == graph.Weight {
			return q.Spec.Granularity
		}
	}
	return quant.PerTensor
}

// origin names the full-precision network that a run was made from, over all
// runs between; ok is false if the run does not say.
func origin(run string) (m modelFlags, ok bool) {
	m.model = run
	for range 32 { // a longer chain is a circle
		o, err := quantize.Read(m.model)
		if err != nil || o.Model == "" {
			return m, ok
		}
		m, ok = modelFlags{model: o.Model}, true
		if o.Weights != "built in" {
			m.weights = o.Weights
		}
	}
	return m, false
}

// teacher loads the network that --teacher names; self is the full-precision
// network that a quantized run was made from.
func teacher(name, run string, s sets) (*train.Teacher, error) {
	t := modelFlags{model: name}
	if name == "self" {
		var ok bool
		if t, ok = origin(run); !ok {
			return nil, usagef("%s does not say which full-precision network it was made from; name it with --teacher MODEL", run)
		}
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	l, err := t.load(s.train)
	if err != nil {
		return nil, fmt.Errorf("teacher: %w", err)
	}
	return &train.Teacher{Name: t.model, Graph: l.Graph, Store: l.Store}, nil
}

// before evaluates the full-precision network that a quantized run was made
// from; the result is zero if the run does not say, or it is not there.
func before(run string, e *engine.Engine, j train.Job, base train.Config, s sets) (*eval.Result, error) {
	m, ok := origin(run)
	if !ok || j.Test == nil && j.Source == nil || m.check() != nil {
		return &eval.Result{}, nil
	}
	l, err := m.load(s.train)
	if err != nil || quantized(l.Graph) {
		return &eval.Result{}, nil
	}
	j.Graph, j.Store = l.Graph, l.Store
	r, err := quantize.Evaluate(j, base)
	return &r, err
}
