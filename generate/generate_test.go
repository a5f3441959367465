package generate_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"lowbit/engine"
	"lowbit/generate"
	"lowbit/internal/testenv"
	"lowbit/load"
	"lowbit/model"
	"lowbit/nn"
)

func stories(t testing.TB, threads, capacity int) (*generate.Generator, *load.Language) {
	t.Helper()
	l, err := load.OpenLanguage(testenv.Shared(t, "models", "llm", "stories260K", "stories260K.bin"))
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(threads)
	t.Cleanup(e.Close)
	g, err := generate.New(e, generate.Model{Build: l.Graph, Store: l.Store, Tokenizer: l.Tokenizer, Context: l.Config.Context}, capacity)
	if err != nil {
		t.Fatal(err)
	}
	return g, l
}

func answer(t testing.TB, s *generate.Session, r generate.Request) generate.Answer {
	t.Helper()
	a, err := s.Generate(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// What a session reads in parts of any size has the logits of the whole
// sequence: within 1e-4, with the same largest one.
func TestReadingInPartsEqualsTheWholeSequence(t *testing.T) {
	g, l := stories(t, 2, 400)
	ids := l.Tokenizer.Encode(strings.Repeat("Once upon a time there was a little girl named Lily. ", 20))[:300]
	code, err := l.Graph(model.LlamaRun{Batch: 1, Seq: len(ids)})
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(2)
	defer e.Close()
	p, err := e.Compile(code, l.Store)
	if err != nil {
		t.Fatal(err)
	}
	copy(p.Input(nn.InputName).Int32s(), ids)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	want := p.Output(nn.LogitsName).Float32s()
	for _, parts := range [][]int{{300}, {1, 1, 1, 297}, {17, 256, 27}, {130, 100, 1, 1, 68}} {
		s, at := g.NewSession(), 0
		for _, n := range parts {
			got, err := s.Read(ids[at:][:n])
			if err != nil {
				t.Fatal(err)
			}
			at += n
			row := want[(at-1)*l.Config.Vocab:][:l.Config.Vocab]
			for i, v := range got {
				if math.Abs(float64(v-row[i])) > 1e-4 {
					t.Fatalf("parts %v, token %d: logit %d is %g, %g in the whole sequence", parts, at, i, v, row[i])
				}
			}
			if slices.Index(got, slices.Max(got)) != slices.Index(row, slices.Max(row)) {
				t.Errorf("parts %v, token %d: another token is likeliest", parts, at)
			}
		}
	}
}

func TestAnswersDependOnTheSeedAlone(t *testing.T) {
	request := func(l *load.Language, seed uint64) generate.Request {
		return generate.Request{Prompt: l.Tokenizer.Encode("Once upon a time"), Tokens: 40,
			Sampling: generate.Sampling{Temperature: 0.8, TopK: 40, TopP: 0.95, Seed: seed}}
	}
	one, l := stories(t, 1, 0)
	three, _ := stories(t, 3, 0)
	a := answer(t, one.NewSession(), request(l, 7))
	if b := answer(t, three.NewSession(), request(l, 7)); a.Text != b.Text {
		t.Errorf("%q on one thread, %q on three", a.Text, b.Text)
	}
	if c := answer(t, one.NewSession(), request(l, 8)); a.Text == c.Text {
		t.Errorf("seeds 7 and 8 both give %q", a.Text)
	}
	if a.Tokens != 40 || a.Finish != generate.FinishLength {
		t.Errorf("%+v", a)
	}
}

// Sessions that run at once write what each writes alone.
func TestSessionsRunAtOnce(t *testing.T) {
	g, l := stories(t, 2, 0)
	prompts := []string{"Once upon a time", "Tom had a red ball.", "The cat was", "Lily and Ben"}
	want := make([]string, len(prompts))
	for i, p := range prompts {
		want[i] = answer(t, g.NewSession(), generate.Request{Prompt: l.Tokenizer.Encode(p), Tokens: 30}).Text
	}
	var all sync.WaitGroup
	for i, p := range prompts {
		all.Go(func() {
			a, err := g.NewSession().Generate(context.Background(), generate.Request{Prompt: l.Tokenizer.Encode(p), Tokens: 30})
			if err != nil || a.Text != want[i] {
				t.Errorf("%q, then %q, %v", want[i], a.Text, err)
			}
		})
	}
	all.Wait()
}

// A longer prompt reads only what is new, and writes the same.
func TestConversationsGoOn(t *testing.T) {
	g, l := stories(t, 2, 0)
	first := l.Tokenizer.Encode("Once upon a time there was a dog.")
	longer := l.Tokenizer.Append(slices.Clone(first), " The dog was very big and")
	s := g.NewSession()
	answer(t, s, generate.Request{Prompt: first, Tokens: 20})
	a := answer(t, s, generate.Request{Prompt: longer, Tokens: 20})
	b := answer(t, g.NewSession(), generate.Request{Prompt: longer, Tokens: 20})
	if a.NewTokens >= len(longer) || b.NewTokens != len(longer) || a.Text != b.Text {
		t.Errorf("%+v, afresh %+v", a, b)
	}
}

func TestStopTextsEndTheAnswer(t *testing.T) {
	g, l := stories(t, 2, 0)
	r := generate.Request{Prompt: l.Tokenizer.Encode("Once upon a time"), Tokens: 60}
	whole := answer(t, g.NewSession(), r).Text
	stop := whole[20:26]
	r.Stop = []string{"never written", stop}
	var pieces strings.Builder
	r.OnText = func(p string) error { pieces.WriteString(p); return nil }
	a := answer(t, g.NewSession(), r)
	if want := whole[:strings.Index(whole, stop)]; a.Text != want || pieces.String() != want || a.Finish != generate.FinishStop {
		t.Errorf("%q in pieces %q, finish %s, want %q", a.Text, pieces.String(), a.Finish, want)
	}
}

func TestWhatDoesNotFitIsAnError(t *testing.T) {
	g, l := stories(t, 1, 32)
	ids := l.Tokenizer.Encode(strings.Repeat("Once upon a time ", 20))
	_, err := g.NewSession().Generate(context.Background(), generate.Request{Prompt: ids})
	if !errors.Is(err, generate.ErrContext) || !strings.Contains(err.Error(), "room for 32") {
		t.Errorf("error %v, want ErrContext", err)
	}
	a := answer(t, g.NewSession(), generate.Request{Prompt: ids[:20]})
	if a.Finish != generate.FinishContext || a.Tokens != 12 {
		t.Errorf("%+v, want 12 tokens up to the end of the context", a)
	}
	for _, r := range []generate.Request{{}, {Prompt: ids[:3], Tokens: -1}, {Prompt: ids[:3], Sampling: generate.Sampling{Temperature: math.NaN()}},
		{Prompt: ids[:3], Sampling: generate.Sampling{TopP: 1.5}}, {Prompt: ids[:3], Sampling: generate.Sampling{TopK: -1}}, {Prompt: []int32{1 << 20}}} {
		if _, err := g.NewSession().Generate(context.Background(), r); err == nil {
			t.Errorf("%+v: no error", r)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := generate.Request{Prompt: ids[:3], OnText: func(string) error { cancel(); return nil }}
	if a, err := g.NewSession().Generate(ctx, r); !errors.Is(err, context.Canceled) || a.Text == "" {
		t.Errorf("%+v, %v: want what was written, and the context's error", a, err)
	}
}

func BenchmarkDecode(b *testing.B) {
	g, l := stories(b, 0, 0)
	s := g.NewSession()
	ids := l.Tokenizer.Encode("Once upon a time")
	for b.Loop() {
		if len(s.Tokens()) == g.Capacity() {
			s.Truncate(0)
		}
		if _, err := s.Read(ids[:1]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tok/s")
}
