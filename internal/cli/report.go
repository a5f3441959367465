package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lowbit/app/report"
)

const reportHelp = `Makes one HTML page of finished runs: accuracy against bits with error bars, loss
curves, layers, and what was run where. The page is one file, without scripts,
and opens offline.`

func (a *app) report() *cobra.Command {
	var title string
	cmd := &cobra.Command{
		Use: "report RUN...", Short: "make one HTML page of runs",
		Long: reportHelp, Example: "  lowbit report runs/r20-w4 runs/r20-w2 --out report.html",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("no runs: name run directories")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.runReport(args, title) },
	}
	cmd.Flags().StringVar(&title, "title", "", "title of the page")
	return cmd
}

func (a *app) runReport(dirs []string, title string) error {
	if a.out == "" {
		a.out = "report.html"
	}
	if err := a.free(a.out); err != nil {
		return err
	}
	var runs []report.Run
	for _, d := range dirs {
		r, err := report.Load(d)
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	if err := report.Write(a.out, runs, report.Config{Title: title}); err != nil {
		return err
	}
	out := struct {
		Path string `json:"path"`
		Runs int    `json:"runs"`
	}{a.out, len(runs)}
	return a.print(out, false, func(w io.Writer) { fmt.Fprintf(w, "report  %s (%d runs)\n", a.out, len(runs)) })
}
