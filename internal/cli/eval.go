package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
)

const evalHelp = `Measures accuracy, top-5 accuracy and loss on the test part.

The float engine computes in float32; the quantizers of a quantized network round
as in training.`

const evalExample = `  lowbit eval --model runs/r20-w4 --data cifar10
  lowbit eval --model resnet20 --weights r20.safetensors --data cifar10 --limit 1000 --json`

// evalResult is the verb's result.
type evalResult struct {
	eval.Result
	Model   string `json:"model"`
	Weights string `json:"weights,omitempty"`
	Data    string `json:"data"`
	Engine  string `json:"engine"`
	Kernel  string `json:"kernel"`
	Threads int    `json:"threads"`
}

type evalFlags struct {
	model     modelFlags
	data      dataFlags
	engine    string
	batch     int
	confusion bool
}

func (a *app) eval() *cobra.Command {
	var v evalFlags
	cmd := &cobra.Command{
		Use: "eval --model MODEL --data DATA", Short: "measure a network's accuracy",
		Long: evalHelp, Example: evalExample, Args: none,
		RunE: func(*cobra.Command, []string) error { return v.run(a) },
	}
	v.model.add(cmd)
	v.data.add(cmd, false)
	f := cmd.Flags()
	f.StringVar(&v.engine, "engine", "float", "float")
	f.IntVar(&v.batch, "batch", 128, "examples at once")
	f.BoolVar(&v.confusion, "confusion", false, "count examples by label and predicted class")
	return cmd
}

func (v *evalFlags) run(a *app) error {
	if v.engine != "float" {
		return usagef("--engine %q, want float", v.engine)
	}
	if v.batch < 1 {
		return usagef("--batch %d, want at least 1", v.batch)
	}
	if err := v.model.check(); err != nil {
		return err
	}
	s, err := v.data.open(a)
	if err != nil {
		return err
	}
	if err := s.needs(false, true); err != nil {
		return err
	}
	l, err := v.model.load(s.test)
	if err != nil {
		return err
	}
	e := engine.New(a.threads)
	c, err := eval.NewClassifier(e, l.Graph, l.Store, min(v.batch, s.test.Len()))
	if err != nil {
		return err
	}
	c.Norm, c.CountConfusion = normalization(l.Info, s.test), v.confusion
	p := a.progress()
	p.set(fmt.Sprintf("%s on %s examples", v.model.model, thousands(int64(s.test.Len()))))
	r, err := wait(a.ctx, func() (eval.Result, error) { return c.Evaluate(s.test) })
	p.clear()
	if err != nil {
		return err
	}
	defer e.Close()
	out := evalResult{r, v.model.model, l.Weights, v.data.data, v.engine, engine.KernelRow(), e.Threads()}
	return a.print(out, true, func(w io.Writer) {
		fmt.Fprintf(w, "accuracy  %s\ntop-5     %s\nloss      %.4f\n", accuracy(r.Accuracy, r.StandardError, r.Examples), percent(r.Top5), r.Loss)
		fmt.Fprintf(w, "weights   %s\nengine    %s, %d threads (%s)\n", l.Weights, v.engine, out.Threads, out.Kernel)
		confusionText(w, r.Confusion, s.test)
	})
}

func confusionText(w io.Writer, counts [][]int, ds *data.Dataset) {
	if counts == nil {
		return
	}
	head := []string{"label \\ predicted"}
	rows := [][]string{nil}
	for i, row := range counts {
		name := ds.Classes[i]
		head = append(head, name)
		cells := []string{name}
		for _, n := range row {
			cells = append(cells, fmt.Sprint(n))
		}
		rows = append(rows, cells)
	}
	rows[0] = head
	fmt.Fprintln(w)
	table(w, rows)
}
