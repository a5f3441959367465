package export

import (
	"bytes"
	"fmt"
	"os"

	"lowbit/engine"
	"lowbit/internal/rng"
	"lowbit/method/distill"
	"lowbit/neuro"
	"lowbit/rl"
)

// NIRResult is what was written.
type NIRResult struct {
	Path      string `json:"path"`
	SizeBytes int64  `json:"size_bytes"`
	// Verified: on States random inputs the net that was written gave every spike
	// (Outputs of them) and every action of the trained network, and the file
	// holds that net's bytes.
	Verified bool  `json:"verified"`
	States   int   `json:"states"`
	Outputs  int64 `json:"outputs"`
	Layers   int   `json:"layers"`
	Actions  int   `json:"actions"`
}

// nirStates are the inputs on which a net is compared before it is written.
const nirStates = 256

// NIR writes a ternary corenet, folded into integers, in the neuromorphic
// intermediate representation. An error names what of the agent does not fold,
// or the first spike that differs.
func NIR(path string, e *engine.Engine, a *rl.Agent) (NIRResult, error) {
	r := NIRResult{Path: path, States: nirStates}
	net, err := distill.Fold(e, a)
	if err != nil {
		return r, fmt.Errorf("export: %w", err)
	}
	states := make([]byte, nirStates*a.Info.View.Bytes())
	s := rng.New(1, 'n')
	for i := range states {
		states[i] = byte(s.Intn(256))
	}
	q, err := distill.Verify(e, a, net, nil, states)
	if err != nil {
		return r, fmt.Errorf("export: %w", err)
	}
	if !q.Equal() {
		return r, fmt.Errorf("export: the folded net differs from the trained network in %d of %d outputs and %d actions; first: %s", q.Mismatches, q.Bits, q.Wrong, q.First)
	}
	if err := neuro.WriteNIR(path, net); err != nil {
		return r, fmt.Errorf("export: %w", err)
	}
	var want bytes.Buffer
	if err := neuro.EncodeNIR(&want, net); err != nil {
		return r, fmt.Errorf("export: %w", err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("export: %w", err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		return r, fmt.Errorf("export: %s: the file does not hold what was written", path)
	}
	r.Verified, r.SizeBytes, r.Outputs = true, int64(len(got)), q.Bits
	r.Layers, r.Actions = len(net.Layers), net.Actions
	return r, nil
}
