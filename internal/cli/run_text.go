package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lowbit/engine"
	"lowbit/generate"
	"lowbit/train"
)

// textFlags are what run takes for language models.
type textFlags struct {
	prompt, system  string
	chat            bool
	tokens, context int
	sampling        generate.Sampling
	stop            []string
}

func (v *textFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&v.prompt, "prompt", "", "language models: the text to go on with, or with --chat the message")
	f.BoolVar(&v.chat, "chat", false, "language models: talk by the chat template; without --prompt line by line")
	f.StringVar(&v.system, "system", "", "with --chat: what the model is told first")
	f.IntVar(&v.tokens, "tokens", 256, "language models: most tokens of an answer; 0: as many as fit")
	f.IntVar(&v.context, "context", 2048, "language models: room for prompt and answers in tokens")
	f.Float64Var(&v.sampling.Temperature, "temperature", 0.7, "language models: 0 takes the likeliest token, always")
	f.IntVar(&v.sampling.TopK, "top-k", 40, "language models: draw among the K likeliest tokens; 0: all")
	f.Float64Var(&v.sampling.TopP, "top-p", 0.95, "language models: draw among the likeliest tokens of this probability")
	f.StringArrayVar(&v.stop, "stop", nil, "language models: a text that ends the answer; may be given again")
}

// textResult is the verb's result for a language model.
type textResult struct {
	Text         string          `json:"text"`
	Finish       generate.Finish `json:"finish"`
	MS           float64         `json:"ms"` // of reading and writing
	PromptTokens int             `json:"prompt_tokens"`
	Tokens       int             `json:"tokens"`
	// PromptTokensPerS and TokensPerS are the speeds of reading and of writing.
	PromptTokensPerS float64 `json:"prompt_tokens_per_s"`
	TokensPerS       float64 `json:"tokens_per_s"`
	Model            string  `json:"model"`
	Threads          int     `json:"threads"`
	Kernel           string  `json:"kernel"`
}

// writer is a language model that writes on a's output.
type writer struct {
	*textFlags
	a     *app
	model string
	e     *engine.Engine
	g     *generate.Generator
}

// text lets a language model write.
func (v *textFlags) text(a *app, cmd *cobra.Command, model string, args []string) error {
	if len(args) == 1 {
		if v.prompt != "" {
			return usagef("a text as an argument and as --prompt")
		}
		v.prompt = args[0]
	}
	v.sampling.Seed = a.seed
	switch {
	case v.tokens < 0 || v.context < 2:
		return usagef("--tokens %d, --context %d: want 0 or more, and room for 2 tokens at least", v.tokens, v.context)
	case v.prompt == "" && !v.chat:
		return usagef("no text: --prompt TEXT, or --chat")
	case v.prompt == "" && a.json:
		return usagef("--chat --json needs a message: --prompt TEXT")
	case v.system != "" && !v.chat:
		return usagef("--system goes with --chat")
	}
	if err := v.sampling.Validate(); err != nil {
		return usage(err)
	}
	l, err := openTokenized(model)
	if err != nil {
		return err
	}
	w := writer{textFlags: v, a: a, model: model, e: engine.New(a.threads)}
	defer w.e.Close()
	w.g, err = generate.New(w.e, generate.Model{Build: l.Graph, Store: l.Store, Tokenizer: l.Tokenizer, Context: l.Config.Context}, v.context)
	switch {
	case err != nil:
		return err
	case v.chat && v.prompt == "":
		return w.talk(cmd.InOrStdin())
	}
	return w.once()
}

// request is what all answers have in common.
func (w *writer) request() generate.Request {
	r := generate.Request{Tokens: w.tokens, Sampling: w.sampling, Stop: w.stop}
	if !w.a.json {
		r.OnText = func(piece string) error {
			_, err := io.WriteString(w.a.stdout, piece)
			return err
		}
	}
	return r
}

// once writes one answer.
func (w *writer) once() error {
	r := w.request()
	var answer generate.Answer
	if w.chat {
		c, err := w.g.NewChat(w.system)
		if err != nil {
			return err
		}
		answer, err = c.Say(w.a.ctx, w.prompt, r)
		if err != nil {
			return w.ended(err)
		}
	} else {
		r.Prompt = w.g.Tokenizer().Encode(w.prompt)
		var err error
		if answer, err = w.g.NewSession().Generate(w.a.ctx, r); err != nil {
			return w.ended(err)
		}
	}
	out := textResult{
		Text: answer.Text, Finish: answer.Finish, MS: 1000 * (answer.PromptSeconds + answer.Seconds), PromptTokens: answer.PromptTokens,
		Tokens: answer.Tokens, PromptTokensPerS: float64(answer.NewTokens) / answer.PromptSeconds, TokensPerS: float64(answer.Tokens) / answer.Seconds,
		Model: w.model, Threads: w.e.Threads(), Kernel: engine.KernelRow(),
	}
	return w.a.print(out, true, func(o io.Writer) {
		fmt.Fprintln(o)
		w.speed(answer)
	})
}

// speed tells on stderr how fast an answer came.
func (w *writer) speed(answer generate.Answer) {
	if w.a.quiet {
		return
	}
	fmt.Fprintf(w.a.stderr, "%d tokens read at %.0f/s, %d written at %.1f/s", answer.NewTokens, float64(answer.NewTokens)/answer.PromptSeconds,
		answer.Tokens, float64(answer.Tokens)/answer.Seconds)
	if answer.Finish != generate.FinishStop {
		fmt.Fprintf(w.a.stderr, ", ended by %s", map[generate.Finish]string{
			generate.FinishLength: "--tokens", generate.FinishContext: "--context"}[answer.Finish])
	}
	fmt.Fprintln(w.a.stderr)
}

// ended says how a full context is mended.
func (w *writer) ended(err error) error {
	switch {
	case errors.Is(err, generate.ErrContext):
		return fmt.Errorf("%w\nThe model reads up to --context %d tokens", err, w.g.Capacity())
	case w.a.ctx.Err() != nil:
		return fmt.Errorf("%w: %w", train.ErrInterrupted, err)
	}
	return err
}

// talk answers line by line until the input or the patience ends.
func (w *writer) talk(in io.Reader) error {
	c, err := w.g.NewChat(w.system)
	if err != nil {
		return err
	}
	f, isFile := in.(*os.File)
	person := isFile && term.IsTerminal(int(f.Fd()))
	if person && !w.a.quiet {
		fmt.Fprintln(w.a.stderr, "Type a message and Enter; Ctrl-D ends.")
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for w.a.ctx.Err() == nil {
		if person {
			fmt.Fprint(w.a.stderr, "> ")
		}
		more, err := wait(w.a.ctx, func() (bool, error) { return lines.Scan(), nil })
		if err != nil {
			return err
		}
		if !more {
			break
		}
		message := strings.TrimSpace(lines.Text())
		if message == "" {
			continue
		}
		answer, err := c.Say(w.a.ctx, message, w.request())
		if err != nil {
			return w.ended(err)
		}
		fmt.Fprintln(w.a.stdout)
		if person {
			w.speed(answer)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("a message: %w", err)
	}
	return nil
}
