package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"lowbit/data"
)

const dataGetHelp = `Fetches a data set into the data folder, if it is not there whole.

Each place it can be had from is tried in turn; what comes is checked against
known checksums. An interrupted download is taken up again.`

// setResult is one set of data list, and the result of data get.
type setResult struct {
	Name        string         `json:"name"`
	Path        string         `json:"path"` // where it is or would be
	Examples    int            `json:"examples"`
	Found       bool           `json:"found"`
	Description string         `json:"description,omitempty"`
	Licence     string         `json:"licence,omitempty"`
	Sources     []string       `json:"sources,omitempty"`
	Form        string         `json:"form,omitempty"`
	Train       *data.Found    `json:"train,omitempty"`
	Test        *data.Found    `json:"test,omitempty"`
	Attempts    []data.Attempt `json:"attempts,omitempty"`
}

func (a *app) data() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "list the data sets", Args: none,
		Long:    "Lists the data sets that can be fetched, and which are in the data folder.",
		Example: "  lowbit data list\n  lowbit data list --json",
		RunE:    func(*cobra.Command, []string) error { return a.dataList() },
	}
	get := &cobra.Command{
		Use: "get NAME", Short: "fetch a data set", Args: exactly(1, "the name of a data set"),
		Long: dataGetHelp, Example: "  lowbit data get cifar10\n  lowbit data get fashion-mnist --data-dir /data",
		RunE: func(_ *cobra.Command, args []string) error { return a.dataGet(args[0]) },
	}
	return a.group("data", "list and fetch data sets", list, get)
}

func (a *app) dataList() error {
	dir, err := a.dataFolder()
	if err != nil {
		return err
	}
	var sets []setResult
	for _, i := range data.List() {
		r := setResult{Name: i.Name, Examples: i.TrainExamples + i.TestExamples, Description: i.Description, Licence: i.Licence}
		for _, s := range i.Sources {
			r.Sources = append(r.Sources, s.String())
		}
		if r.Path, r.Form, r.Found = data.Locate(i.Name, dir); !r.Found {
			r.Path = filepath.Join(dir, i.Name)
		}
		sets = append(sets, r)
	}
	out := struct {
		DataDir string      `json:"data_dir"`
		Sets    []setResult `json:"sets"`
	}{dir, sets}
	return a.print(out, true, func(w io.Writer) {
		rows := [][]string{{"name", "examples", "here", "what"}}
		for _, s := range sets {
			here := "no"
			if s.Found {
				here = s.Form
			}
			rows = append(rows, []string{s.Name, thousands(int64(s.Examples)), here, s.Description})
		}
		table(w, rows)
		fmt.Fprintf(w, "\nfolder: %s\nlowbit data get NAME fetches one; imagefolder:PATH names a folder of your own.\n", dir)
	})
}

func (a *app) dataGet(name string) error {
	if !slices.Contains(data.Names(), name) {
		return usagef("data set %q is unknown, have %v%s", name, data.Names(), didYouMean(name, data.Names()))
	}
	dir, err := a.dataFolder()
	if err != nil {
		return err
	}
	p := a.progress()
	r, err := data.Get(a.ctx, name, dir, p.fetching)
	p.clear()
	if err != nil {
		if a.ctx.Err() != nil {
			return fmt.Errorf("%w: %w\nThe same command goes on with the download.", a.ctx.Err(), err)
		}
		return fmt.Errorf("%w\nTo put it there by hand: the set's files, in any form that is known, into %s", err, filepath.Join(dir, name))
	}
	out := setResult{Name: r.Name, Path: r.Path, Examples: r.Examples, Found: true, Form: r.Form, Train: &r.Train, Test: &r.Test, Attempts: r.Attempts}
	return a.print(out, false, func(w io.Writer) { fmt.Fprintln(w, r) })
}
