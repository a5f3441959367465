package export

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/method/distill"
	"lowbit/neuro"
	"lowbit/rl"
)

// corenet is an untrained student.
func corenet(t *testing.T, e *engine.Engine, bits string) *rl.Agent {
	t.Helper()
	c := distill.DefaultConfig("minatar/breakout", distill.DefaultStudent(distill.CoreNet, bits))
	c.Envs, c.Batch, c.Ring, c.Start = 8, 16, 256, 64
	c.Updates, c.Segment, c.EvalEpisodes, c.EvalSteps, c.TestEpisodes = 4, 2, 2, 20, 2
	r, err := distill.Run(t.Context(), c, distill.Job{Job: rl.Job{Engine: e}, Teacher: distill.Planner()})
	if err != nil {
		t.Fatal(err)
	}
	return r.Agent
}

func TestNIRHoldsTheFoldedNet(t *testing.T) {
	e := engine.New(1)
	defer e.Close()
	a := corenet(t, e, distill.Ternary)
	path := filepath.Join(t.TempDir(), "core.nir")
	r, err := NIR(path, e, a)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Verified || r.States != 256 || r.Outputs < 1_000_000 || r.Layers != 5 || r.Actions != 3 {
		t.Errorf("%+v", r)
	}
	net, err := distill.Fold(e, a)
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := neuro.EncodeNIR(&want, net); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want.Bytes()) || int64(len(got)) != r.SizeBytes {
		t.Errorf("%d bytes, error %v, want the net's %d", len(got), err, want.Len())
	}
}

func TestNIRRefusals(t *testing.T) {
	e := engine.New(1)
	defer e.Close()
	path := filepath.Join(t.TempDir(), "core.nir")
	if _, err := NIR(path, e, corenet(t, e, "w2a2")); err == nil || !strings.Contains(err.Error(), "want a spike") {
		t.Errorf("error %v, want one that names what does not fold", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a refused network left a file")
	}
	if _, err := NIR(filepath.Join(path, "x", "core.nir"), e, corenet(t, e, distill.Ternary)); err == nil {
		t.Error("a missing folder is no error")
	}
}
