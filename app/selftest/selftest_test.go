package selftest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/format/safetensors"
	"lowbit/internal/testenv"
)

func TestEveryRowPasses(t *testing.T) {
	r := Run()
	var rows []string
	for _, c := range r.Checks {
		rows = append(rows, c.Kernel)
		if !c.OK || c.Worst > 1 || c.Loss == 0 {
			t.Errorf("%+v", c)
		}
	}
	if !r.OK || !slices.Equal(rows, engine.KernelRows()) || r.Kernel != engine.KernelRow() {
		t.Errorf("%+v", r)
	}
}

// A wrong result must be seen: here PyTorch's values are changed.
func TestAChangedGoldenFails(t *testing.T) {
	old := golden
	defer func() { golden = old }()
	for _, name := range []string{"loss", "logits", "grad.conv1.weight_step", "after.fc.weight", "before.fc.weight"} {
		all, meta, err := safetensors.Decode(bytes.Clone(old))
		if err != nil {
			t.Fatal(err)
		}
		v := all.Get(name)
		if v == nil {
			t.Fatalf("the golden has no %s", name)
		}
		for i := range v.Float32s() {
			v.Float32s()[i] *= 1.01
		}
		var b bytes.Buffer
		if err := safetensors.Encode(&b, all, meta); err != nil {
			t.Fatal(err)
		}
		golden = b.Bytes()
		r := Run()
		if r.OK || r.Checks[0].OK || !strings.Contains(r.Checks[0].Failure, "off by") {
			t.Errorf("%s changed by 1 %%: %+v", name, r.Checks[0])
		}
	}
}

func TestGoldenIsTheMethodsOwn(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(testenv.Root(t), "method", "lsq", "testdata", "step.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, golden) {
		t.Error("testdata/step.safetensors differs from method/lsq/testdata/step.safetensors: run `make golden`")
	}
}
