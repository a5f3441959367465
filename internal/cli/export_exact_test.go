package cli

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"lowbit/internal/testenv"
	"lowbit/load"
)

// An exact folder is the quantized model again: the same quantizers, the same
// perplexity up to the order in which a head's products are summed. Folders that say
// what cannot be read are refused with what is wrong.
func TestAnExactFolderIsTheQuantizedModel(t *testing.T) {
	m, base := storiesFile(t), t.TempDir()
	text := "text:" + testenv.Shared(t, "data", "text", "tinyshakespeare.txt")
	quantize := func(name string, more ...string) (net, folder string) {
		t.Helper()
		net, folder = filepath.Join(base, name), filepath.Join(base, name+"-exact")
		object(t, append([]string{"quantize", "--model", m, "--data", text, "--method", "ptq", "--text-length", "64", "--window-length", "64",
			"--windows", "1", "--batches", "4", "--out", net}, more...)...)
		object(t, "export", "--model", net, "--to", "compressed-tensors", "--scheme", "exact", "--out", folder)
		return net, folder
	}
	for name, more := range map[string][]string{"w4": {"--bits", "w4a8kv8"}, "w8": {"--bits", "w8a8"}, "static": {"--bits", "w3a8kv4", "--static", "--query"}} {
		net, folder := quantize(name, more...)
		a, err := load.OpenLanguage(net)
		if err != nil {
			t.Fatal(err)
		}
		b, err := load.OpenLanguage(folder)
		if err != nil {
			t.Fatal(err)
		}
		if want := a.Quantizers.Compact(); !reflect.DeepEqual(*b.Quantizers, want) {
			t.Errorf("%s: quantizers %+v, want %+v", name, *b.Quantizers, want)
		}
		measure := func(model string) float64 {
			return number(t, object(t, "eval", "--model", model, "--data", text, "--window-length", "64", "--windows", "8", "--teacher", m), "loss")
		}
		if x, y := measure(net), measure(folder); math.Abs(x-y) > 2e-3 {
			t.Errorf("%s: loss %g, read back %g", name, x, y)
		}
		object(t, "run", "--model", folder, "Once upon a time", "--tokens", "3")
	}

	_, static := quantize("static8", "--bits", "w8a8", "--static")
	config := filepath.Join(static, "config.json")
	whole, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(q map[string]any)
		want   string
	}{
		"cache":      {func(q map[string]any) { q["kv_cache_scheme"] = map[string]any{"num_bits": 8, "type": "float"} }, "kv_cache_scheme"},
		"floats":     {func(q map[string]any) { inputs(q)["type"] = "float" }, `inputs of type "float"`},
		"asymmetric": {func(q map[string]any) { inputs(q)["symmetric"] = false }, "symmetric false"},
		"groups":     {func(q map[string]any) { inputs(q)["strategy"] = "group" }, `strategy "group"`},
		"two ways": {func(q map[string]any) {
			inputs(q)["strategy"], inputs(q)["dynamic"] = "token", true
		}, "want one way"},
		"wide": {func(q map[string]any) { inputs(q)["num_bits"] = 12 }, "activation bits 12"},
	} {
		var all map[string]any
		if err := json.Unmarshal(whole, &all); err != nil {
			t.Fatal(err)
		}
		c.change(all["quantization_config"].(map[string]any))
		b, err := json.Marshal(all)
		if err == nil {
			err = os.WriteFile(config, b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			wantFailure(t, 1, []string{"inspect", static}, c.want)
		})
	}
	// A folder without the static scales that its description promises.
	dynamic, err := os.ReadFile(filepath.Join(base, "w8-exact", "model.safetensors"))
	if err == nil {
		err = os.WriteFile(filepath.Join(static, "model.safetensors"), dynamic, 0o644)
	}
	if err == nil {
		err = os.WriteFile(config, whole, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	wantFailure(t, 1, []string{"inspect", static}, "input_scale is missing")
}

// inputs is the scheme of the inputs of the inner layers.
func inputs(q map[string]any) map[string]any {
	return q["config_groups"].(map[string]any)["group_0"].(map[string]any)["input_activations"].(map[string]any)
}
