package cli

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"lowbit/graph"
	"lowbit/load"
	"lowbit/model"
)

// zooResult is one network of model list.
type zooResult struct {
	model.Info
	Params  int64 `json:"params"`
	MACs    int64 `json:"macs"` // of one example
	BuiltIn bool  `json:"weights_built_in"`
}

// languageResult is one language model of model list.
type languageResult struct {
	Name   string      `json:"name"`
	Params int64       `json:"params"`
	Config model.Llama `json:"config"`
}

func (a *app) model() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "list the networks of the zoo", Args: none,
		Long: "Lists the networks of the zoo with their parameters and multiply-adds of one image,\n" +
			"and the language models that train starts from, with those of a vocabulary of bytes.",
		Example: "  lowbit model list\n  lowbit model list --json",
		RunE:    func(*cobra.Command, []string) error { return a.modelList() },
	}
	return a.group("model", "list the networks of the zoo", list)
}

func (a *app) modelList() error {
	out := struct {
		Models    []zooResult      `json:"models"`
		Languages []languageResult `json:"language_models"`
	}{}
	for _, name := range model.Names() {
		info, _ := model.Lookup(name)
		g, err := model.Build(name, model.Config{})
		if err != nil {
			return err
		}
		out.Models = append(out.Models, zooResult{info, graph.ParamCount(g), graph.MACs(g), slices.Contains(load.BuiltIn(), name)})
	}
	for _, name := range model.LlamaNames() {
		l, err := load.NewLanguage(name, "", a.seed)
		if err != nil {
			return err
		}
		out.Languages = append(out.Languages, languageResult{name, int64(l.Store.SizeBytes() / 4), l.Config})
	}
	return a.print(out, true, func(w io.Writer) {
		rows := [][]string{{"name", "data", "input", "parameters", "MACs", "weights", "what"}}
		for _, m := range out.Models {
			weights := "-"
			if m.BuiltIn {
				weights = "built in"
			}
			s := m.InputShape
			rows = append(rows, []string{
				m.Name, m.Dataset, fmt.Sprintf("%dx%dx%d", s[0], s[1], s[2]), millions(m.Params), millions(m.MACs), weights, m.Description,
			})
		}
		table(w, rows)
		rows = [][]string{{"language model", "parameters", "layers", "dimension", "heads", "with keys", "context"}}
		for _, m := range out.Languages {
			c := m.Config
			rows = append(rows, []string{m.Name, millions(m.Params), fmt.Sprint(c.Layers), fmt.Sprint(c.Dim), fmt.Sprint(c.Heads), fmt.Sprint(c.KVHeads), fmt.Sprint(c.Context)})
		}
		fmt.Fprintln(w)
		table(w, rows)
	})
}

// millions writes a count as "0.27 M".
func millions(n int64) string { return fmt.Sprintf("%.2f M", float64(n)/1e6) }
