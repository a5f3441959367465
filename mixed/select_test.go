package mixed

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"lowbit/quant"
)

func score(t *testing.T, p *Problem, s Scorer) Gains {
	t.Helper()
	g, err := s.Score(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func bits(s *Selection) []int {
	var b []int
	for _, l := range s.Layers {
		b = append(b, l.Bits)
	}
	return b
}

func TestSelectMeetsItsBudgetAndSaysSo(t *testing.T) {
	const seed = 3
	r := rand.New(rand.NewPCG(seed, 0))
	p := problem(t, 8, 4, 2)
	for n := range 100 {
		g := Gains{}
		for range p.Select {
			a := r.Float64()
			g.Values = append(g.Values, []float64{0, a, a + r.Float64()})
		}
		budget := 0.25 + 0.75*r.Float64()
		s, err := Select(p, g, budget)
		if err != nil {
			t.Fatal(err)
		}
		sum, gain := 0.0, map[string]float64{}
		for _, l := range s.Layers {
			if !l.Fixed {
				sum += l.Cost
				gain[l.Group] = l.Gain
			}
		}
		total := 0.0
		for _, x := range gain {
			total += x
		}
		if s.Cost > budget || math.Abs(sum-s.Cost) > 1e-12 || s.CostUnits+s.Slack != s.BudgetUnits ||
			math.Abs(total-s.Gain) > 1e-9 || math.Abs(p.CostOf(s.Choice)-s.Cost) > 1e-12 || !s.Exact {
			t.Fatalf("seed %d, case %d: %+v: layers cost %g and gain %g", seed, n, s, sum, total)
		}
		price, err := p.Price(s.Choice, p.Cost)
		if err != nil || price.Units != s.CostUnits || math.Abs(price.Cost-s.Cost) > 1e-12 {
			t.Fatalf("price %+v of a choice that costs %d, %v", price, s.CostUnits, err)
		}
		plan := p.Plan(s.Choice)
		for _, l := range s.Layers {
			if plan.Layers[l.Name] != (quant.Width{Weight: l.Bits, Act: l.ActBits}) {
				t.Fatalf("%s has %v in the plan, %d in the selection", l.Name, plan.Layers[l.Name], l.Bits)
			}
		}
	}
}

func TestLinkedLayersGetOneWidth(t *testing.T) {
	p := problem(t, 4, 2)
	for _, budget := range []float64{0.5, 0.6, 0.75, 0.9, 1} {
		for seed := range uint64(5) {
			s, err := Select(p, score(t, p, Random{seed}), budget)
			if err != nil {
				t.Fatal(err)
			}
			b := map[string]int{}
			for _, l := range s.Layers {
				b[l.Name] = l.Bits
			}
			if b["layer2.0.conv1"] != b["layer2.0.downsample.0"] || b["conv1"] != 8 || b["fc"] != 8 {
				t.Errorf("budget %g, seed %d: %v", budget, seed, b)
			}
		}
	}
}

func TestBudgetsOutsideAreRefused(t *testing.T) {
	p := problem(t, 4, 2)
	g := score(t, p, Uniform{})
	for budget, wantInfeasible := range map[float64]bool{0.49: true, 1.01: false, 0: false, -1: false, math.Inf(1): false} {
		if _, err := Select(p, g, budget); err == nil || errors.Is(err, ErrInfeasible) != wantInfeasible {
			t.Errorf("budget %g: %v", budget, err)
		}
	}
	if _, err := Select(p, g, math.NaN()); err == nil {
		t.Error("budget NaN is accepted")
	}
	low, err := Select(p, g, 0.5)
	if err != nil || low.Cost != 0.5 || slices.Max(bits(low)[1:7]) != 2 {
		t.Errorf("all-low: %+v, %v", low, err)
	}
	high, err := Select(p, g, 1)
	if err != nil || high.Cost != 1 || slices.Min(bits(high)) != 4 {
		t.Errorf("all-high: %+v, %v", high, err)
	}
}

func TestGainsAreChecked(t *testing.T) {
	p := problem(t, 4, 2)
	good := score(t, p, Uniform{})
	for want, change := range map[string]func(g *Gains){
		"group layer1.0.conv2: the gain from w4a4 is NaN": func(g *Gains) { g.Values[1] = []float64{0, math.NaN()} },
		"is +Inf":         func(g *Gains) { g.Values[1] = []float64{0, math.Inf(1)} },
		"gains of 5":      func(g *Gains) { g.Values = g.Values[1:] },
		"group layer1":    func(g *Gains) { g.Values[0] = []float64{0} },
		"want each once":  func(g *Gains) { *g = Gains{Order: []int{0, 1, 1, 2, 3, 4}} },
		"order of 2":      func(g *Gains) { *g = Gains{Order: []int{0, 1}} },
		"order of 0":      func(g *Gains) { *g = Gains{} },
		"want each once ": func(g *Gains) { *g = Gains{Order: []int{0, 1, 2, 3, 4, 6}} },
	} {
		g := Gains{Values: slices.Clone(good.Values)}
		change(&g)
		if _, err := Select(p, g, 0.7); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

func TestUniformKeepsTheMostGroupsWide(t *testing.T) {
	p := problem(t, 4, 2)
	s, err := Select(p, score(t, p, Uniform{}), 0.75)
	if err != nil {
		t.Fatal(err)
	}
	capacity, wide := s.BudgetUnits, 0
	costs := []int64{}
	for _, c := range p.Costs {
		costs = append(costs, c[1]-c[0])
		capacity -= c[0]
	}
	slices.Sort(costs)
	for _, c := range costs {
		if capacity -= c; capacity >= 0 {
			wide++
		}
	}
	if s.Gain != float64(wide) {
		t.Errorf("%g groups at 4 bits, want %d", s.Gain, wide)
	}
}

func TestOrdersLowerUntilTheBudgetIsMet(t *testing.T) {
	p := problem(t, 4, 2)
	first, err := Select(p, score(t, p, FirstToLast{}), 0.8)
	if err != nil {
		t.Fatal(err)
	}
	last, err := Select(p, score(t, p, LastToFirst{}), 0.8)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(first.Choice) || !slices.IsSortedFunc(last.Choice, func(a, b int) int { return b - a }) {
		t.Errorf("first to last %v, last to first %v", first.Choice, last.Choice)
	}
	for _, s := range []*Selection{first, last} {
		// The last group that was lowered was needed.
		i := slices.Index(s.Choice, 0)
		if s == first {
			i = slices.Index(s.Choice, 1) - 1
		}
		if s.CostUnits > s.BudgetUnits || s.CostUnits+p.Costs[i][1]-p.Costs[i][0] <= s.BudgetUnits {
			t.Errorf("choice %v costs %d of %d", s.Choice, s.CostUnits, s.BudgetUnits)
		}
	}
	a, b := score(t, p, Random{1}), score(t, p, Random{2})
	if slices.Equal(a.Order, b.Order) || !slices.Equal(a.Order, score(t, p, Random{1}).Order) {
		t.Errorf("orders %v and %v", a.Order, b.Order)
	}
	if err := a.Check(p); err != nil {
		t.Error(err)
	}
}

type fixed struct{ g Gains }

func (f fixed) Score(context.Context, *Problem) (Gains, error) { return f.g, nil }

func TestInverseTurnsGainsAround(t *testing.T) {
	p := problem(t, 8, 4, 2)
	g := Gains{Values: [][]float64{{0, 1, 2}, {0, 2, 5}, {0, 0, 0}, {0, 1, 1}, {0, 3, 3}, {0, 1, 4}}}
	inv := score(t, p, Inverse{fixed{g}})
	want := [][]float64{{0, 1.5, 3}, {0, 0, 0}, {0, 2.5, 5}, {0, 4, 4}, {0, 2, 2}, {0, 0.25, 1}}
	if !reflect.DeepEqual(inv.Values, want) {
		t.Errorf("%v, want %v", inv.Values, want)
	}
	if got := score(t, p, Inverse{FirstToLast{}}).Order; !slices.Equal(got, []int{5, 4, 3, 2, 1, 0}) {
		t.Errorf("%v", got)
	}
}

func TestQuantizationErrorIsThatOfTheGrids(t *testing.T) {
	p := problem(t, 4, 2)
	for _, relative := range []bool{false, true} {
		g := score(t, p, QuantizationError{Lower: quant.Rule{Kind: quant.RuleLSQ}, Relative: relative})
		l := p.Layers[1]
		v := p.Store.Get(l.Weight).Float32s()
		var low, high, square float64
		step2 := quant.StepLSQ(v, quant.Spec{Bits: 2, Signed: true})
		for _, x := range v {
			a := float64(x) - float64(step2)*math.RoundToEven(max(-2, min(1, float64(x/step2))))
			b := float64(x) - 0.1*math.RoundToEven(max(-8, min(7, float64(x/0.1))))
			low, high, square = low+a*a, high+b*b, square+float64(x)*float64(x)
		}
		want := (low - high) / float64(len(v))
		if relative {
			want = (low - high) / square
		}
		if math.Abs(g.Values[0][1]-want) > 1e-6*math.Abs(want) || g.Values[0][0] != 0 || g.Notes != nil {
			t.Errorf("relative %t: gains %v with notes %q, want %g", relative, g.Values[0], g.Notes, want)
		}
	}
}

func TestStepsOfOtherWidths(t *testing.T) {
	p := problem(t, 4, 2)
	l := p.Layers[1]
	for _, c := range []struct {
		rule quant.RuleKind
		bits int
		want float32
	}{
		{quant.RuleLSQ, 4, 0.1}, {RuleKeepRange, 2, 0.4}, {RuleKeepRange, 8, 0.1 / 16},
		{"", 2, quant.StepMSE(p.Store.Get(l.Weight).Float32s(), quant.Spec{Bits: 2, Signed: true})},
	} {
		w, err := p.Weight(l, c.bits, quant.Rule{Kind: c.rule})
		if err != nil || math.Abs(float64(w.Step[0]/c.want-1)) > 1e-6 || w.Spec.Bits != c.bits || w.Learned != (c.bits == 4) {
			t.Errorf("%s at %d bits: %+v, %v, want %g", c.rule, c.bits, w.Step, err, c.want)
		}
	}
	float, err := Link(p.Float, Options{})
	if err != nil {
		t.Fatal(err)
	}
	q, err := NewProblem(float, p.Store, Square(2, 4), BitMACs{})
	if err != nil {
		t.Fatal(err)
	}
	if notes := q.WeightNotes(); len(notes) != 1 || !strings.Contains(notes[0], "8 layers") {
		t.Errorf("a float network says %q", notes)
	}
	p.Store.Get("layer1.0.conv1.weight_step").Float32s()[0] = 0
	if _, err := p.Weight(l, 4, quant.Rule{}); err == nil {
		t.Error("a step of 0 is accepted")
	}
	p.Store.Delete(l.Weight)
	if _, err := p.Weight(l, 4, quant.Rule{}); err == nil {
		t.Error("a missing weight is accepted")
	}
}

func TestProblemsAreRefused(t *testing.T) {
	p := problem(t, 4, 2)
	for name, widths := range map[string][]quant.Width{
		"one": Square(4), "falling": {{Weight: 4, Act: 4}, {Weight: 2, Act: 2}}, "crossed": {{Weight: 2, Act: 8}, {Weight: 4, Act: 4}},
		"twice": Square(4, 4), "float": Square(0, 4), "nine": Square(4, 9),
	} {
		if _, err := NewProblem(p.Network, p.Store, widths, BitMACs{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	pin := map[string]quant.Width{}
	for _, l := range p.Layers {
		pin[l.Name] = quant.Width{Weight: 8, Act: 8}
	}
	n, err := Link(p.Graph, Options{Pin: pin})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewProblem(n, p.Store, Square(2, 4), BitMACs{}); err == nil || !strings.Contains(err.Error(), "nothing to select") {
		t.Errorf("%v", err)
	}
}

func TestBitsFile(t *testing.T) {
	p := problem(t, 4, 2)
	s, err := Select(p, score(t, p, LastToFirst{}), 0.7)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bits.json")
	plan := p.Plan(s.Choice)
	if err := WriteBits(path, p.Network, plan, s); err != nil {
		t.Fatal(err)
	}
	// The plan reads for the network at any widths, and without looking at it.
	got, sel, err := ReadBits(path, residualNet(t, 7))
	if err != nil || !reflect.DeepEqual(got, plan) || sel == nil || sel.Budget != 0.7 || len(sel.Layers) != len(p.Layers) {
		t.Errorf("%+v, %+v, %v", got, sel, err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if bare, err := quant.ReadBitPlan(f); err != nil || !reflect.DeepEqual(bare, plan) {
		t.Errorf("as a bit plan: %+v, %v", bare, err)
	}
	if _, _, err := ReadBits(path, attention(t, false)); !errors.Is(err, ErrNetwork) {
		t.Errorf("for another network: %v", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string][2]string{
		`no layer "layer7.0.conv2"`: {`"layer1.0.conv2": {`, `"layer7.0.conv2": {`},
		"fingerprint":               {`"network": "` + p.Fingerprint[:6], `"network": "000000`},
		"version":                   {`"version": 1`, `"version": 2`},
		"weight bits":               {`"w": 2`, `"w": 11`},
		"invalid character":         {"{", "<"},
	} {
		bad := strings.Replace(string(text), change[0], change[1], 1)
		if bad == string(text) {
			t.Fatalf("%s: nothing replaced", want)
		}
		if err := os.WriteFile(path, []byte(bad), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ReadBits(path, p.Graph); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	if _, _, err := ReadBits(filepath.Join(t.TempDir(), "none"), p.Graph); err == nil {
		t.Error("a missing file is read")
	}
}
