package infer

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"lowbit/mixed"
	"lowbit/model"
	"lowbit/quant"
	"lowbit/tensor"
)

func TestLatencyPricesLayersForASelection(t *testing.T) {
	g, err := model.Build("resnet20", model.Config{Width: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	widths := mixed.Square(2, 4, 8)
	steps := 0
	l, err := MeasureLatency(context.Background(), g, widths, LatencyOptions{Threads: 1, Runs: 2, Progress: func(done, total int) {
		if done != steps || total != 3*20 {
			t.Errorf("step %d: %d of %d", steps, done, total)
		}
		steps++
	}})
	if err != nil {
		t.Fatal(err)
	}
	n, err := mixed.Link(g, mixed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := mixed.NewProblem(n, tensor.NewStore(), widths, l)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range p.Costs {
		if c[0] <= 0 || c[0] > c[1] || c[1] > c[2] {
			t.Errorf("group %d costs %v at 2, 4 and 8 bits", i, c)
		}
	}
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var again Latency
	if err := json.Unmarshal(text, &again); err != nil || len(again.Layers) != 60 || again.Layers[7] != l.Layers[7] {
		t.Errorf("%v, %d layers read back", err, len(again.Layers))
	}
	if _, err := l.Cost(n.Layers[0], quant.Width{Weight: 3, Act: 3}); err == nil {
		t.Error("a width that was not measured has a cost")
	}
}

func TestLatencyStops(t *testing.T) {
	g, err := model.Build("resnet20", model.Config{Width: 0.25})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := MeasureLatency(ctx, g, mixed.Square(4), LatencyOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, w := range [][]quant.Width{nil, {{}}, {{Weight: 9, Act: 8}}} {
		if _, err := MeasureLatency(context.Background(), g, w, LatencyOptions{Runs: 1}); err == nil {
			t.Errorf("widths %v were measured", w)
		}
	}
}
