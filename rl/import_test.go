package rl

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
)

// TestStableBaselinesPoliciesEqualTheirOwnOutputs: DQN outputs are Q-values;
// those of PPO log-probabilities, so a constant apart.
func TestStableBaselinesPoliciesEqualTheirOwnOutputs(t *testing.T) {
	data, err := os.ReadFile("testdata/sb3.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Observations [][]byte32
		Cases        []struct {
			File    string
			Outputs [][]float64
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	env, err := New("minatar/breakout", Options{Envs: 2})
	if err != nil {
		t.Fatal(err)
	}
	spec := env.Spec()
	e := newEngine(t, 1)
	for _, c := range golden.Cases {
		a, err := OpenAgent("testdata/"+c.File, &spec)
		if err != nil {
			t.Fatal(err)
		}
		actor, err := NewActor(e, a, spec, 1)
		if err != nil {
			t.Fatal(err)
		}
		var obs []byte
		for _, row := range golden.Observations {
			for _, v := range row {
				obs = append(obs, byte(v))
			}
		}
		got, err := actor.Logits(obs, []bool{true, true})
		if err != nil {
			t.Fatal(err)
		}
		compareOutputs(t, c.File, c.Outputs, got, a.Outputs())
		if _, err := OpenAgent("testdata/"+c.File, nil); err == nil {
			t.Errorf("%s: opened without an environment", c.File)
		}
		freeway, err := New("minatar/freeway", Options{})
		if err != nil {
			t.Fatal(err)
		}
		other := freeway.Spec()
		if _, err := OpenAgent("testdata/"+c.File, &other); err == nil {
			t.Errorf("%s: opened for a game of another shape", c.File)
		}
	}
}

// compareOutputs compares rows of outputs; those of PPO up to a constant a row.
func compareOutputs(t *testing.T, file string, want [][]float64, got []float32, n int) {
	t.Helper()
	for i, row := range want {
		shift := 0.0
		if strings.Contains(file, "ppo") {
			shift = row[0] - float64(got[i*n])
		}
		for k, w := range row {
			if d := float64(got[i*n+k]) + shift - w; math.Abs(d) > 1e-5 {
				t.Errorf("%s: observation %d, output %d: off by %g", file, i, k, d)
			}
		}
	}
}

// byte32 decodes a JSON number: a slice of bytes would be base64.
type byte32 int32
