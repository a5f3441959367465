package cli

import (
	"fmt"
	"io"
	"strings"

	"lowbit/app/export"
	"lowbit/engine"
	"lowbit/rl"
)

// policyExport is the verb's result for a game's player.
type policyExport struct {
	export.NIRResult
	Model string `json:"model"`
	To    string `json:"to"`
}

// policy writes a ternary corenet.
func (v *exportFlags) policy(a *app) error {
	switch {
	case a.out == "":
		return usagef("no file: --out FILE.nir")
	case !strings.HasSuffix(a.out, ".nir"):
		return usagef("--out %q, want a name that ends with .nir", a.out)
	}
	if err := a.free(a.out); err != nil {
		return err
	}
	agent, err := rl.OpenAgent(v.model.model, nil)
	if err != nil {
		return fmt.Errorf("%w\nnir is for ternary corenets: lowbit distill --student corenet --bits ternary", err)
	}
	e := engine.New(a.threads)
	defer e.Close()
	r, err := export.NIR(a.out, e, agent)
	if err != nil {
		return err
	}
	return a.print(policyExport{r, v.model.model, v.to}, false, func(w io.Writer) {
		fmt.Fprintf(w, "file      %s\nsize      %s\n", r.Path, size(r.SizeBytes))
		fmt.Fprintf(w, "network   %d layers, %d actions\n", r.Layers, r.Actions)
		fmt.Fprintf(w, "verified  %s neuron outputs and all actions of the trained network on %d random states\n", thousands(r.Outputs), r.States)
	})
}
