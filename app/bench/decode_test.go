package bench

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/generate"
	"lowbit/internal/testenv"
	"lowbit/load"
)

func stories(t *testing.T) generate.Model {
	t.Helper()
	l, err := load.OpenLanguage(testenv.Shared(t, "models", "llm", "stories260K", "stories260K.bin"))
	if err != nil {
		t.Fatal(err)
	}
	return generate.Model{Build: l.Graph, Store: l.Store, Tokenizer: l.Tokenizer, Context: l.Config.Context}
}

func TestDecodeMeasuresTokens(t *testing.T) {
	e := engine.New(2)
	defer e.Close()
	c := DecodeConfig{Prompt: 40, Tokens: 9, Warmup: 1, Seed: 1}
	r, err := Decode(context.Background(), e, stories(t), c)
	if err != nil {
		t.Fatal(err)
	}
	// 5 blocks of width 64, 8 heads on 4, 172 between, and the head of 512 tokens.
	if want := int64(4 * (5*(64*64*2+64*32*2+3*64*172) + 64*512)); r.WeightBytes != want {
		t.Errorf("weights of %d bytes, want %d", r.WeightBytes, want)
	}
	if want := int64(4 * 5 * 2 * 50 * 32); r.PlanBytes != want {
		t.Errorf("a cache of %d bytes, want %d", r.PlanBytes, want)
	}
	if !(r.MinMS > 0 && r.MinMS <= r.MedianMS && r.MedianMS <= r.MaxMS) || r.Steps != 9 || r.PromptMS <= 0 {
		t.Errorf("%+v", r)
	}
	if got := r.ReadGBs * r.MedianMS * 1e6; math.Abs(got-float64(r.WeightBytes)) > 1 || math.Abs(r.ItemsPerS*r.MedianMS-1000) > 1e-6 {
		t.Errorf("%g GB/s, %g tokens/s at %g ms", r.ReadGBs, r.ItemsPerS, r.MedianMS)
	}
}

func TestDecodeStopsAndRefuses(t *testing.T) {
	e := engine.New(1)
	defer e.Close()
	m := stories(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Decode(ctx, e, m, DecodeConfig{Prompt: 8, Tokens: 4}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for want, c := range map[string]DecodeConfig{
		"prompt of 0":   {Tokens: 4},
		"0 tokens":      {Prompt: 4},
		"-1":            {Prompt: 4, Tokens: 4, Warmup: -1},
		"NaN seconds":   {Prompt: 4, Tokens: 4, PeakSeconds: math.NaN()},
		"reads 512":     {Prompt: 510, Tokens: 4},
		"514 tokens of": {Prompt: 510, Tokens: 4},
	} {
		if _, err := Decode(context.Background(), e, m, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", c, err, want)
		}
	}
}
