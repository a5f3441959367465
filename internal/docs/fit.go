package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"lowbit/train"
)

// Line is y = Intercept + Slope*log2(x), by least squares.
type Line struct {
	X         string  `json:"x"`
	Y         string  `json:"y"`
	Records   int     `json:"records"`
	Slope     float64 `json:"slope_per_doubling"`
	Error     float64 `json:"standard_error"` // of Slope
	Intercept float64 `json:"intercept"`
	R2        float64 `json:"r2"` // share of y's variance that the line explains
}

// fit makes a record of a line through values of other records.
func fit(args []string) error {
	r, args, err := begin(args)
	if err != nil || len(args) < 3 {
		return fmt.Errorf("fit: want NAME X Y PATTERN...: %v", err)
	}
	groups, err := readGroups(resultsDir, args[2:])
	if err != nil {
		return err
	}
	var xs, ys []float64
	for _, g := range groups {
		for _, of := range g {
			x, okX := lookup(of, strings.Split(args[0], ".")).(float64)
			y, okY := lookup(of, strings.Split(args[1], ".")).(float64)
			if !okX || !okY || !(x > 0) {
				return fmt.Errorf("fit: %v has no %s above 0 or no %s", lookup(of, []string{"name"}), args[0], args[1])
			}
			xs, ys = append(xs, math.Log2(x)), append(ys, y)
		}
	}
	l, err := line(xs, ys)
	if err != nil {
		return fmt.Errorf("fit: %v: %w", args[2:], err)
	}
	l.X, l.Y = "log2 "+args[0], args[1]
	r.Command = append([]string{"go", "run", "./internal/docs", "fit", r.Name}, args...)
	r.Date, r.Machine = time.Now().UTC().Format(time.RFC3339), train.ThisMachine()
	r.Commit, r.Changed = commit()
	if r.Result, err = json.Marshal(l); err != nil {
		return err
	}
	return r.write()
}

// line fits y = a + b*x. It fails with fewer than three points, or all of one x.
func line(xs, ys []float64) (Line, error) {
	n := float64(len(xs))
	var mx, my, xx, xy, yy float64
	for i, x := range xs {
		mx, my = mx+x/n, my+ys[i]/n
	}
	for i, x := range xs {
		dx, dy := x-mx, ys[i]-my
		xx, xy, yy = xx+dx*dx, xy+dx*dy, yy+dy*dy
	}
	if n < 3 || xx == 0 {
		return Line{}, fmt.Errorf("%d points, want three at least, of several x", len(xs))
	}
	l := Line{Records: len(xs), Slope: xy / xx}
	l.Intercept = my - l.Slope*mx
	rest := max(yy-l.Slope*xy, 0)
	l.Error = math.Sqrt(rest / (n - 2) / xx)
	if yy > 0 {
		l.R2 = 1 - rest/yy
	}
	return l, nil
}
