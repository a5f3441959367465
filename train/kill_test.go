package train

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// victimEnv names the run directory of a child process, which trains there
// until it is done or killed.
const victimEnv = "LOWBIT_TRAIN_TEST_VICTIM"

// victimRun trains, and has a checkpoint at almost every step.
func victimRun(t *testing.T, dir string) Result {
	c, j := tinyConfig(), job(t, 1, netOptions{quantized: true, dropout: true})
	c.Epochs, c.HoldOut, c.Best, c.Optim.EMA = 4, 24, true, 0.9
	j.Out, j.Resume = dir, true
	j.CheckpointSeconds = 1e-9
	r, err := Run(context.Background(), c, j)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestVictim is the child of TestKilledRunEndsWithTheSameBytes.
func TestVictim(t *testing.T) {
	dir := os.Getenv(victimEnv)
	if dir == "" {
		return // nothing to do unless started by its parent
	}
	fmt.Println("accuracy", victimRun(t, dir).Accuracy)
}

func TestKilledRunEndsWithTheSameBytes(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	began := time.Now()
	victimRun(t, whole)
	took := time.Since(began)

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	kills := 0
	for round := range 4 {
		dir := filepath.Join(t.TempDir(), fmt.Sprint("killed", round))
		for n := range 4 { // the last one is left alone
			cmd := exec.Command(exe, "-test.run=^TestVictim$")
			cmd.Env = append(os.Environ(), victimEnv+"="+dir)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if n < 3 {
				time.Sleep(time.Duration(random.Float64() * float64(took)))
				_ = cmd.Process.Kill() // it may have ended already
			}
			err := cmd.Wait()
			if err == nil {
				break
			}
			if cmd.ProcessState.ExitCode() >= 0 {
				t.Fatalf("round %d: the child failed: %v\n%s", round, err, out.Bytes())
			}
			kills++
			t.Logf("round %d: killed at %v", round, stateOf(dir))
		}
		for _, name := range []string{lastName, bestName} {
			if digest(t, dir, name) != digest(t, whole, name) {
				t.Errorf("round %d: %s of a run that was killed has other bytes", round, name)
			}
		}
		rec, err := ReadRecord(dir)
		if err != nil || !rec.Result.Complete {
			t.Errorf("round %d: record %+v, %v", round, rec, err)
		}
		left, err := filepath.Glob(filepath.Join(dir, ".*.tmp"))
		if err != nil || len(left) != 0 {
			t.Errorf("round %d: left behind: %v %v", round, left, err)
		}
	}
	if kills == 0 {
		t.Error("no child was killed before it was done")
	}
}

// stateOf names the last checkpoint of a directory.
func stateOf(dir string) string {
	cs, err := checkpoints(dir)
	if err != nil || len(cs) == 0 {
		return "the start"
	}
	return filepath.Base(cs[len(cs)-1].path)
}
