package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lowbit/app/analyze"
	"lowbit/engine"
	"lowbit/load"
	"lowbit/method/silq"
	"lowbit/model"
	"lowbit/quant"
	"lowbit/train"
)

const analyzeHelp = `Tells layer by layer what quantization does to a network.

--similarity   cosine between the weights now and those of the full-precision
               network (--reference, or the one the run was made from), in float
               and as quantized (FAQ)
--rotation     how far the weights moved, and the share of that which a rotation of
               a layer's inputs or outputs would have done (orthogonal Procrustes),
               beside the share that a small change at random has
--noise        cosine between a gradient and the average of those before it, over
               --steps training steps; lower is noisier (FAQ)
--sensitivity  change of loss and accuracy on the test part with one layer changed:
               in full precision if the network is quantized, else quantized alone
               to --bits

Without any of them: --similarity. Language models have --similarity and --rotation,
and need no data.`

const analyzeExample = `  lowbit analyze --model runs/r20-w2 --data cifar10 --similarity --noise
  lowbit analyze --model resnet20 --data cifar10 --sensitivity --bits w2a2 --limit 1000
  lowbit analyze --model runs/smol4 --rotation`

type analyzeFlags struct {
	model     modelFlags
	data      dataFlags
	reference modelFlags
	bits      string
	batch     int
	c         analyze.Config
}

func (a *app) analyze() *cobra.Command {
	var v analyzeFlags
	cmd := &cobra.Command{
		Use: "analyze --model MODEL --data DATA", Short: "similarity, gradient noise and sensitivity of layers",
		Long: analyzeHelp, Example: analyzeExample, Args: none,
		RunE: func(*cobra.Command, []string) error { return v.run(a) },
	}
	v.model.add(cmd)
	v.data.add(cmd, true)
	f := cmd.Flags()
	f.BoolVar(&v.c.Similarity, "similarity", false, "how far the weights moved")
	f.BoolVar(&v.c.Rotation, "rotation", false, "how much of the change is a rotation")
	f.BoolVar(&v.c.Noise, "noise", false, "how noisy the gradients are")
	f.BoolVar(&v.c.Sensitivity, "sensitivity", false, "what each layer costs")
	f.StringVar(&v.reference.model, "reference", "", "MODEL to compare with (default: what the run was made from)")
	f.StringVar(&v.reference.weights, "reference-weights", "", "weights file for --reference")
	f.IntVar(&v.c.Steps, "steps", 100, "training steps of --noise")
	f.Float64Var(&v.c.LR, "lr", 0.0015, "learning rate of --noise")
	f.IntVar(&v.batch, "batch", 128, "examples a step")
	f.StringVar(&v.bits, "bits", "w4a4", "bits of --sensitivity on a full-precision network")
	return cmd
}

// source finds the network that a run was made from.
func (v *analyzeFlags) source(l *load.Loaded) error {
	if v.reference.model != "" {
		return v.reference.check()
	}
	if l.Record != nil {
		if m, ok := origin(v.model.model); ok {
			v.reference = m
			return v.reference.check()
		}
	}
	return usagef("%s does not say what it was made from; name it with --reference MODEL", v.model.model)
}

// network loads all that the analyses need.
func (v *analyzeFlags) network(a *app, e *engine.Engine) (n analyze.Network, err error) {
	s, err := v.data.open(a)
	if err != nil {
		return n, err
	}
	if err := s.needs(v.c.Noise || v.c.Sensitivity, v.c.Sensitivity); err != nil {
		return n, err
	}
	l, err := v.model.load(s.train)
	if err != nil {
		return n, err
	}
	n = analyze.Network{Engine: e, Graph: l.Graph, Store: l.Store, Train: s.train, Examples: s.test, Base: train.DefaultConfig()}
	n.Base.Batch, n.Base.Seed, n.Base.Augment, n.Base.Norm = v.batch, a.seed, augment(s.train), normalization(l.Info, s.train)
	if v.c.Similarity || v.c.Rotation {
		if err := v.source(l); err != nil {
			return n, err
		}
		r, err := v.reference.load(s.train)
		if err != nil {
			return n, fmt.Errorf("reference: %w", err)
		}
		n.Reference = r.Store
	}
	return n, usage(n.Base.Validate())
}

// language loads a language model and the one that it was made from.
func (v *analyzeFlags) language() (n analyze.Network, err error) {
	if v.c.Noise || v.c.Sensitivity {
		return n, usagef("%s is a language model: --noise and --sensitivity are for classifiers", v.model.model)
	}
	source := v.reference.model
	if source == "" {
		var ok bool
		if source, ok = load.LanguageSource(v.model.model); !ok {
			return n, usagef("%s does not say what it was made from; name it with --reference MODEL", v.model.model)
		}
		v.reference.model = source
	}
	l, err := load.OpenLanguage(v.model.model)
	if err != nil {
		return n, err
	}
	r, err := load.OpenLanguage(source)
	if err != nil {
		return n, fmt.Errorf("reference: %w", err)
	}
	if l.Rotated { // compare with what the training began with
		if _, err := silq.Rotate(r.Config, r.Store); err != nil {
			return n, fmt.Errorf("reference: %w", err)
		}
	}
	n.Store, n.Reference = l.Store, r.Store
	n.Graph, err = l.Graph(model.LlamaRun{Batch: 1, Seq: 1})
	return n, err
}

func (v *analyzeFlags) run(a *app) error {
	if !load.IsLanguage(v.model.model) {
		if err := v.model.check(); err != nil {
			return err
		}
	}
	p, err := quant.ParseBits(v.bits)
	if err != nil {
		return usage(err)
	}
	v.c.Width = p.Default
	if !v.c.Noise && !v.c.Sensitivity && !v.c.Rotation {
		v.c.Similarity = true
	}
	e := engine.New(a.threads)
	defer e.Close()
	var n analyze.Network
	if load.IsLanguage(v.model.model) {
		n, err = v.language()
	} else {
		n, err = v.network(a, e)
	}
	if err != nil {
		return err
	}
	l := a.progress()
	n.Progress = l.stage
	layers, err := analyze.Run(a.ctx, n, v.c)
	l.clear()
	if err != nil {
		return err
	}
	out := struct {
		Model     string          `json:"model"`
		Reference string          `json:"reference,omitempty"`
		Examples  int             `json:"examples,omitempty"`
		Layers    []analyze.Layer `json:"layers"`
		// Rotations are means over the layers of each kind.
		Rotations []silq.KindRotation `json:"rotations,omitempty"`
	}{v.model.model, v.reference.model, 0, layers, kinds(layers)}
	if v.c.Sensitivity {
		out.Examples = n.Examples.Len()
	}
	return a.print(out, true, func(w io.Writer) {
		v.text(w, layers)
		if k := out.Rotations; len(k) > 0 && len(k) < len(layers) {
			fmt.Fprintln(w)
			kindTable(w, k)
		}
	})
}

// kinds takes the rotations of layers together.
func kinds(layers []analyze.Layer) []silq.KindRotation {
	var names []string
	all := map[string]silq.Rotation{}
	for _, l := range layers {
		if l.Rotation != nil {
			names, all[l.Name] = append(names, l.Name), *l.Rotation
		}
	}
	return silq.Kinds(names, all)
}

// kindTable prints how the weights of each kind of layer moved.
func kindTable(w io.Writer, kinds []silq.KindRotation) {
	rows := [][]string{{"mean of", "layers", "change", "rotation of inputs", "by chance", "of outputs", "by chance"}}
	for _, k := range kinds {
		rows = append(rows, append([]string{k.Kind, fmt.Sprint(k.Layers)}, rotationCells(k.Rotation)...))
	}
	table(w, rows)
}

func rotationCells(r silq.Rotation) []string {
	return []string{fmt.Sprintf("%.4f", r.Change), percent(r.Input), percent(r.InputChance), percent(r.Output), percent(r.OutputChance)}
}

func (v *analyzeFlags) text(w io.Writer, layers []analyze.Layer) {
	head := []string{"layer", "bits w/a"}
	if v.c.Similarity {
		head = append(head, "weight cosine", "quantized cosine")
	}
	if v.c.Rotation {
		head = append(head, "change", "rotation of inputs", "by chance", "of outputs", "by chance")
	}
	if v.c.Noise {
		head = append(head, "gradient cosine")
	}
	if v.c.Sensitivity {
		head = append(head, "loss change", "accuracy change (points)")
	}
	number := func(x *float64, format string, factor float64) string {
		if x == nil {
			return "-"
		}
		return fmt.Sprintf(format, *x*factor)
	}
	rows := [][]string{head}
	for _, l := range layers {
		row := []string{l.Name, fmt.Sprintf("%d/%d", l.WeightBits, l.ActBits)}
		if v.c.Similarity {
			row = append(row, number(l.WeightCosine, "%.5f", 1), number(l.QuantizedCosine, "%.5f", 1))
		}
		if v.c.Rotation {
			cells := []string{"-", "-", "-", "-", "-"}
			if r := l.Rotation; r != nil {
				cells = rotationCells(*r)
			}
			row = append(row, cells...)
		}
		if v.c.Noise {
			row = append(row, number(l.GradientCosine, "%.4f", 1))
		}
		if v.c.Sensitivity {
			row = append(row, number(l.LossChange, "%+.5f", 1), number(l.AccuracyChange, "%+.2f", 100))
		}
		rows = append(rows, row)
	}
	table(w, rows)
}
