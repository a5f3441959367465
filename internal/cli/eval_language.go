package cli

import (
	"fmt"
	"io"
	"math"
	"slices"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/load"
)

// perplexityResult is the verb's result for a text.
type perplexityResult struct {
	eval.LanguageResult
	languageRun
	Teacher string `json:"teacher,omitempty"`
}

// choiceResult is the verb's result for multiple-choice questions.
type choiceResult struct {
	eval.ChoiceResult
	languageRun
	Metric string  `json:"metric"`
	Value  float64 `json:"value"`
}

// languageRun says how a language model was measured.
type languageRun struct {
	Model   string `json:"model"`
	Data    string `json:"data"`
	Engine  string `json:"engine"`
	Kernel  string `json:"kernel"`
	Threads int    `json:"threads"`
}

// language measures a language model.
func (v *evalFlags) language(a *app) error {
	kind, path, err := textSpec(v.data.data)
	if err != nil {
		return err
	}
	if v.engine != "float" {
		return usagef("--engine %q: language models run on the float engine", v.engine)
	}
	if v.windows < 0 || v.windowLength < 2 || v.data.limit < 0 {
		return usagef("--windows %d of --window-length %d, --limit %d: want windows of at least 2 tokens", v.windows, v.windowLength, v.data.limit)
	}
	l, err := openTokenized(v.model.model)
	if err != nil {
		return err
	}
	e := engine.New(a.threads)
	defer e.Close()
	run := languageRun{Model: v.model.model, Data: v.data.data, Engine: "float", Kernel: engine.KernelRow(), Threads: e.Threads()}
	if slices.Contains(choiceKinds, kind) {
		return v.choices(a, e, l, kind, path, run)
	}
	return v.perplexity(a, e, l, kind, path, run)
}

func (v *evalFlags) perplexity(a *app, e *engine.Engine, l *load.Language, kind, path string, run languageRun) error {
	if v.windowLength > l.Config.Context {
		return usagef("--window-length %d, %s reads at most %d tokens", v.windowLength, v.model.model, l.Config.Context)
	}
	ids, err := testTokens(l, kind, path)
	if err != nil {
		return err
	}
	p := a.progress()
	c := eval.LanguageConfig{Length: v.windowLength, Windows: v.windows, Progress: counted(p, v.model.model, "windows")}
	if v.teacher != "" {
		t, err := load.OpenLanguage(v.teacher)
		if err != nil {
			return fmt.Errorf("teacher: %w", err)
		}
		d := decoder(t)
		c.Teacher = &d
	}
	out := perplexityResult{languageRun: run, Teacher: v.teacher}
	out.LanguageResult, err = eval.Perplexity(a.ctx, e, decoder(l), ids, c)
	p.clear()
	if err != nil {
		return err
	}
	return a.print(out, true, func(w io.Writer) {
		fmt.Fprintf(w, "perplexity  %.3f (%.3f to %.3f at one standard error over windows)\n", out.Perplexity,
			math.Exp(out.Loss-out.StandardError), math.Exp(out.Loss+out.StandardError))
		fmt.Fprintf(w, "loss        %.4f nats a token\ntokens      %s predicted, %d windows of %d, each read by itself\n",
			out.Loss, thousands(int64(out.Tokens)), out.Windows, out.Length)
		if out.KL != nil {
			fmt.Fprintf(w, "KL          %.4f nats from %s\ntop-1       %s the same token\n", *out.KL, v.teacher, percent(*out.Top1))
		}
		fmt.Fprintf(w, "speed       %.0f tokens/s, %d threads (%s)\n", out.TokensPerS, out.Threads, out.Kernel)
	})
}

func (v *evalFlags) choices(a *app, e *engine.Engine, l *load.Language, kind, path string, run languageRun) error {
	questions, err := data.ReadChoices(path, kind)
	if err != nil {
		return err
	}
	if v.data.limit > 0 && v.data.limit < len(questions) {
		questions = questions[:v.data.limit]
	}
	p := a.progress()
	out := choiceResult{languageRun: run, Metric: "accuracy"}
	out.ChoiceResult, err = eval.Choices(a.ctx, e, decoder(l), l.Tokenizer.Encode, l.Config.Context, questions, counted(p, v.model.model, "questions"))
	p.clear()
	if err != nil {
		return err
	}
	out.Value = out.Accuracy
	return a.print(out, true, func(w io.Writer) {
		fmt.Fprintf(w, "accuracy    %s\nnormalized  %s by bytes of the ending\n", accuracy(out.Accuracy, out.StandardError, out.Questions), percent(out.Normalized))
		if out.Truncated > 0 {
			fmt.Fprintf(w, "truncated   %d endings lost the beginning of their context\n", out.Truncated)
		}
	})
}
