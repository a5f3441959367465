package cli

import (
	"bytes"
	"context"
	"image/gif"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lowbit/rl"
)

func distillArgs(more ...string) []string {
	return append([]string{
		"distill", "--teacher", "planner", "--env", "minatar/breakout", "--envs", "16", "--batch", "32", "--ring", "1024", "--start", "128",
		"--updates", "20", "--segment", "10", "--eval-episodes", "4", "--eval-steps", "60", "--episodes", "4",
	}, more...)
}

// A ternary student is distilled, inspected, and plays alike on both engines.
func TestDistillInspectPlay(t *testing.T) {
	run := filepath.Join(t.TempDir(), "core")
	args := distillArgs("--student", "corenet", "--bits", "ternary", "--out", run)
	d := object(t, args...)
	fields(t, d, "teacher_return", "student_return", "return_se", "episodes", "seconds", "run", "random_return", "agreement")
	if number(t, d, "max_steps") != 60 {
		t.Errorf("%v: episodes were cut after 60 decisions", d)
	}
	curve := items(t, d, "curve")
	if len(curve) != 2 || number(t, curve[1], "updates") != 20 || number(t, curve[0], "return") < 0 {
		t.Errorf("curve %v, want an evaluation after 10 and 20 updates", curve)
	}
	page := filepath.Join(t.TempDir(), "players.html")
	object(t, "report", run, "--out", page)
	for _, want := range []string{"corenet of planner", "Return against precision", "Learning", "Agreement with the teacher", "Spikes of core", "Cores of core", "splitters"} {
		if b, err := os.ReadFile(page); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%v: the page lacks %q", err, want)
		}
	}
	wantFailure(t, 2, []string{"report", run, trained(t), "--out", page + "2"}, "a page for each kind")
	if d["run"] != run || number(t, d, "episodes") != 4 || number(t, d, "teacher_return") <= number(t, d, "random_return") {
		t.Errorf("%v", d)
	}
	wantFailure(t, 1, args, "--force", "--resume")
	if again := object(t, append(args, "--resume")...); again["student_return"] != d["student_return"] {
		t.Errorf("return %v, resumed %v", d["student_return"], again["student_return"])
	}

	layers := 0
	for i, l := range items(t, object(t, "inspect", run), "layers") {
		if l["op"] != "conv2d" {
			continue
		}
		layers++
		if number(t, l, "weight_bits") != 2 || i > 0 && number(t, l, "act_bits") != 1 {
			t.Errorf("%v, want ternary weights and binary inputs", l)
		}
	}
	if layers < 4 {
		t.Errorf("%d layers of ternary weights", layers)
	}

	picture := filepath.Join(t.TempDir(), "play.gif")
	with := func(more ...string) []string {
		return append([]string{"play", "--model", run, "--episodes", "2", "--max-steps", "50", "--seed", "3"}, more...)
	}
	float := object(t, with("--env", "minatar/breakout")...)
	cores := object(t, with("--engine", "cores", "--gif", picture)...) // the run knows its game
	fields(t, cores, "mean_return", "return_se", "decision_ms", "missed_deadlines", "cores")
	for _, name := range []string{"mean_return", "decisions", "env"} {
		if float[name] != cores[name] {
			t.Errorf("%s: %v on floats, %v on cores", name, float[name], cores[name])
		}
	}
	fields(t, cores["decision_ms"].(map[string]any), "p50", "p99", "max")
	f, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if g, err := gif.DecodeAll(f); err != nil || len(g.Image) != int(number(t, cores, "decisions")) {
		t.Errorf("%v, want an animation of %v pictures", err, cores["decisions"])
	}
	file := filepath.Join(t.TempDir(), "core.nir")
	nir := object(t, "export", "--model", run, "--to", "nir", "--out", file)
	if nir["verified"] != true || nir["path"] != file || number(t, nir, "size_bytes") < 1000 {
		t.Errorf("%v", nir)
	}
	wantFailure(t, 2, []string{"export", "--model", run, "--to", "nir", "--out", picture}, ".nir")
	wantFailure(t, 1, []string{"export", "--model", run, "--to", "nir", "--out", file}, "--force")
	wantFailure(t, 1, []string{"export", "--model", trained(t), "--to", "nir", "--out", file + ".nir"}, "corenet")
	wantFailure(t, 1, with("--engine", "integer"), "binary neurons")
	wantFailure(t, 1, with("--gif", picture), "--force")
	wantFailure(t, 1, []string{"play", "--model", "planner", "--engine", "cores"}, "no network")
}

// Realtime keeps the screen's rate, and people read the result.
func TestPlayInRealtime(t *testing.T) {
	code, out, errs := call("play", "--model", "planner", "--episodes", "1", "--max-steps", "20", "--realtime", "--hz", "200")
	if code != 0 || errs != "" {
		t.Fatalf("code %d, stderr %q", code, errs)
	}
	for _, text := range []string{"minatar/breakout", "1 episodes of 20 decisions", "(median)", "missed"} {
		if !strings.Contains(out, text) {
			t.Errorf("%q, want %q in it", out, text)
		}
	}
}

func TestInterruptedDistillationGoesOn(t *testing.T) {
	run := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			if f, _ := filepath.Glob(filepath.Join(run, "checkpoint-001*")); len(f) > 0 {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	args := distillArgs("--bits", "w2a2", "--updates", "1000", "--out", run, "--json")
	code, out, errs := callContext(ctx, args...)
	if code != 130 || out != "" || !strings.Contains(errs, "--resume --out "+run) {
		t.Fatalf("code %d, stdout %q, stderr %q", code, out, errs)
	}
	wantFailure(t, 1, append(distillArgs("--bits", "w3a3", "--updates", "1000"), "--out", run, "--resume"), "w3a3")
	code, _, errs = callContext(ctx, append(args, "--resume")...) // the run is found, the interrupt, too
	if code != 130 {
		t.Errorf("code %d, stderr %q", code, errs)
	}
	code, out, _ = callContext(ctx, "play", "--model", run, "--json")
	if code != 130 || !strings.Contains(out, `"episodes": 0`) {
		t.Errorf("code %d, stdout %q", code, out)
	}
}

func TestMistakesAboutGamesAreExplained(t *testing.T) {
	d := func(more ...string) []string { return append([]string{"distill"}, more...) }
	p := func(more ...string) []string { return append([]string{"play", "--model", "planner"}, more...) }
	for _, c := range []struct {
		args  []string
		texts []string
	}{
		{d("--teacher", "planner"), []string{"--env"}},
		{d("--env", "minatar/breakout"), []string{"--teacher", "planner, ppo, dqn"}},
		{d("--teacher", "planner", "--env", "minatar/breakout", "--from", "runs/none"), []string{"--from", "runs/none"}},
		{d("--teacher", "planner", "--env", "minatar/brekout"), []string{"minatar/seaquest", `did you mean "breakout"?`}},
		{d("--teacher", "planner", "--env", "pong"), []string{"minatar/asterix", "ale/GAME"}},
		{d("--teacher", "planner", "--env", "minatar/freeway"), []string{"planner plays minatar/breakout"}},
		{d("--teacher", "plannr", "--env", "minatar/breakout"), []string{`did you mean "planner"?`}},
		{distillArgs("--student", "resnet20"), []string{"resnet20", "corenet"}},
		{distillArgs("--bits", "few"), []string{"few", "ternary"}},
		{distillArgs("--updates", "0"), []string{"0 updates"}},
		{distillArgs("--loss", "l1"), []string{"l1"}},
		{distillArgs("--preset", "dqn2014"), []string{`did you mean "dqn2015"?`}},
		{distillArgs("--resume"), []string{"--out"}},
		{p("--engine", "gpu"), []string{"gpu", "cores"}},
		{p("--episodes", "0"), []string{"0 episodes"}},
		{p("--env", "minatar/chess"), []string{"chess", "minatar/space_invaders"}},
		{p("--preset", "dqn2014"), []string{`did you mean "dqn2015"?`}},
		{p("--render"), []string{"no terminal", "--gif"}},
		{[]string{"play"}, []string{"--model"}},
		{[]string{"play", "--model", "nowhere"}, []string{"nowhere"}},
	} {
		wantFailure(t, 2, c.args, c.texts...)
	}
	t.Setenv("LOWBIT_PYTHON", filepath.Join(t.TempDir(), "python"))
	wantFailure(t, 1, d("--teacher", "ppo", "--env", "ale/pong", "--out", filepath.Join(t.TempDir(), "run")), "pip install ale-py", "LOWBIT_PYTHON")
}

func TestDistillationsProgressTellsTeacherAndStudent(t *testing.T) {
	var b bytes.Buffer
	l := &line{w: &b, width: 120}
	report := l.distilling(true, 1000)
	ret, share := 3.5, 0.75
	report(rl.Metric{Kind: "eval", Step: 4096, Return: &ret, ReturnSE: 0.25, Seconds: 2})
	report(rl.Metric{Kind: "train", Updates: 500, Loss: 0.5, Agreement: &share, Seconds: 3})
	parts := strings.Split(b.String(), "\r\x1b[K")
	want := []string{"", "teacher, 4,096 decisions, return 3.50 +- 0.25, 2.0 s",
		"student [==========          ] update 500 of 1,000, loss 0.5000, agreement 75.0 %, 3.0 s"}
	if strings.Join(parts, "|") != strings.Join(want, "|") {
		t.Errorf("%q, want %q", parts, want)
	}
}

// What games and cores take is measured; the cores are compared first.
func TestBenchGamesAndCores(t *testing.T) {
	env := object(t, "bench", "env", "--env", "minatar/seaquest", "--seconds", "0.05", "--envs", "16")
	if number(t, env, "decisions") < 64*16 || number(t, env, "decisions_per_s") < 1000 || env["version"] != "minatar/seaquest-1" {
		t.Errorf("%v", env)
	}
	cores := object(t, "bench", "cores", "--ticks", "20", "--states", "2", "--seconds", "0.1", "--hz", "100")
	if number(t, cores, "mismatches") != 0 || number(t, cores, "outputs") < 50000 || number(t, cores, "decisions") != 2 {
		t.Errorf("%v", cores)
	}
	use, played := cores["resources"].(map[string]any), cores["realtime"].(map[string]any)
	if number(t, use, "cores") < 400 || number(t, cores, "us_per_core_tick") <= 0 || number(t, played, "frames") != 10 {
		t.Errorf("%v %v", use, played)
	}
	wantFailure(t, 2, []string{"bench", "env", "--env", "minatar/seqest"}, "seaquest")
	wantFailure(t, 2, []string{"bench", "env", "--env", "minatar/seaquest", "--seconds", "0"}, "more than 0")
	wantFailure(t, 2, []string{"bench", "cores", "--ticks", "0"}, "at least 1")
	wantFailure(t, 2, []string{"bench", "cores", "--seconds", "-1"}, "none negative")
	wantFailure(t, 1, []string{"bench", "cores", "--model", trained(t)}, "agent")
}
