package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"lowbit/app/inspect"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/model"
	"lowbit/tensor"
)

const inspectHelp = `Shows a network's layers: shapes, multiply-adds, parameters, bits, steps, and how
well the codes of each layer's weights are used (entropy in bits).

The size counts every weight packed at its bits and all else (biases, norms,
running statistics, steps) in float32. A zoo network without weights is shown
with random ones (those of --seed). Of a language model and of an encoder the costs
are those of one token, without attention's to others.`

const inspectExample = `  lowbit inspect resnet20
  lowbit inspect runs/r20-w4 --json
  lowbit inspect smollm2.gguf
  lowbit inspect all-MiniLM-L6-v2/onnx/model.onnx`

// inspectResult is the verb's result.
type inspectResult struct {
	inspect.Network
	Model   string     `json:"model"`
	Weights string     `json:"weights,omitempty"`
	Info    model.Info `json:"info"`
}

func (a *app) inspect() *cobra.Command {
	var m modelFlags
	cmd := &cobra.Command{
		Use: "inspect MODEL", Short: "show a network's layers, costs, bits and sizes",
		Long: inspectHelp, Example: inspectExample,
		Args: func(_ *cobra.Command, args []string) error {
			if m.model != "" {
				args = append(args, m.model)
			}
			return exactly(1, "one MODEL")(nil, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				m.model = args[0]
			}
			return a.runInspect(m)
		},
	}
	m.add(cmd) // --model as in other verbs, for who is used to it
	return cmd
}

func (a *app) runInspect(m modelFlags) error {
	if err := m.check(); err != nil {
		return err
	}
	if load.IsLanguage(m.model) {
		return a.inspectLanguage(m.model)
	}
	if load.IsEncoder(m.model) {
		return a.inspectEncoder(m.model)
	}
	l, err := m.load(nil)
	if errors.Is(err, load.ErrNoWeights) {
		l, err = a.fresh(m)
	}
	if err != nil {
		return err
	}
	n, err := inspect.Describe(l.Graph, l.Store, nil)
	if err != nil {
		return err
	}
	out := inspectResult{n, m.model, l.Weights, l.Info}
	return a.print(out, true, func(w io.Writer) { inspectText(w, out) })
}

// encoderInspectResult is the verb's result for an encoder.
type encoderInspectResult struct {
	inspectResult
	Config    model.Bert `json:"config"`
	MaxTokens int        `json:"max_tokens"`
	Tokens    int        `json:"tokens"` // of the tokenizer
}

func (a *app) inspectEncoder(spec string) error {
	e, err := load.OpenEncoder(spec)
	if err != nil {
		return err
	}
	g, err := e.Graph(1, 1)
	if err != nil {
		return err
	}
	n, err := inspect.Describe(g, e.Store, nil)
	if err != nil {
		return err
	}
	out := encoderInspectResult{inspectResult{Network: n, Model: spec, Weights: e.Source}, e.Config, e.MaxTokens, e.Tokenizer.Size()}
	return a.print(out, true, func(w io.Writer) {
		inspectText(w, out.inspectResult)
		c := e.Config
		fmt.Fprintf(w, "texts of    %s tokens, vocabulary %s, %d layers of %d, %d heads; gives %s\n",
			thousands(int64(e.MaxTokens)), thousands(int64(c.Vocab)), c.Layers, c.Dim, c.Heads, e.Gives())
	})
}

// languageInspectResult is the verb's result for a language model.
type languageInspectResult struct {
	inspectResult
	Config   model.Llama    `json:"config"`
	Form     string         `json:"form"`
	Types    map[string]int `json:"types"`  // tensors of the file by type
	Tokens   int            `json:"tokens"` // of the tokenizer; 0: none
	Template bool           `json:"chat_template"`
}

func (a *app) inspectLanguage(spec string) error {
	l, err := a.describedLanguage(spec)
	if err != nil {
		return err
	}
	g, err := l.Graph(model.LlamaRun{Batch: 1, Seq: 1})
	if err != nil {
		return err
	}
	n, err := inspect.Describe(g, l.Store, nil)
	if err != nil {
		return err
	}
	out := languageInspectResult{inspectResult: inspectResult{Network: n, Model: spec, Weights: l.Source}, Config: l.Config, Form: l.Form, Types: l.Types}
	if l.Tokenizer != nil {
		out.Tokens, out.Template = l.Tokenizer.Size(), l.Tokenizer.Template != ""
	}
	return a.print(out, true, func(w io.Writer) {
		inspectText(w, out.inspectResult)
		c := l.Config
		fmt.Fprintf(w, "context     %s tokens, vocabulary %s, %d layers of %d, %d heads of which %d with keys\n",
			thousands(int64(c.Context)), thousands(int64(c.Vocab)), c.Layers, c.Dim, c.Heads, c.KVHeads)
		fmt.Fprintf(w, "stored as   %s:", l.Form)
		for _, t := range slices.Sorted(maps.Keys(l.Types)) {
			fmt.Fprintf(w, " %d %s", l.Types[t], t)
		}
		fmt.Fprintln(w)
	})
}

// fresh builds a zoo network with random weights.
func (a *app) fresh(m modelFlags) (*load.Loaded, error) {
	info, _ := model.Lookup(m.model)
	g, err := model.Build(m.model, m.config(nil))
	if err != nil {
		return nil, err
	}
	l := &load.Loaded{Spec: m.model, Graph: g, Store: tensor.NewStore(), Info: info, Weights: "random"}
	return l, graph.InitParams(g, l.Store, a.seed)
}

func inspectText(w io.Writer, r inspectResult) {
	quantized := slices.ContainsFunc(r.Layers, func(l inspect.Layer) bool { return min(l.WeightBits, l.ActBits) < graph.FloatBits })
	head := []string{"layer", "op", "output", "MACs", "parameters", "bytes"}
	if quantized {
		head = append(head, "bits w/a", "weight step", "act step", "entropy", "clipped")
	}
	rows := [][]string{head}
	for _, l := range r.Layers {
		if l.MACs == 0 { // norms: part of the totals
			continue
		}
		row := []string{l.Name, l.Op, fmt.Sprint(l.OutputShape), thousands(l.MACs), thousands(l.Params), thousands(l.SizeBytes)}
		if quantized {
			row = append(row, fmt.Sprintf("%d/%d", l.WeightBits, l.ActBits), step(l.WeightStep), step(l.ActStep))
			if l.Entropy != nil {
				row = append(row, fmt.Sprintf("%.2f", *l.Entropy), percent(*l.Clipped))
			}
		}
		rows = append(rows, row)
	}
	table(w, rows)
	fmt.Fprintf(w, "\nMACs        %s an example\nparameters  %s\nsize        %s (float32: %s)\nweights     %s\n",
		thousands(r.MACs), thousands(r.Params), size(r.SizeBytes), size(r.FP32Bytes), r.Weights)
}

func step(s float64) string {
	if s == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g", s)
}
