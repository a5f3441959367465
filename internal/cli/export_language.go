package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"lowbit/app/export"
	"lowbit/format/gguf"
	"lowbit/load"
)

// embeddingTypes are what a table of embeddings can be written as.
var embeddingTypes = map[string]gguf.Type{"f32": gguf.F32, "f16": gguf.F16, "q8_0": gguf.Q8_0}

// languageExport is the verb's result for a language model.
type languageExport struct {
	export.Result
	Model string `json:"model"`
	To    string `json:"to"`
}

// language writes a language model.
func (v *exportFlags) language(a *app) error {
	embedding, ok := embeddingTypes[v.embedding]
	switch {
	case v.to == "safetensors" || v.to == "compressed-tensors":
		return v.folder(a)
	case v.to != "gguf":
		return usagef("--to %q: a language model is written as gguf, compressed-tensors or safetensors", v.to)
	case !ok:
		return usagef("--embedding %q, want f32, f16 or q8_0", v.embedding)
	case a.out == "":
		return usagef("no file: --out FILE.gguf")
	case !strings.HasSuffix(a.out, ".gguf"):
		return usagef("--out %q, want a name that ends with .gguf", a.out)
	}
	if err := a.free(a.out); err != nil {
		return err
	}
	l, err := load.OpenLanguage(v.model.model)
	if err != nil {
		return err
	}
	p := a.progress()
	p.set("writing and reading back " + a.out)
	r, err := export.GGUF(a.out, l, export.GGUFConfig{Embedding: embedding, Name: shortName(v.model.model)})
	p.clear()
	if err != nil {
		return err
	}
	return a.print(languageExport{r, v.model.model, v.to}, false, func(w io.Writer) { exportText(w, r) })
}

// folder writes a language model as a folder for transformers and vLLM.
func (v *exportFlags) folder(a *app) error {
	form := export.Floats
	if v.to == "compressed-tensors" {
		form = export.Form(v.scheme)
	}
	switch {
	case v.to == "compressed-tensors" && form != export.Serving && form != export.Exact:
		return usagef("--scheme %q, want serving or exact", v.scheme)
	case a.out == "":
		return usagef("no folder: --out FOLDER")
	}
	if err := a.free(a.out); err != nil {
		return err
	}
	l, err := load.OpenLanguage(v.model.model)
	if err != nil {
		return err
	}
	p := a.progress()
	p.set("writing and reading back " + a.out)
	r, err := export.Folder(a.out, l, form)
	p.clear()
	if err != nil {
		return err
	}
	return a.print(languageExport{r, v.model.model, v.to}, false, func(w io.Writer) { exportText(w, r) })
}

// exportText prints a line for tensors of the same kind, type and reason.
func exportText(w io.Writer, r export.Result) {
	type kind struct{ name, typ, why string }
	var order []kind
	count, bytes, worst := map[kind]int{}, map[kind]int64{}, map[kind]float64{}
	for _, t := range r.Tensors {
		name := t.Name
		for _, layers := range []string{"blk.", "model.layers."} {
			if rest, ok := strings.CutPrefix(name, layers); ok {
				_, name, _ = strings.Cut(rest, ".")
			}
		}
		k := kind{name, t.Type, t.Why}
		if count[k] == 0 {
			order = append(order, k)
		}
		count[k]++
		bytes[k] += int64(t.SizeBytes)
		worst[k] = max(worst[k], t.Error)
	}
	slices.SortStableFunc(order, func(a, b kind) int { return strings.Compare(a.name, b.name) })
	rows := [][]string{{"tensor", "layers", "type", "size", "error", "why"}}
	for _, k := range order {
		e := "0"
		if worst[k] > 0 {
			e = fmt.Sprintf("%.1g", worst[k])
		}
		rows = append(rows, []string{k.name, fmt.Sprint(count[k]), k.typ, size(bytes[k]), e, k.why})
	}
	table(w, rows)
	fmt.Fprintf(w, "\nwritten   %s\nsize      %s\nverified  read back; quantized weights without any error\n", r.Path, size(r.SizeBytes))
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note      %s\n", n)
	}
}
