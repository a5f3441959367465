package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lowbit/app/verify"
)

const verifyHelp = `Runs one network's kernels and the definition of the other, in plain loops, on
test examples, and compares every code and every float of every layer. Both are
packed files, runs or ONNX files; they must be the same network. Of an ONNX file
those values are compared whose names the other has. It ends with 1 if anything
differs.

The plain loops are slow: --limit is 100 unless given; 0 takes all examples.`

const verifyExample = `  lowbit verify --model r20-w4.lowbit.safetensors --against runs/r20-w4 --data cifar10
  lowbit verify --model r20-w4.lowbit.safetensors --against runs/r20-w4 --data cifar10 --limit 1000 --json
  lowbit verify --model runs/r20-w4 --against r20-w4.onnx --data cifar10`

// verifyResult is the verb's result.
type verifyResult struct {
	verify.Result
	Model   string `json:"model"`
	Against string `json:"against"`
	Data    string `json:"data"`
	Kernel  string `json:"kernel"`
}

type verifyFlags struct {
	model   modelFlags
	against modelFlags
	data    dataFlags
}

func (a *app) verify() *cobra.Command {
	var v verifyFlags
	cmd := &cobra.Command{
		Use: "verify --model FILE --against RUN --data DATA", Short: "compare two forms of a network, code for code",
		Long: verifyHelp, Example: verifyExample, Args: none,
		RunE: func(*cobra.Command, []string) error { return v.run(a) },
	}
	f := cmd.Flags()
	f.StringVar(&v.model.model, "model", "", "packed file, run directory or ONNX file whose kernels run")
	f.StringVar(&v.against.model, "against", "", "packed file, run directory or ONNX file that it should equal")
	v.data.add(cmd, false)
	limit := f.Lookup("limit")
	limit.DefValue, v.data.limit = "100", 100
	return cmd
}

func (v *verifyFlags) run(a *app) error {
	if v.against.model == "" {
		return usagef("nothing to compare with: --against PATH")
	}
	for _, m := range []*modelFlags{&v.model, &v.against} {
		if err := m.check(); err != nil {
			return err
		}
	}
	s, err := v.data.open(a)
	if err != nil {
		return err
	}
	if err := s.needs(false, true); err != nil {
		return err
	}
	x, err := v.model.integers(s.test)
	if err != nil {
		return err
	}
	defer x.Close()
	y, err := v.against.integers(s.test)
	if err != nil {
		return err
	}
	defer y.Close()
	p := a.progress()
	r, err := verify.Compare(a.ctx, x, y, s.test, normalization(y.Info, s.test), a.threads, func(done int) { p.stage("compare", done, s.test.Len()) })
	p.clear()
	if err != nil {
		return err
	}
	out := verifyResult{r, v.model.model, v.against.model, v.data.data, x.Model.Kernel()}
	if err := a.print(out, true, func(w io.Writer) { verifyText(w, out) }); err != nil {
		return err
	}
	if !r.Equal {
		return errPrinted
	}
	return nil
}

func verifyText(w io.Writer, r verifyResult) {
	if r.Equal {
		fmt.Fprintln(w, "equal     yes, code for code")
	} else {
		fmt.Fprintf(w, "equal     NO: %s of %s examples differ, logits by at most %.4g\n", thousands(int64(r.Differing)), thousands(int64(r.Examples)), r.MaxAbsDiff)
		fmt.Fprintf(w, "first     example %d, %v\n", r.Example, r.FirstDifference)
	}
	fmt.Fprintf(w, "compared  %s values of %d layers on %s examples (%s)\n", thousands(r.Elements), r.Layers, thousands(int64(r.Examples)), r.Kernel)
}
