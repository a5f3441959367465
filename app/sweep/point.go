package sweep

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"lowbit/internal/atomicfile"
	"lowbit/method/alps"
	"lowbit/method/oracle"
	"lowbit/mixed"
	"lowbit/mixed/claim"
	"lowbit/quant"
	"lowbit/train"
)

// Point is one selection, trained once.
type Point struct {
	// Method, or the name of a uniform precision such as "w4a4", whose Budget
	// is its cost.
	Method string  `json:"method"`
	Budget float64 `json:"budget"`
	Seed   uint64  `json:"seed"`
	// Accuracy and Loss on the test part; valid if Done.
	Accuracy float64 `json:"accuracy"`
	Loss     float64 `json:"loss"`
	// Cost of the selection as a share of that at the widest precision.
	Cost float64 `json:"cost"`
	// Other are its costs in other models than the sweep's.
	Other []mixed.Price `json:"other_costs,omitempty"`
	// MS is the time of one example through all its layers, fixed ones
	// included, in the integer runtime; 0 if it is not measured.
	MS   float64 `json:"ms,omitempty"`
	Done bool    `json:"done"`
	// Run names the training: equal selections share one.
	Run     string  `json:"run"`
	Bits    string  `json:"bits"` // the bits file, relative to the sweep
	Seconds float64 `json:"seconds"`
}

// Scored is what a method found.
type Scored struct {
	Method string `json:"method"`
	Seed   uint64 `json:"seed,omitempty"` // of random
	// Seconds that scoring took, trials of all processes included.
	Seconds float64     `json:"seconds"`
	Gains   mixed.Gains `json:"gains"`
	// Fit is regression's model: additivity, noise and ceiling.
	Fit *oracle.Fit `json:"fit,omitempty"`
}

// Result is all that a sweep knows so far.
type Result struct {
	Complete bool `json:"complete"`
	// Identity is a checksum of all that decides results: network, checkpoint,
	// data, recipes. Results of equal ones may be put together.
	Identity  string        `json:"identity,omitempty"`
	CostModel string        `json:"cost_model"`
	Widths    []quant.Width `json:"widths"`
	Groups    []string      `json:"groups"` // that are selected, in order
	// Times says how the points' times were measured; nil: they are not.
	Times  *Times   `json:"times,omitempty"`
	Points []Point  `json:"points"`
	Scored []Scored `json:"scored"`
	// Frontier, Pairs and Correlation are computed from these.
	Frontier    []Series    `json:"frontier"`
	Pairs       []Pair      `json:"pairs"`
	Overall     []Pair      `json:"overall,omitempty"` // means over budgets
	Correlation Correlation `json:"correlation"`
}

// Times are those of layers in the integer runtime, one example at a time, each
// layer by itself; a selection's is their sum.
type Times struct {
	Kernel  string `json:"kernel"`
	Threads int    `json:"threads"`
}

// plan scores by all methods and lists all points, seed by seed.
func (s *sweep) plan(ctx context.Context) error {
	p := s.problem
	s.result = Result{Identity: s.result.Identity, CostModel: s.Cost, Widths: s.Widths, Times: s.result.Times}
	for _, g := range p.Select {
		s.result.Groups = append(s.result.Groups, p.Groups[g].Name)
	}
	for _, m := range s.scored() {
		seeds := s.Seeds[:1]
		if perSeed(m) {
			seeds = s.Seeds
		}
		for _, seed := range seeds {
			if err := s.score(ctx, m, seed); err != nil {
				return err
			}
		}
	}
	for _, seed := range s.Seeds {
		for k := range s.Widths {
			choice := p.Uniform(k)
			sel := &mixed.Selection{Method: s.Widths[k].String(), Budget: p.CostOf(choice), Cost: p.CostOf(choice), Choice: choice}
			if err := s.add(sel, seed, false); err != nil {
				return err
			}
		}
		for _, b := range s.Budgets {
			for _, sc := range s.result.Scored {
				if perSeed(sc.Method) && sc.Seed != seed || !slices.Contains(s.Methods, sc.Method) {
					continue
				}
				sel, err := mixed.Select(p, sc.Gains, b)
				if err != nil {
					return fmt.Errorf("sweep: %s: %w", sc.Method, err)
				}
				sel.Method, sel.Seconds = sc.Method, sc.Seconds
				if err := s.add(sel, seed, perSeed(sc.Method)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// scored are the methods to score: those to train, then those to rank alone.
func (s *sweep) scored() []string {
	return slices.Concat(s.Methods, slices.DeleteFunc(slices.Clone(s.Ranked), func(m string) bool { return slices.Contains(s.Methods, m) }))
}

// score reads what a method found before, or scores.
func (s *sweep) score(ctx context.Context, method string, seed uint64) error {
	sc := Scored{Method: method}
	if perSeed(method) {
		sc.Seed = seed
	}
	path := s.gainsPath(sc)
	found, err := readJSON(path, &sc)
	if err != nil {
		return err
	}
	if !found {
		at := Progress{Method: method, Seed: seed, Scoring: true}
		src := Source{Base: s.Base, Job: s.job, Dir: filepath.Join(s.dir, "trials", method)}
		src.Trials = func(done, all int) {
			at.Done, at.All = done, all
			s.progress(at)
		}
		scorer, err := NewScorer(method, s.Scoring, src, seed)
		if err != nil {
			return err
		}
		s.progress(at)
		began := time.Now()
		if o, ok := scorer.(oracle.Scorer); ok {
			if sc.Fit, err = o.Fit(ctx, s.problem); err == nil {
				sc.Gains = sc.Fit.Scores()
			}
		} else {
			sc.Gains, err = scorer.Score(ctx, s.problem)
		}
		if err != nil {
			return fmt.Errorf("sweep: %s: %w", method, err)
		}
		sc.Seconds = max(time.Since(began).Seconds(), sc.Gains.TrialSeconds)
		if err := writeJSON(path, sc); err != nil {
			return err
		}
	}
	if err := sc.Gains.Check(s.problem); err != nil {
		return fmt.Errorf("sweep: %s: %w", path, err)
	}
	s.result.Scored = append(s.result.Scored, sc)
	return nil
}

// add lists a point and writes its bits file.
func (s *sweep) add(sel *mixed.Selection, seed uint64, own bool) error {
	plan := s.problem.Plan(sel.Choice)
	key, err := mixed.PlanKey(plan)
	if err != nil {
		return err
	}
	pt := Point{
		Method: sel.Method, Budget: sel.Budget, Seed: seed, Cost: sel.Cost,
		Run: fmt.Sprintf("%s-s%d", key, seed), Bits: fmt.Sprintf("bits/%s-%g.json", sel.Method, sel.Budget),
	}
	if pt.Other, err = OtherCosts(s.problem, sel.Choice); err != nil {
		return err
	}
	if pt.MS, err = s.ms(sel.Choice); err != nil {
		return err
	}
	if own {
		pt.Bits = fmt.Sprintf("bits/%s-%g-s%d.json", sel.Method, sel.Budget, seed)
	}
	if err := mixed.WriteBits(filepath.Join(s.dir, pt.Bits), s.problem.Network, plan, sel); err != nil {
		return err
	}
	var r train.Result
	done, err := readJSON(s.recordPath(pt), &r)
	if err != nil {
		return err
	}
	if done {
		pt.fill(r)
	}
	s.result.Points, s.plans = append(s.result.Points, pt), append(s.plans, plan)
	return nil
}

func (s *sweep) gainsPath(sc Scored) string {
	name := sc.Method
	if perSeed(sc.Method) {
		name = fmt.Sprintf("%s-s%d", sc.Method, sc.Seed)
	}
	return filepath.Join(s.dir, "gains", name+".json")
}

func (s *sweep) recordPath(pt Point) string { return filepath.Join(s.dir, "points", pt.Run+".json") }

func (pt *Point) fill(r train.Result) {
	pt.Accuracy, pt.Loss, pt.Seconds, pt.Done = r.Accuracy, r.Loss, r.Seconds, true
}

// trainAll trains all points that are not done, but for those that other
// processes train, for which it waits.
func (s *sweep) trainAll(ctx context.Context) error {
	for {
		held, moved := false, false
		for i := range s.result.Points {
			if s.result.Points[i].Done {
				continue
			}
			err := s.train(ctx, i)
			if errors.Is(err, claim.ErrHeld) {
				held = true
				continue
			}
			if err == nil {
				err = s.save()
			}
			if err != nil {
				return err
			}
			moved = true
		}
		if !held {
			return nil
		}
		if moved {
			continue
		}
		if err := claim.Wait(ctx); err != nil {
			return fmt.Errorf("sweep: %w: %w", train.ErrInterrupted, err)
		}
	}
}

// train trains a point, or reads what another process made of it, and fills in
// all points that share its training. It returns claim.ErrHeld if another process
// is at it.
func (s *sweep) train(ctx context.Context, i int) error {
	pt := s.result.Points[i]
	release, err := claim.Take(filepath.Join(s.dir, "points", pt.Run+".lock"))
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	defer release()
	var r train.Result
	found, err := readJSON(s.recordPath(pt), &r)
	if err != nil {
		return err
	}
	if !found {
		done := 0
		for _, other := range s.result.Points {
			if other.Done {
				done++
			}
		}
		at := Progress{Method: pt.Method, Budget: pt.Budget, Seed: pt.Seed, Done: done, All: len(s.result.Points)}
		s.progress(at)
		if r, err = s.one(ctx, pt, s.plans[i], at); err != nil {
			return fmt.Errorf("sweep: %s at %g, seed %d: %w", pt.Method, pt.Budget, pt.Seed, err)
		}
	}
	for j := range s.result.Points {
		if s.result.Points[j].Run == pt.Run {
			s.result.Points[j].fill(r)
		}
	}
	return nil
}

// one trains a plan from the checkpoint, or goes on with its run.
func (s *sweep) one(ctx context.Context, pt Point, plan quant.BitPlan, at Progress) (train.Result, error) {
	base, job, c := s.Base, s.job, s.LSQ
	base.Seed, c.Bits = pt.Seed, plan
	dir := filepath.Join(s.dir, "runs", pt.Run)
	job.Out, job.Resume, job.Force, job.Method = dir, true, false, "lsq"
	job.Progress = func(p train.Progress) {
		at.Train = p
		s.progress(at)
	}
	_, r, err := alps.Train(ctx, base, job, c)
	if err != nil {
		return r, err
	}
	if err := writeJSON(s.recordPath(pt), r); err != nil {
		return r, err
	}
	if s.KeepWeights {
		return r, nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	for _, f := range files {
		err = errors.Join(err, os.Remove(f))
	}
	return r, err
}

// save writes points.json.
func (s *sweep) save() error {
	s.result.analyse()
	return writeJSON(filepath.Join(s.dir, resultName), s.result)
}

// Load reads the result of a sweep so far.
func Load(dir string) (*Result, error) {
	var r Result
	found, err := readJSON(filepath.Join(dir, resultName), &r)
	if err == nil && !found {
		err = fmt.Errorf("sweep: %s: no %s, want the folder of a sweep", dir, resultName)
	}
	return &r, err
}

func readJSON(path string, v any) (found bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(b)).Decode(v)
	}
	if err != nil {
		return false, fmt.Errorf("sweep: %s: %w", path, err)
	}
	return true, nil
}

func writeJSON(path string, v any) error {
	if err := atomicfile.WriteJSON(path, v); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

// difference returns the name of the first field in which two JSON objects
// differ; old is decoded already.
func difference(old any, now any) (string, error) {
	b, err := json.Marshal(now)
	if err != nil {
		return "", fmt.Errorf("sweep: %w", err)
	}
	var fresh map[string]any
	if err := json.Unmarshal(b, &fresh); err != nil {
		return "", fmt.Errorf("sweep: %w", err)
	}
	was, ok := old.(map[string]any)
	if !ok {
		return "form", nil
	}
	var names []string
	for k := range fresh {
		names = append(names, k)
	}
	for k := range was {
		if _, ok := fresh[k]; !ok {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	for _, k := range names {
		if !reflect.DeepEqual(was[k], fresh[k]) {
			return k, nil
		}
	}
	return "", nil
}
