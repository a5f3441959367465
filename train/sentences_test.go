package train

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/internal/rng"
	"lowbit/model"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/text"
)

// moods makes n texts of 3 to 20 tokens: the class is whether token 5 or token 6
// is among them.
func moods(n int, seed uint64) *Sentences {
	s := &Sentences{Name: "moods", Classes: 2, Longest: 24, Batch: 8}
	r := rng.New(seed)
	for range n {
		ids := make([]int32, 3+r.Intn(18))
		for i := range ids {
			ids[i] = int32(7 + r.Intn(20))
		}
		y := r.Intn(2)
		ids[0], ids[1+r.Intn(len(ids)-1)] = 2, int32(5+y)
		s.Texts = append(s.Texts, text.Encoding{IDs: ids, Types: make([]int32, len(ids))})
		s.Labels = append(s.Labels, int32(y))
	}
	return s
}

func moodsJob(t testing.TB, threads int, s *Sentences, out string) (Config, Job) {
	t.Helper()
	e := engine.New(threads)
	t.Cleanup(func() { e.Close() })
	g, err := model.Bert{
		Vocab: 30, Dim: 16, Layers: 1, Heads: 2, Hidden: 32, Positions: 24, Types: 2, NormEps: 1e-12, Dropout: 0.1, Head: model.BertClassify, Classes: 2,
	}.Graph(1, 24)
	if err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	c.Epochs, c.Batch = 4, 8
	c.Optim = optim.DefaultConfig(optim.AdamW, 0.01)
	c.Optim.ClipNorm = 1
	c.Schedule = optim.Schedule{Kind: optim.Linear, LR: 5e-3, Warmup: 0.4}
	return c, Job{Engine: e, Graph: g, Store: tensor.NewStore(), Source: s, Out: out}
}

func TestSentencesOfLikeLengthsShareABatch(t *testing.T) {
	s := moods(1003, 1)
	order := s.Order(3, 0)
	if !slices.Equal(order, s.Order(3, 0)) || slices.Equal(order, s.Order(3, 1)) || slices.Equal(order, s.Order(4, 0)) {
		t.Error("the order is no function of seed and epoch")
	}
	sorted := slices.Clone(order)
	slices.Sort(sorted)
	for i, k := range sorted {
		if int(k) != i {
			t.Fatalf("%d stands at %d of the sorted order", k, i)
		}
	}
	tokens, padded, rising := 0, 0, 0
	last := 0
	for from := 0; from+8 <= 1003; from += 8 {
		n := s.Length(order[from : from+8])
		if n%8 != 0 || n > 24 {
			t.Fatalf("a batch of length %d", n)
		}
		for _, k := range order[from : from+8] {
			tokens += len(s.Texts[k].IDs)
		}
		padded += 8 * n
		if n >= last {
			rising++
		}
		last = n
	}
	// Lengths of 3 to 20 padded to 8, 16 or 24 each by itself: 11.5 of 16 tokens.
	if share := float64(tokens) / float64(padded); share < 0.68 {
		t.Errorf("%.2f of the places hold tokens", share)
	}
	if rising > 110 {
		t.Errorf("%d of 125 batches are as long as the one before: not mixed", rising)
	}
}

func TestSentencesAreLearned(t *testing.T) {
	s := moods(400, 1)
	s.Test = moods(100, 2)
	c, job := moodsJob(t, 1, s, "")
	r, err := Run(context.Background(), c, job)
	if err != nil {
		t.Fatal(err)
	}
	if r.Accuracy < 0.9 || r.Examples != 100 {
		t.Errorf("%+v", r)
	}
	// The evaluator counts as a plain pass over single texts does.
	right := 0
	for i, x := range s.Test.Texts {
		one := &Sentences{Name: "one", Classes: 2, Longest: 24, Batch: 1, Texts: []text.Encoding{x}, Labels: s.Test.Labels[i : i+1]}
		one.Test = one
		f, err := one.Evaluator(job.Engine, job.Graph, job.Store)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f()
		if err != nil {
			t.Fatal(err)
		}
		right += int(got.Accuracy)
	}
	if float64(right)/100 != r.Accuracy {
		t.Errorf("%d of 100 are right one by one, %g together", right, r.Accuracy)
	}
}

// The same bytes for any number of threads, and for a run that was stopped and
// went on.
func TestARunOnSentencesResumes(t *testing.T) {
	var want []byte
	for k, threads := range []int{1, 3} {
		s := moods(100, 1) // the last batch of an epoch has 2 texts
		s.Test = moods(20, 2)
		dir := filepath.Join(t.TempDir(), "run")
		c, job := moodsJob(t, threads, s, dir)
		c.HoldOut, c.Epochs = 10, 2
		ctx, cancel := context.WithCancel(context.Background())
		if k == 1 {
			steps := 0
			job.Hooks.AfterStep = func(StepInfo) error {
				if steps++; steps == 7 {
					cancel()
				}
				return nil
			}
			if _, err := Run(ctx, c, job); !errors.Is(err, ErrInterrupted) {
				t.Fatalf("interrupted: %v", err)
			}
			c, job = moodsJob(t, threads, s, dir)
			c.HoldOut, c.Epochs = 10, 2
			job.Resume = true
		}
		r, err := Run(context.Background(), c, job)
		cancel()
		if err != nil || r.Examples != 20 || r.HeldOut == 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		got, err := os.ReadFile(filepath.Join(dir, lastName))
		if err != nil {
			t.Fatal(err)
		}
		if k == 0 {
			want = got
		} else if !slices.Equal(got, want) {
			t.Error("the weights differ")
		}
	}
}

func TestHoldingOutSentences(t *testing.T) {
	s := moods(50, 1)
	s.Test = moods(5, 2)
	_, job := moodsJob(t, 1, s, "")
	part, err := job.HoldOut(20, 7, 10)
	if err != nil || part.Examples() != 10 {
		t.Fatalf("%d examples, %v", part.Examples(), err)
	}
	again, _ := job.HoldOut(20, 7, 10)
	other, _ := job.HoldOut(20, 8, 10)
	if a, _ := part.DataID(); a == "" {
		t.Error("no name")
	} else if b, _ := again.DataID(); a != b {
		t.Errorf("%s and %s", a, b)
	} else if b, _ := other.DataID(); a == b {
		t.Error("another draw has the same name")
	}
	f, err := part.Evaluator(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := initStore(part); err != nil {
		t.Fatal(err)
	}
	if r, err := f(); err != nil || r.Examples != 20 {
		t.Errorf("measured on %d, %v", r.Examples, err)
	}
	kept, held, err := s.HoldOut(20, 7)
	if err != nil || kept.Len() != 30 || held.Len() != 20 {
		t.Fatalf("%d and %d, %v", kept.Len(), held.Len(), err)
	}
	for _, n := range []int{-1, 50} {
		if _, _, err := s.HoldOut(n, 1); err == nil {
			t.Errorf("%d of 50 are held out", n)
		}
	}
	if _, err := (Job{Source: &Windows{Name: "numbers", Sets: []*data.Packed{numbers(t, 100)}}}).HoldOut(1, 1, 0); err == nil {
		t.Error("windows are held out")
	}
}

func initStore(j Job) error {
	c := DefaultConfig()
	c.Epochs = 0
	_, err := Run(context.Background(), c, j)
	return err
}

func TestSentencesThatDoNotFitAreRefused(t *testing.T) {
	for want, change := range map[string]func(s *Sentences){
		"label 2 of text 3":      func(s *Sentences) { s.Labels[2] = 2 },
		"text 1 has 0 tokens":    func(s *Sentences) { s.Texts[0] = text.Encoding{} },
		"want 1 to 10":           func(s *Sentences) { s.Longest = 10 },
		"with 9 labels":          func(s *Sentences) { s.Labels = s.Labels[:9] },
		"batches of 0":           func(s *Sentences) { s.Batch = 0 },
		"moods: label 7 of text": func(s *Sentences) { s.Test = moods(3, 1); s.Test.Labels[1] = 7 },
	} {
		s := moods(10, 1)
		change(s)
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	s := moods(10, 1)
	in := map[string]*tensor.Tensor{"input": tensor.New(tensor.I32, 1, 2), "types": tensor.New(tensor.I32, 1, 2), "lengths": tensor.New(tensor.I32, 1)}
	if err := s.Fill([]int32{0}, func(n string) *tensor.Tensor { return in[n] }); err == nil || !strings.Contains(err.Error(), "in a batch of length 2") {
		t.Errorf("a batch that is too short: %v", err)
	}
	if err := s.Fill([]int32{0}, func(n string) *tensor.Tensor { return nil }); err == nil {
		t.Error("a graph without inputs is filled")
	}
	// An encoder of fewer classes.
	s.Test = moods(2, 2)
	s.Classes = 3
	_, job := moodsJob(t, 1, s, "")
	if _, err := s.Evaluator(job.Engine, job.Graph, job.Store); err == nil || !strings.Contains(err.Error(), "3 classes") {
		t.Errorf("%v", err)
	}
}
