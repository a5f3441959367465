package cli

import (
	"fmt"
	"image"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"lowbit/infer"
	"lowbit/load"
)

const runHelp = `Classifies a picture (JPEG, PNG or GIF) with a packed file. The picture is resized
and cut to the network's input, as the file says. The time is that of preprocessing
and network, of the second of two runs.

Or lets a language model write (a .gguf file, a Hugging Face folder, a .bin file of
llama2.c): --prompt gives the text to go on with; --chat talks by the model's chat
template, once with --prompt, else line by line from the input. The same --seed
gives the same text.`

const runExample = `  lowbit run --model r20-w4.lowbit.safetensors cat.png
  lowbit run --model r20-w4.lowbit.safetensors cat.png --top 1 --json
  lowbit run --model smollm2.gguf --prompt "The capital of France is" --tokens 20 --temperature 0
  lowbit run --model smollm2.gguf --chat`

// pictureResult is the verb's result.
type pictureResult struct {
	Classes []infer.Prediction `json:"classes"` // best first
	MS      float64            `json:"ms"`
	Model   string             `json:"model"`
	Input   string             `json:"input"`
	Threads int                `json:"threads"`
	Kernel  string             `json:"kernel"`
}

type inputFlags struct {
	model modelFlags
	top   int
	text  textFlags
}

func (a *app) run() *cobra.Command {
	var v inputFlags
	cmd := &cobra.Command{
		Use: "run --model FILE [PICTURE|TEXT]", Short: "classify a picture, or let a language model write",
		Long: runHelp, Example: runExample,
		RunE: func(cmd *cobra.Command, args []string) error { return v.run(a, cmd, args) },
	}
	f := cmd.Flags()
	f.StringVar(&v.model.model, "model", "", "packed file, or language model")
	f.IntVar(&v.top, "top", 5, "pictures: classes to name")
	v.text.add(cmd)
	return cmd
}

func (v *inputFlags) run(a *app, cmd *cobra.Command, args []string) error {
	if err := v.model.check(); err != nil {
		return err
	}
	if len(args) > 1 {
		return usagef("%d arguments, want one PICTURE or TEXT", len(args))
	}
	if load.IsLanguage(v.model.model) {
		return v.text.text(a, cmd, v.model.model, args)
	}
	if len(args) != 1 {
		return usagef("no arguments, want one PICTURE")
	}
	return v.picture(a, args[0])
}

func (v *inputFlags) picture(a *app, path string) error {
	if v.top < 1 {
		return usagef("--top %d, want at least 1", v.top)
	}
	if stat, err := os.Stat(v.model.model); err != nil || stat.IsDir() {
		return fmt.Errorf("%s is no packed file\nMake one of a quantized run: lowbit export --model %s --to packed --out FILE%s", v.model.model, v.model.model, packedExt)
	}
	m, err := infer.Load(v.model.model)
	if err != nil {
		return err
	}
	defer m.Close()
	img, err := picture(path)
	if err != nil {
		return err
	}
	s := m.NewSession(infer.Options{Threads: a.threads})
	defer s.Close()
	out := pictureResult{Model: v.model.model, Input: path, Threads: s.Threads(), Kernel: m.Kernel()}
	for range 2 { // the first run warms caches and threads
		began := time.Now()
		if out.Classes, err = s.Classify(a.ctx, img, v.top); err != nil {
			return err
		}
		out.MS = time.Since(began).Seconds() * 1000
	}
	return a.print(out, true, func(w io.Writer) {
		rows := [][]string{{"class", "probability"}}
		for _, c := range out.Classes {
			rows = append(rows, []string{c.Label, percent(c.Probability)})
		}
		table(w, rows)
		fmt.Fprintf(w, "\n%.2f ms, %d threads (%s)\n", out.MS, out.Threads, out.Kernel)
	})
}

// picture reads an image file.
func picture(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	img, err := infer.DecodeImage(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return img, nil
}
