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

func (a *app) model() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "list the networks of the zoo", Args: none,
		Long:    "Lists the networks of the zoo with their parameters and multiply-adds of one image.",
		Example: "  lowbit model list\n  lowbit model list --json",
		RunE:    func(*cobra.Command, []string) error { return a.modelList() },
	}
	return a.group("model", "list the networks of the zoo", list)
}

func (a *app) modelList() error {
	out := struct {
		Models []zooResult `json:"models"`
	}{}
	for _, name := range model.Names() {
		info, _ := model.Lookup(name)
		g, err := model.Build(name, model.Config{})
		if err != nil {
			return err
		}
		out.Models = append(out.Models, zooResult{info, graph.ParamCount(g), graph.MACs(g), slices.Contains(load.BuiltIn(), name)})
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
	})
}

// millions writes a count as "0.27 M".
func millions(n int64) string { return fmt.Sprintf("%.2f M", float64(n)/1e6) }
