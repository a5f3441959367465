package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"

	"lowbit/internal/atomicfile"
)

// print writes a verb's result: as JSON with --json, else as text. With toFile,
// an --out FILE gets the JSON, too.
func (a *app) print(result any, toFile bool, text func(w io.Writer)) error {
	b, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return fmt.Errorf("result: %w", err)
	}
	b = append(b, '\n')
	if toFile && a.out != "" {
		if err := a.writeFile(b); err != nil {
			return err
		}
	}
	if a.json {
		_, err = a.stdout.Write(b)
		return err
	}
	text(a.stdout)
	return nil
}

// writeFile puts the JSON into --out.
func (a *app) writeFile(b []byte) error {
	if err := a.free(a.out); err != nil {
		return err
	}
	return atomicfile.Write(a.out, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// free demands that nothing exists at a path, or --force.
func (a *app) free(path string) error {
	_, err := os.Stat(path)
	switch {
	case err == nil && !a.force:
		return fmt.Errorf("%s exists; --force overwrites it", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}

// warn prints a warning.
func (a *app) warn(message string) { fmt.Fprintf(a.stderr, "lowbit: warning: %s\n", message) }

// table prints aligned rows; the first is the head.
func table(w io.Writer, rows [][]string) {
	t := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	t.Flush()
}

// percent writes a share as "91.73 %".
func percent(x float64) string { return fmt.Sprintf("%.2f %%", 100*x) }

// accuracy writes an accuracy with its standard error.
func accuracy(x, se float64, examples int) string {
	if examples == 0 {
		return "not measured"
	}
	return fmt.Sprintf("%s (+- %.2f, %s examples)", percent(x), 100*se, thousands(int64(examples)))
}

// thousands writes 10000 as "10,000".
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes a number of bytes.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// duration writes seconds as people say them.
func duration(s float64) string {
	switch n := int(s + 0.5); {
	case s < 10:
		return fmt.Sprintf("%.1f s", s)
	case n < 60:
		return fmt.Sprintf("%d s", n)
	case n < 3600:
		return fmt.Sprintf("%d min %02d s", n/60, n%60)
	default:
		return fmt.Sprintf("%d h %02d min", n/3600, n/60%60)
	}
}

// isTerminal reports whether w is a terminal, and how wide it is.
func isTerminal(w io.Writer) (width int, ok bool) {
	f, is := w.(*os.File)
	if !is || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
		return width, true
	}
	return 80, true
}
