package bench

import (
	"context"
	"strings"
	"testing"

	"lowbit/engine"
)

func TestEnvCountsDecisions(t *testing.T) {
	r, err := Env(t.Context(), EnvConfig{Env: "minatar/freeway", Envs: 8, Seconds: 0.02, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if r.Decisions == 0 || r.Decisions%(64*8) != 0 || !(r.MeanPerS > 0) || !(r.DecisionsPerS > 0) || !strings.HasPrefix(r.Version, "minatar/freeway") {
		t.Errorf("%+v", r)
	}
	for _, c := range []EnvConfig{{Env: "minatar/chess", Envs: 1, Seconds: 1}, {Env: "minatar/freeway", Seconds: 1}, {Env: "minatar/freeway", Envs: 1}} {
		if _, err := Env(t.Context(), c); err == nil {
			t.Errorf("%+v is no error", c)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Env(ctx, EnvConfig{Env: "minatar/freeway", Envs: 1, Seconds: 1e6}); err == nil {
		t.Error("goes on when it was cancelled")
	}
}

func TestCoresAreComparedAndTimed(t *testing.T) {
	e := engine.New(1)
	defer e.Close()
	c := CoresConfig{Ticks: 12, States: 4, Hz: 60, Seed: 1}
	r, err := Cores(t.Context(), e, c)
	if err != nil {
		t.Fatal(err)
	}
	if r.Mismatches != 0 || r.Outputs != 4*32000 || r.CoreOutputs <= r.Outputs || r.Decisions != 4 || r.Resources.Cores < 400 || r.Realtime != nil {
		t.Errorf("%+v", r)
	}
	if !(r.USPerCoreTick > 0) || !(r.MSPerTick > 0) {
		t.Errorf("%+v", r)
	}
	c.Seconds, c.Hz = 0.1, 200
	if r, err = Cores(t.Context(), e, c); err != nil || r.Realtime == nil || r.Realtime.Frames != 20 {
		t.Errorf("%+v, error %v", r.Realtime, err)
	}
	c.Ticks = 0
	if _, err := Cores(t.Context(), e, c); err == nil {
		t.Error("no ticks are no error")
	}
}
