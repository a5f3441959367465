package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"lowbit/app/verify"
	"lowbit/data"
	"lowbit/load"
)

const exportHelp = `Writes a quantized network into one file, then reads the file back and compares
it: codes of every layer on a picture of noise, or every weight.

  packed   weights as codes of their bits, with labels and preprocessing: what
           lowbit run, eval --engine integer, verify and bench infer take
  onnx     what ONNX Runtime and OpenVINO run on integers, with the same codes:
           uint8 activations, int8 weights with a scale a channel. With --onnx-style
           int4, weights of 4 and 2 bits are packed and activations stay in floats.
           A network in full precision is written as it is. An encoder has the inputs
           of Hugging Face's exports, and its tokenizer's files beside it
  gguf     a language model for llama.cpp, Ollama and others: each weight in the
           block type that holds its codes without loss
  compressed-tensors
           a language model for vLLM, SGLang and transformers: a folder with codes
           packed into words. --scheme serving (the default) leaves activations and
           the head in floats, which every server loads; exact keeps all of them
  safetensors
           a language model as a folder of floats, with the values that its codes
           stand for
  nir      a ternary corenet of distill for neuromorphic tools: convolutions with
           integer thresholds, compared with the trained network's spikes

Labels and normalisation are those of the data set that the network was made for;
--data names another.`

const exportExample = `  lowbit export --model runs/r20-w4 --to packed --out r20-w4.lowbit.safetensors
  lowbit run --model r20-w4.lowbit.safetensors cat.png
  lowbit export --model runs/r20-w4 --to onnx --out r20-w4.onnx
  lowbit export --model runs/sst2-w8 --to onnx --out sst2-w8/model.onnx
  lowbit export --model runs/smol4 --to gguf --out smol4.gguf
  lowbit export --model runs/smol4 --to compressed-tensors --out smol4-w4a16
  lowbit export --model runs/core --to nir --out core.nir`

// packedExt is how the name of a packed file ends.
const packedExt = ".lowbit.safetensors"

// exportResult is the verb's result.
type exportResult struct {
	verify.Exported
	Model string `json:"model"`
	To    string `json:"to"`
}

type exportFlags struct {
	model modelFlags
	data  dataFlags
	to    string
	// embedding is the type of a language model's table.
	embedding string
	style     string
	scheme    string
}

func (a *app) export() *cobra.Command {
	var v exportFlags
	cmd := &cobra.Command{
		Use: "export --model RUN --to FORMAT --out FILE", Short: "write a quantized network into one file",
		Long: exportHelp, Example: exportExample, Args: none,
		RunE: func(*cobra.Command, []string) error { return v.run(a) },
	}
	v.model.add(cmd)
	f := cmd.Flags()
	f.StringVar(&v.data.data, "data", "", "data set that names the classes: "+strings.Join(data.Names(), ", ")+" or imagefolder:PATH")
	f.StringVar(&v.to, "to", "packed", "packed, onnx, gguf, compressed-tensors, safetensors or nir")
	f.StringVar(&v.scheme, "scheme", "serving", "compressed-tensors: serving or exact")
	f.StringVar(&v.style, "onnx-style", "qcdq", "onnx: qcdq or int4")
	f.StringVar(&v.embedding, "embedding", "f16", "gguf: the table of embeddings as f32, f16 or q8_0")
	return cmd
}

func (v *exportFlags) run(a *app) error {
	if err := v.model.check(); err != nil {
		return err
	}
	if v.to == "nir" {
		return v.policy(a)
	}
	if load.IsLanguage(v.model.model) {
		return v.language(a)
	}
	encoder := load.IsEncoder(v.model.model)
	if encoder && v.to != "onnx" {
		return usagef("--to %q: %s is an encoder, which is exported to onnx", v.to, v.model.model)
	}
	ext, known := map[string]string{"packed": ".safetensors", "onnx": ".onnx"}[v.to]
	if !known {
		return usagef("--to %q, have packed and onnx; gguf, compressed-tensors and safetensors are for language models, nir for players", v.to)
	}
	if s := verify.ONNXStyle(v.style); s != verify.QCDQ && s != verify.Int4 {
		return usagef("--onnx-style %q, want qcdq or int4", v.style)
	}
	if a.out == "" {
		return usagef("no file: --out FILE%s", map[string]string{"packed": packedExt, "onnx": ext}[v.to])
	}
	if !strings.HasSuffix(a.out, ext) {
		return usagef("--out %q, want a name that ends with %s", a.out, ext)
	}
	if err := a.free(a.out); err != nil {
		return err
	}
	if encoder {
		return v.encoder(a)
	}
	var ds *data.Dataset
	if v.data.data != "" {
		s, err := v.data.open(a)
		if err != nil {
			return err
		}
		ds = s.test
	}
	l, err := v.model.load(ds)
	if err != nil {
		return err
	}
	if !quantized(l.Graph) && v.to != "onnx" {
		return fmt.Errorf("%s is in full precision, an export holds a quantized network\nQuantize it first: lowbit quantize --model %s --data DATA --bits w4a4", v.model.model, v.model.model)
	}
	var e verify.Exported
	if v.to == "onnx" {
		e, err = verify.ONNX(a.out, l, ds, verify.ONNXStyle(v.style))
	} else {
		e, err = verify.Pack(a.out, l, ds)
	}
	if err != nil {
		return err
	}
	if e.Preprocess == nil {
		a.warn("how pictures are normalised is not known, so that the file cannot be run on one; name the data with --data")
	}
	return a.print(exportResult{e, v.model.model, v.to}, false, func(w io.Writer) {
		what, next := "every layer's codes", fmt.Sprintf("lowbit run --model %s PICTURE", e.Path)
		if v.to == "onnx" {
			next = fmt.Sprintf("lowbit eval --model %s --data DATA", e.Path)
			if v.style == string(verify.Int4) || !quantized(l.Graph) {
				what = "the result"
			}
		}
		fmt.Fprintf(w, "file      %s\nsize      %s\nverified  %s on a picture of noise\n", e.Path, size(e.SizeBytes), what)
		fmt.Fprintf(w, "labels    %d\n\nnext: %s\n", len(e.Labels), next)
	})
}
