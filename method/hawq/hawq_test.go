package hawq

import (
	"context"
	"math"
	"reflect"
	"strings"
	"testing"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/mixed"
	"lowbit/nn"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

const classes = 3

// pictures are n images of 4 x 4 noise with labels drawn at random.
func pictures(t testing.TB, n int) *data.Dataset {
	t.Helper()
	s := rng.New(5)
	pixels, labels := make([]uint8, n*3*16), make([]int32, n)
	for i := range pixels {
		pixels[i] = uint8(s.Intn(256))
	}
	for i := range labels {
		labels[i] = int32(s.Intn(classes))
	}
	d, err := data.New("noise", "train", []string{"a", "b", "c"}, 3, 4, 4, pixels, labels)
	if err != nil {
		t.Fatal(err)
	}
	d.Normalize = data.Normalization{Mean: []float32{.5, .5, .5}, Std: []float32{.1, .1, .1}}
	return d
}

// net has layers a, b1, b2, c with nothing curved but the loss between b1 and
// the logits, so that the Hessians of b1 and b2 are known.
func net(t testing.TB) *mixed.Problem {
	t.Helper()
	g := graph.New()
	x := g.Relu(nn.Conv2d(g, "a", nn.Input(g, 1, 3, 4, 4), nn.Conv{Out: 6, Kernel: 3}))
	x = nn.Linear(g, "b1", g.GlobalAvgPool(x), nn.Dense{Out: 5, Init: nn.Normal(1)})
	x = nn.Linear(g, "b2", x, nn.Dense{Out: 4, Init: nn.Normal(1)})
	nn.Logits(g, nn.Linear(g, "c", x, nn.Dense{Out: classes, Init: nn.Normal(1)}))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, 1); err != nil {
		t.Fatal(err)
	}
	n, err := mixed.Link(g, mixed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := mixed.NewProblem(n, store, mixed.Square(2, 4), mixed.BitMACs{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// exact is the trace of b2's Hessian: with z = C*B*h + ... the loss is curved in
// z alone, by S = diag(q) - qq', so the trace is the mean of |h|^2 * tr(C'SC).
func exact(t *testing.T, p *mixed.Problem, e *engine.Engine, ds *data.Dataset) float64 {
	t.Helper()
	g, err := graph.WithBatch(p.Graph, ds.Len())
	if err != nil {
		t.Fatal(err)
	}
	g.Output("h", g.Find("b2").In()[0])
	plan, err := e.Compile(g, p.Store)
	if err != nil {
		t.Fatal(err)
	}
	loader, err := data.NewLoader(ds, data.LoaderConfig{Batch: ds.Len(), Epochs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer loader.Close()
	b, err := loader.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.SetInput("input", b.Images); err != nil {
		t.Fatal(err)
	}
	if err := plan.Run(); err != nil {
		t.Fatal(err)
	}
	h, z, c := plan.Output("h").Float32s(), plan.Output("logits").Float32s(), p.Store.Get("c.weight")
	inner := c.Shape()[1] // c is [classes, 4]
	sum := 0.0
	for n := range ds.Len() {
		var q [classes]float64
		total, norm := 0.0, 0.0
		for i := range q {
			q[i] = math.Exp(float64(z[n*classes+i]))
			total += q[i]
		}
		for _, x := range h[n*5 : n*5+5] {
			norm += float64(x) * float64(x)
		}
		for k := range inner {
			mean, square := 0.0, 0.0
			for i := range q {
				w := float64(c.Float32s()[i*inner+k])
				mean += q[i] / total * w
				square += q[i] / total * w * w
			}
			sum += norm * (square - mean*mean)
		}
	}
	return sum / float64(ds.Len())
}

func TestTraceIsTheHessians(t *testing.T) {
	p, ds := net(t), pictures(t, 64)
	e := engine.New(1)
	defer e.Close()
	want := exact(t, p, e, ds)
	for _, separate := range []bool{true, false} {
		s := Scorer{Config: DefaultConfig(), Job: train.Job{Engine: e, Train: ds}}
		s.Probes, s.Examples, s.Batch, s.Separate = 400, 64, 32, separate
		traces, err := s.Traces(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		if len(traces) != 2 || traces[1].Layer != "b2" || traces[1].Params != 20 {
			t.Fatalf("%+v", traces)
		}
		got := traces[1]
		t.Logf("separate %t: %+v, exact %g", separate, got, want)
		// 4 standard errors, which are to be small, and the differences' own.
		if math.Abs(got.Trace-want) > 4*got.Error+0.01*want || got.Error > 0.15*want {
			t.Errorf("separate %t: trace %g +- %g, want %g", separate, got.Trace, got.Error, want)
		}
	}
}

func TestGainsAreTraceTimesDistance(t *testing.T) {
	p, ds := net(t), pictures(t, 64)
	var first mixed.Gains
	for threads := 1; threads <= 2; threads++ {
		e := engine.New(threads)
		s := Scorer{Config: DefaultConfig(), Job: train.Job{Engine: e, Train: ds}}
		s.Probes = 4
		before := mixed.Checksum(p.Store)
		g, err := s.Score(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		traces, err := s.Traces(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		if mixed.Checksum(p.Store) != before {
			t.Error("the weights changed")
		}
		for i, tr := range traces {
			w := p.Store.Get(tr.Layer + ".weight")
			var q [2][]float32
			for j, bits := range []int{2, 4} {
				spec := quant.Spec{Bits: bits, Signed: true}
				q[j] = make([]float32, w.Len())
				if err := quant.FakeQuant(q[j], w.Float32s(), []float32{quant.StepMSE(w.Float32s(), spec)}, w.Shape(), spec); err != nil {
					t.Fatal(err)
				}
			}
			d := 0.0
			for k := range q[0] {
				d += math.Pow(float64(q[0][k])-float64(q[1][k]), 2)
			}
			if want := max(0, tr.Trace) / float64(tr.Params) * d; math.Abs(g.Values[i][1]-want) > 1e-9*want || g.Values[i][0] != 0 {
				t.Errorf("%s: %v, want %g", tr.Layer, g.Values[i], want)
			}
		}
		if len(g.Notes) == 0 || !strings.Contains(g.Notes[0], "no learned 4-bit step") {
			t.Errorf("notes %q", g.Notes)
		}
		if threads == 1 {
			first = g
		} else if !reflect.DeepEqual(g, first) {
			t.Errorf("%v with 2 threads, %v with 1", g, first)
		}
		e.Close()
	}
}

func TestScorerRefuses(t *testing.T) {
	p, ds := net(t), pictures(t, 8)
	e := engine.New(1)
	defer e.Close()
	good := Scorer{Config: DefaultConfig(), Job: train.Job{Engine: e, Train: ds}}
	good.Probes = 1
	if _, err := good.Score(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := good.Score(ctx, p); err == nil {
		t.Error("it scores after the end of the context")
	}
	for name, change := range map[string]func(*Scorer){
		"probes": func(s *Scorer) { s.Probes = 0 }, "epsilon": func(s *Scorer) { s.Epsilon = math.NaN() },
		"engine": func(s *Scorer) { s.Job.Engine = nil }, "data": func(s *Scorer) { s.Job.Train = nil },
	} {
		s := good
		change(&s)
		if _, err := s.Score(context.Background(), p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	p.Store.Get("b1.weight").Float32s()[0] = float32(math.NaN())
	if _, err := good.Score(context.Background(), p); err == nil {
		t.Error("a weight that is NaN scores")
	}
}
