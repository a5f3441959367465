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
costs. Of players of games: returns against precision, learning curves, agreement
with the teacher, spikes and the map of cores. The page is one file, without scripts, and opens offline.`

func (a *app) report() *cobra.Command {
	var title string
	cmd := &cobra.Command{
		Use: "report RUN...", Short: "make one HTML page of runs",
		Long: reportHelp, Example: "  lowbit report runs/r20-w4 runs/r20-w2 --out report.html\n  lowbit report runs/b2 runs/core --out players.html",
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
	runs, models, players, err := loadRuns(dirs)
	if err != nil {
		return err
	}
	c := report.Config{Title: title}
	switch len(dirs) {
	case len(runs):
		err = report.Write(a.out, runs, c)
	case len(models):
		err = report.WriteLanguage(a.out, models, c)
	case len(players):
		err = report.WritePolicies(a.out, players, c)
	default:
		return usagef("%d runs of networks for images or sentences, %d of language models and %d of players of games: want a page for each kind", len(runs), len(models), len(players))
	}
	if err != nil {
		return err
	}
	return a.reported(len(dirs))
}

// loadRuns reads run directories of each kind.
func loadRuns(dirs []string) (runs []report.Run, models []report.LanguageRun, players []report.PolicyRun, err error) {
	for _, d := range dirs {
		if m, is, err := report.LoadLanguage(d); err != nil {
			return nil, nil, nil, err
		} else if is {
			models = append(models, m)
			continue
		}
		if p, is, err := report.LoadPolicy(d); err != nil {
			return nil, nil, nil, err
		} else if is {
			players = append(players, p)
			continue
		}
		r, err := report.Load(d)
		if err != nil {
			return nil, nil, nil, err
		}
		runs = append(runs, r)
	}
	return runs, models, players, nil
}

// reported prints where the page of so many runs is.
func (a *app) reported(runs int) error {
	out := struct {
		Path string `json:"path"`
		Runs int    `json:"runs"`
	}{a.out, runs}
	return a.print(out, false, func(w io.Writer) { fmt.Fprintf(w, "report  %s (%d runs)\n", a.out, runs) })
}
