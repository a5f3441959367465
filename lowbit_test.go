package lowbit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"lowbit"
	"lowbit/graph"
	"lowbit/model"
	"lowbit/nn"
)

// asProgram makes this test binary a program with a network of its own.
const asProgram = "LOWBIT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "" {
		os.Exit(m.Run())
	}
	info := model.Info{InputShape: []int{1, 8, 8}, Classes: 3, Mean: []float32{0}, Std: []float32{1}}
	err := model.Register("own-net", info, func(c model.Config) (*graph.Graph, error) {
		g, x := c.Input()
		x = nn.ConvNorm(g, "conv", "bn", x, nn.Conv{Out: c.Channels(8), Kernel: 3, Pad: 1}, nn.Norm{}, g.Relu)
		nn.Logits(g, nn.Linear(g, "fc", g.GlobalAvgPool(x), nn.Dense{Out: c.Classes}))
		return g, g.Err()
	})
	if err != nil {
		panic(err)
	}
	lowbit.Main()
}

func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), asProgram+"=1")
	return c
}

// code returns the exit code of a program that has ended.
func code(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if err == nil {
		return 0
	}
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return exit.ExitCode()
}

func TestAProgramsOwnNetworkHasEveryVerb(t *testing.T) {
	out, err := program(t, "inspect", "own-net", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Params int64
		Layers []struct{ Name string }
	}
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatal(err)
	}
	if v.Params != 72+16+27 || v.Layers[0].Name != "conv" {
		t.Errorf("%+v", v)
	}
	if _, err := program(t, "bench", "train", "--model", "own-net", "--batch", "2", "--steps", "2", "--bits", "w4a4", "--peak-seconds", "0").Output(); err != nil {
		t.Error(err)
	}
}

func TestExitCodes(t *testing.T) {
	for want, args := range map[int][]string{
		0: {"version"},
		1: {"eval", "--model", "own-net", "--data", "cifar10", "--data-dir", t.TempDir()},
		2: {"train", "--unknown"},
	} {
		_, err := program(t, args...).Output()
		if got := code(t, err); got != want {
			t.Errorf("%v: code %d, want %d", args, got, want)
		}
	}
}

func TestInterruptEndsWith130(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no interrupt can be sent to another process here: run on Linux or macOS")
	}
	c := program(t, "bench", "train", "--model", "own-net", "--batch", "2", "--steps", "1000000000")
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // past the start, where signals still have their default
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if got := code(t, c.Wait()); got != 130 || !strings.Contains(errs.String(), "lowbit: ") {
		t.Errorf("code %d, stderr %q", got, errs.String())
	}
}

// The program does nothing heavy before its verb: 20 ms on an idle machine.
func TestVersionIsQuick(t *testing.T) {
	best := time.Hour
	for range 10 {
		began := time.Now()
		if err := program(t, "version").Run(); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
	}
	if best > 100*time.Millisecond {
		t.Errorf("version takes %v", best)
	}
}
