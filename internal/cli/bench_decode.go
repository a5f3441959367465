package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lowbit/app/bench"
	"lowbit/engine"
	"lowbit/generate"
	"lowbit/train"
)

const benchDecodeHelp = `Measures how fast a language model reads a prompt and then writes, token by token,
on random tokens; drawing them from the model is not measured.

To write a token, the weights are read once. weights says how fast that is, beside
what the same threads reach with nothing but reads from memory: small models stay
in the caches and may exceed that. For figures to compare, leave the machine alone
meanwhile.

--bits puts quantizers on a model in full precision, with steps that no text was
read for: for timings, not for results. The float engine runs them.`

const benchDecodeExample = `  lowbit bench decode --model smollm2.gguf
  lowbit bench decode --model runs/smol4 --prompt-tokens 512 --tokens 128 --json
  lowbit bench decode --model smollm2.gguf --bits w4a8kv8 --threads 1`

// benchDecodeResult is the verb's result.
type benchDecodeResult struct {
	bench.DecodeResult
	Model   string        `json:"model"`
	Bits    string        `json:"bits"`
	Machine train.Machine `json:"machine"`
}

type benchDecodeFlags struct {
	model, bits string
	c           bench.DecodeConfig
}

func (a *app) benchDecode() *cobra.Command {
	v := benchDecodeFlags{c: bench.DefaultDecode()}
	cmd := &cobra.Command{
		Use: "decode --model MODEL", Short: "measure a language model that writes",
		Long: benchDecodeHelp, Example: benchDecodeExample, Args: none,
		RunE: func(*cobra.Command, []string) error { return v.run(a) },
	}
	f := cmd.Flags()
	f.StringVar(&v.model, "model", "", "a GGUF file, a Hugging Face folder, a .bin file of llama2.c or a run directory")
	f.StringVar(&v.bits, "bits", "", "quantizers for a model in full precision: w4a8kv8 and the like")
	f.IntVar(&v.c.Prompt, "prompt-tokens", v.c.Prompt, "tokens read before")
	f.IntVar(&v.c.Tokens, "tokens", v.c.Tokens, "measured tokens")
	f.IntVar(&v.c.Warmup, "warmup", v.c.Warmup, "tokens before")
	f.Float64Var(&v.c.PeakSeconds, "peak-seconds", v.c.PeakSeconds, "time to measure how fast memory is read; 0: do not")
	return cmd
}

// decoder loads the model, puts quantizers on it if asked, and says its bits.
func (v *benchDecodeFlags) decoder(a *app, e *engine.Engine) (generate.Model, string, error) {
	l, err := openTokenized(v.model)
	if err != nil {
		return generate.Model{}, "", err
	}
	m := generate.Model{Build: l.Graph, Store: l.Store, Tokenizer: l.Tokenizer, Context: l.Config.Context}
	switch {
	case v.bits == "" && l.Quantizers == nil:
		return m, "fp32", nil
	case v.bits == "":
		return m, l.Quantizers.String(), nil
	}
	q, build, err := a.untrained(e, l, v.bits, false, 1)
	m.Build = build
	return m, q.String(), err
}

func (v *benchDecodeFlags) run(a *app) error {
	v.c.Seed = a.seed
	if err := v.c.Validate(); err != nil {
		return usage(err)
	}
	if v.model == "" {
		return usagef("no model: --model smollm2.gguf")
	}
	e := engine.New(a.threads)
	defer e.Close()
	out := benchDecodeResult{Model: v.model, Machine: train.ThisMachine()}
	p := a.progress()
	defer p.clear()
	p.set(fmt.Sprintf("%d tokens of %s", v.c.Prompt+v.c.Tokens, v.model))
	m, bits, err := v.decoder(a, e)
	if err != nil {
		return err
	}
	out.Bits = bits
	if out.DecodeResult, err = bench.Decode(a.ctx, e, m, v.c); err != nil {
		return err
	}
	p.clear()
	return a.print(out, true, func(w io.Writer) { decodeText(w, out) })
}

func decodeText(w io.Writer, r benchDecodeResult) {
	fmt.Fprintf(w, "reading    %.0f tokens/s (%d at once)\n", r.PromptTokensPerS, r.PromptTokens)
	fmt.Fprintf(w, "writing    %.1f tokens/s, %s\n", r.ItemsPerS, r.Bits)
	fmt.Fprintf(w, "token      %.2f ms median, %.2f min, %.2f p90, %.2f max (%d tokens)\n", r.MedianMS, r.MinMS, r.P90MS, r.MaxMS, r.Steps)
	fmt.Fprintf(w, "weights    %s read at %.1f GB/s", size(r.WeightBytes), r.ReadGBs)
	if r.PeakReadGBs > 0 {
		fmt.Fprintf(w, ", %s of the measured %.1f", percent(r.PeakShare), r.PeakReadGBs)
	}
	fmt.Fprintf(w, "\nmemory     %s of the cache, %s of the process at most\n", size(r.PlanBytes), size(r.PeakRSSBytes))
	fmt.Fprintf(w, "compile    %.0f ms\nmachine    %s, %d threads (%s), load %.2f before\n", r.CompileMS, r.Machine.CPU, r.Threads, r.Kernel, r.Machine.Load)
}
