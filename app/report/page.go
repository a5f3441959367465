package report

import (
	"embed"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"lowbit/app/inspect"
	"lowbit/train"
)

//go:embed page.html sections.html style.html
var sources embed.FS

var templates = template.Must(template.ParseFS(sources, "*.html"))

// page is what the template shows.
type page struct {
	Title, Lead, Made string
	Rows              []row
	Accuracy, Near    template.HTML
	Loss              template.HTML
	AccuracyKeys      []key
	LossKeys          []key
	Layers            []layerTable
	Facts             []facts
	Next              []string
	Files             []fileRow
	Parts             string
}

// fileRow is one file that can be run.
type fileRow struct{ Bits, Name, ONNX, Size, Accuracy, Compared, Time string }

// fileRows are the files of a page.
func fileRows(files []File) []fileRow {
	var all []fileRow
	for _, f := range files {
		all = append(all, fileRow{
			f.Bits, f.Name, f.ONNX, bytes(f.SizeBytes), fmt.Sprintf("%.2f\u00a0%%", 100*f.Accuracy),
			thousands(f.Compared), fmt.Sprintf("%.3f\u00a0ms", f.MS),
		})
	}
	return all
}

// row is one line of the summary.
type row struct {
	Bits, Method, Accuracy, Margin, Drop, DropClass, Size, Smaller, Time, Residual, Name string
	Share                                                                                float64 // of the widest bar, percent
}

// layerTable is the layers of one run.
type layerTable struct {
	Name string
	Open bool
	Rows []layerRow
}

type layerRow struct {
	Name, Bits, MACs, WeightStep, ActStep, Entropy, Clipped, Cosine string
	Used                                                            float64 // entropy as percent of the bits
	Warn                                                            bool
}

// facts is what was run, for one run.
type facts struct {
	Name    string
	Command string
	Items   [][2]string
}

func newPage(runs []Run, c Config) (*page, error) {
	p := &page{Title: c.Title, Lead: c.Lead, Next: c.Next}
	made := c.Made
	if made.IsZero() {
		made = time.Now()
	}
	p.Made = made.Format("2 January 2006, 15:04")
	if p.Title == "" {
		p.Title = title(runs)
	}
	if p.Lead == "" {
		p.Lead = lead(runs)
	}
	p.Rows = rows(runs)
	p.Accuracy, p.Near, p.AccuracyKeys = accuracyChart(runs)
	p.Loss, p.LossKeys = lossChart(runs)
	shown := featured(runs)
	for i, r := range runs {
		if r.quantized() {
			p.Layers = append(p.Layers, layerTable{Name: heading(r), Rows: layerRows(r.Layers), Open: i == shown})
		}
		p.Facts = append(p.Facts, factsOf(r))
	}
	p.Parts, p.Files = parts(runs), fileRows(c.Files)
	return p, nil
}

// featured is the run whose layers are shown at first: the best of the
// narrowest, -1 if nothing is quantized.
func featured(runs []Run) int {
	best := -1
	for i, r := range runs {
		if !r.quantized() {
			continue
		}
		if best < 0 || r.Weight < runs[best].Weight || r.Weight == runs[best].Weight && r.Accuracy > runs[best].Accuracy {
			best = i
		}
	}
	return best
}

// title names the networks.
func title(runs []Run) string {
	var models []string
	for _, r := range runs {
		if r.Model != "" && !slices.Contains(models, r.Model) {
			models = append(models, r.Model)
		}
	}
	if len(models) == 0 {
		return "Low-bit networks"
	}
	return strings.Join(models, ", ") + " at low bits"
}

// parts says what the accuracies are of.
func parts(runs []Run) string {
	var s []string
	for _, r := range runs {
		t := fmt.Sprintf("%s %s images", thousands(r.Examples), r.Part)
		if r.Examples > 0 && !slices.Contains(s, t) {
			s = append(s, t)
		}
	}
	return strings.Join(s, " or ")
}

// lead tells what the narrowest run that lost at most two points costs.
func lead(runs []Run) string {
	const little = 2 // points
	best := -1
	for i, r := range runs {
		if d, ok := r.Drop(); ok && d <= little+1e-9 && (best < 0 || r.Size < runs[best].Size) {
			best = i
		}
	}
	if best < 0 {
		return ""
	}
	r := runs[best]
	d, _ := r.Drop()
	change := fmt.Sprintf("%.2f points below", d)
	if d < 0 {
		change = fmt.Sprintf("%.2f points above", -d)
	}
	return fmt.Sprintf("At %s (%s) the network scores %s, %s its float32 accuracy of %s, in %s instead of %s.",
		r.Bits, r.Method, percent(r.Accuracy), change, percent(r.FP32), bytes(r.Size), bytes(r.FP32Of))
}

// rows makes the summary; a first line stands for the network before.
func rows(runs []Run) []row {
	var out []row
	seen := map[string]bool{}
	for _, r := range runs {
		if r.FP32 > 0 && !seen[r.Model+percent(r.FP32)] {
			seen[r.Model+percent(r.FP32)] = true
			out = append(out, row{
				Bits: "fp32", Method: "before", Accuracy: percent(r.FP32), Margin: margin(r.FP32SE),
				Size: bytes(r.FP32Of), Drop: "–", Smaller: "1×", Time: "–", Share: 100 * r.FP32, Name: r.Model, Residual: "–",
			})
		}
	}
	for _, r := range runs {
		x := row{
			Bits: r.Bits, Method: r.Method, Accuracy: percent(r.Accuracy), Margin: margin(r.SE), Drop: "–", Residual: r.Residual,
			Size: bytes(r.Size), Smaller: "–", Time: seconds(r.Record.Result.Seconds), Share: 100 * r.Accuracy, Name: r.Name,
		}
		if r.Residual == "" {
			x.Residual = "–"
		}
		if r.Size > 0 {
			x.Smaller = fmt.Sprintf("%.1f×", float64(r.FP32Of)/float64(r.Size))
		}
		if d, ok := r.Drop(); ok {
			x.Drop, x.DropClass = fmt.Sprintf("%+.2f", -d), dropClass(d, r)
		}
		out = append(out, x)
	}
	return out
}

func margin(se float64) string { return fmt.Sprintf("±\u00a0%.2f", 100*Interval*se) }

// dropClass grades a loss of accuracy: within sampling error, small, large.
func dropClass(points float64, r Run) string {
	se := 100 * math.Hypot(r.SE, r.FP32SE)
	switch {
	case points <= Interval*se:
		return "good"
	case points <= 5:
		return "fair"
	}
	return "bad"
}

func heading(r Run) string { return r.Bits + " " + r.Method + " · " + r.Name }

func layerRows(layers []inspect.Layer) []layerRow {
	var out []layerRow
	optional := func(v *float64, format string, factor float64) string {
		if v == nil {
			return "–"
		}
		return fmt.Sprintf(format, *v*factor)
	}
	step := func(v float64) string {
		if v == 0 {
			return "–"
		}
		return fmt.Sprintf("%#.3g", v)
	}
	for _, l := range layers {
		if l.MACs == 0 { // a norm: nothing to quantize
			continue
		}
		r := layerRow{
			Name: l.Name, Bits: fmt.Sprintf("%d / %d", l.WeightBits, l.ActBits), MACs: fmt.Sprintf("%.2f", float64(l.MACs)/1e6),
			WeightStep: step(l.WeightStep), ActStep: step(l.ActStep), Entropy: optional(l.Entropy, "%.2f", 1),
			Clipped: optional(l.Clipped, "%.2f", 100), Cosine: optional(l.WeightCosine, "%.4f", 1),
		}
		if l.Entropy != nil && l.WeightBits > 0 {
			r.Used = 100 * *l.Entropy / float64(l.WeightBits)
		}
		r.Warn = l.WeightCosine != nil && *l.WeightCosine < 0.5
		out = append(out, r)
	}
	return out
}

func factsOf(r Run) facts {
	rec := r.Record
	f := facts{Name: heading(r), Command: ShellLine(rec.Command)}
	add := func(k, v string) {
		if v != "" {
			f.Items = append(f.Items, [2]string{k, v})
		}
	}
	add("run", r.Dir)
	add("seed", fmt.Sprint(rec.Config.Seed))
	add("data", rec.Identity.TrainData)
	if rec.Result.Epochs > 0 {
		add("training", fmt.Sprintf("%d epochs, %d steps of %d, %s", rec.Result.Epochs, rec.Result.Steps, rec.Config.Batch, seconds(rec.Result.Seconds)))
		add("schedule", fmt.Sprintf("%s, learning rate %g, %s", rec.Config.Schedule.Kind, rec.Config.Schedule.LR, rec.Config.Optim.Kind))
		if t := rec.Identity.Teacher; t != "" {
			add("teacher", t)
		}
	}
	for _, s := range rec.Sessions {
		add("ran", session(s))
	}
	var versions []string
	for _, k := range []string{"lowbit", "commit", "go"} {
		if v := rec.Versions[k]; v != "" {
			versions = append(versions, k+" "+v)
		}
	}
	add("versions", strings.Join(versions, ", "))
	return f
}

func session(s train.Session) string {
	load := ""
	if s.Machine.Load >= 0 {
		load = fmt.Sprintf(", load %.2f before", s.Machine.Load)
	}
	return fmt.Sprintf("%s on %s, %s/%s, %d of %d cores, kernel %s%s", s.Started.UTC().Format("2 Jan 2006 15:04 UTC"),
		s.Machine.CPU, s.Machine.OS, s.Machine.Arch, s.Threads, s.Machine.Cores, s.Kernel, load)
}

// ShellLine writes a command as it can be typed in a shell.
func ShellLine(args []string) string {
	var out []string
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$`!*?[](){}<>|&;~#") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}
