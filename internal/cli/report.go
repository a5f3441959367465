package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"lowbit/app/report"
	"lowbit/app/sweep"
)

const reportHelp = `Makes one HTML page of finished runs: accuracy against bits with error bars, loss
curves, layers, and what was run where. Of a sweep: its frontier, correlations and
costs. The page is one file, without scripts, and opens offline.`

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
	if _, err := os.Stat(filepath.Join(dirs[0], "points.json")); err == nil && len(dirs) == 1 {
		r, err := sweep.Load(dirs[0])
		if err != nil {
			return err
		}
		if err := sweepPage(a.out, r, title, nil); err != nil {
			return err
		}
		return a.reported(len(r.Points))
	}
	var runs []report.Run
	var models []report.LanguageRun
	for _, d := range dirs {
		m, is, err := report.LoadLanguage(d)
		if err != nil {
			return err
		}
		if is {
			models = append(models, m)
			continue
		}
		r, err := report.Load(d)
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	switch {
	case len(models) > 0 && len(runs) > 0:
		return usagef("runs of language models and of other networks: want a page for each kind")
	case len(models) > 0:
		if err := report.WriteLanguage(a.out, models, report.Config{Title: title}); err != nil {
			return err
		}
		return a.reported(len(models))
	}
	if err := report.Write(a.out, runs, report.Config{Title: title}); err != nil {
		return err
	}
	return a.reported(len(runs))
}

// reported prints where the page of so many runs is.
func (a *app) reported(runs int) error {
	out := struct {
		Path string `json:"path"`
		Runs int    `json:"runs"`
	}{a.out, runs}
	return a.print(out, false, func(w io.Writer) { fmt.Fprintf(w, "report  %s (%d runs)\n", a.out, runs) })
}
