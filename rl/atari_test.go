package rl

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAtariStacksSkipsAndEnds follows the fake game, whose gray tells the frame.
func TestAtariStacksSkipsAndEnds(t *testing.T) {
	const n, frame = 3, 84 * 84
	w := open(t, "ale/fake", Options{Envs: n, Atari: fakeOptions("ok", "dqn2015")})
	spec := w.Spec()
	if spec.C != 4 || spec.H != 84 || !slices.Equal(spec.Actions, []string{"noop", "fire", "right"}) || spec.ObsBytes() != 4*frame {
		t.Fatalf("%+v", spec)
	}
	w.reset(t, 1)
	for i := range n {
		stack := w.obs[i*4*frame:][:4*frame]
		if !bytes.Equal(stack[:3*frame], make([]byte, 3*frame)) {
			t.Fatal("frames before the start are not black")
		}
		for _, v := range stack[3*frame:] {
			if v != stack[3*frame] {
				t.Fatal("an even screen is uneven after the resize")
			}
		}
	}
	ends := 0
	for range 60 {
		before := slices.Clone(w.obs)
		w.act[0] = 2
		w.step(t)
		for i := range n {
			was, is := before[i*4*frame:][:4*frame], w.obs[i*4*frame:][:4*frame]
			if w.done[i] {
				ends++
				e := w.Finished()[0]
				if e.Return < 4 || e.Return > fakeFrames-2 || w.trunc[i] {
					t.Fatalf("episode %+v", e.Return)
				}
				continue
			}
			if w.rew[i] != 4 {
				t.Fatalf("reward %v, want one for each of 4 frames", w.rew[i])
			}
			if !bytes.Equal(was[frame:], is[:3*frame]) {
				t.Fatal("older frames did not move down")
			}
			if d := is[4*frame-1] - was[4*frame-1]; d != 16 {
				t.Fatalf("newest frame is %d grays on, want 4 frames of 4", d)
			}
		}
	}
	if ends == 0 {
		t.Fatal("no game ended")
	}
}

// TestAtariSameSeedSameGames, for any number of workers.
func TestAtariSameSeedSameGames(t *testing.T) {
	for _, preset := range AtariPresets() {
		one, two := fakeOptions("ok", preset.Name), fakeOptions("ok", preset.Name)
		two.Workers = 2
		a, b := open(t, "ale/fake", Options{Envs: 3, Atari: one}), open(t, "ale/fake", Options{Envs: 3, Atari: two})
		for range 2 {
			a.reset(t, 7)
			b.reset(t, 7)
			for range 40 {
				a.step(t)
				b.step(t)
				if !bytes.Equal(a.obs, b.obs) || !slices.Equal(a.rew, b.rew) || !slices.Equal(a.done, b.done) {
					t.Fatalf("%s: one and two workers differ", preset.Name)
				}
			}
		}
	}
}

func TestAtariCutsEpisodes(t *testing.T) {
	w := open(t, "ale/fake", Options{Envs: 2, MaxSteps: 3, Atari: fakeOptions("ok", "machado2018")})
	w.reset(t, 1)
	for n := 1; n <= 9; n++ {
		w.step(t)
		if w.trunc[0] != (n%3 == 0) || w.done[0] || len(w.Finished()) != map[bool]int{true: 2}[n%3 == 0] {
			t.Fatalf("step %d: trunc %v, done %v, %d episodes", n, w.trunc[0], w.done[0], len(w.Finished()))
		}
	}
}

// TestAtariRests: a game that rests stands still, its neighbours go on as if it
// played, and it plays again after a Reset.
func TestAtariRests(t *testing.T) {
	const n = 3
	a := open(t, "ale/fake", Options{Envs: n, Atari: fakeOptions("ok", "baby-a3c")})
	b := open(t, "ale/fake", Options{Envs: n, Atari: fakeOptions("ok", "baby-a3c")})
	size := a.Spec().ObsBytes()
	for range 2 {
		a.reset(t, 7)
		b.reset(t, 7)
		var still []byte
		for k := range 40 {
			if k == 5 {
				b.VecEnv.(Rester).Rest(1)
				still = slices.Clone(b.obs[size : 2*size])
			}
			a.step(t)
			b.step(t)
			for i := range n {
				x, y := a.obs[i*size:(i+1)*size], b.obs[i*size:(i+1)*size]
				switch {
				case i == 1 && k >= 5:
					if !bytes.Equal(y, still) || b.rew[i] != 0 || b.done[i] || b.trunc[i] {
						t.Fatalf("step %d: the game that rests moved", k)
					}
				case !bytes.Equal(x, y) || a.rew[i] != b.rew[i] || a.done[i] != b.done[i]:
					t.Fatalf("step %d: game %d is another beside one that rests", k, i)
				}
			}
		}
	}
}

// TestEvaluateLetsGamesRest: once a game has played its share the others alone
// are played, with the same returns.
func TestEvaluateLetsGamesRest(t *testing.T) {
	stats := func(rests bool) (Stats, int) {
		env, err := New("ale/fake", Options{Envs: 3, Atari: fakeOptions("ok", "baby-a3c")})
		if err != nil {
			t.Fatal(err)
		}
		defer env.Close()
		c := &counted{VecEnv: env}
		var v VecEnv = c
		if rests {
			v = &resting{c}
		}
		s, err := Evaluate(v, NewRandom(3, 1), 4, 9)
		if err != nil {
			t.Fatal(err)
		}
		return s, c.moved
	}
	all, moves := stats(false)
	some, fewer := stats(true)
	if !slices.Equal(all.Returns, some.Returns) || all.MeanLength != some.MeanLength || fewer >= moves {
		t.Errorf("returns %v of %d moves, with games that rest %v of %d", all.Returns, moves, some.Returns, fewer)
	}
}

// counted counts the games that a step moves; it hides that games can rest.
type counted struct {
	VecEnv
	moved int
}

func (c *counted) Step(act []int32, obs []byte, rew []float32, done, trunc []bool) error {
	err := c.VecEnv.Step(act, obs, rew, done, trunc)
	for _, r := range rew { // each frame of the fake game is worth 1
		if r > 0 {
			c.moved++
		}
	}
	return err
}

type resting struct{ *counted }

func (r *resting) Rest(game int) { r.VecEnv.(Rester).Rest(game) }

func TestAtariStartFailures(t *testing.T) {
	for mode, want := range map[string]struct {
		is   error
		says string
	}{
		"dies":    {ErrWorkerExit, "cartridge slot on fire"},
		"chatty":  {ErrProtocol, "want type 16"},
		"huge":    {ErrProtocol, "want at most"},
		"json":    {ErrProtocol, "READY"},
		"version": {ErrProtocol, "version 99"},
		"screen":  {ErrProtocol, "1048576"},
		"palette": {ErrProtocol, "palette row"},
		"package": {ErrNoEmulator, "pip install ale-py"},
		"game":    {ErrUnknownGame, "breakout, pong"},
		"refuse":  {ErrProtocol, "speaks 7"},
	} {
		_, err := New("ale/pong", Options{Atari: fakeOptions(mode, "dqn2015")})
		if !errors.Is(err, want.is) || !strings.Contains(err.Error(), want.says) || !strings.HasPrefix(err.Error(), "rl: ale/pong: ") {
			t.Errorf("%s: %v", mode, err)
		}
	}
	o := fakeOptions("hang", "dqn2015")
	o.Timeout = 300 * time.Millisecond
	begin := time.Now()
	if _, err := New("ale/pong", Options{Atari: o}); !errors.Is(err, ErrWorkerTimeout) || time.Since(begin) > 10*time.Second {
		t.Errorf("hang: %v after %v", err, time.Since(begin))
	}
	_, err := New("ale/pong", Options{Atari: &AtariOptions{Python: "no-such-python"}})
	if !errors.Is(err, ErrNoPython) || !strings.Contains(err.Error(), "pip install ale-py") || !strings.Contains(err.Error(), "LOWBIT_PYTHON") {
		t.Errorf("no interpreter: %v", err)
	}
}

func TestAtariLateFailures(t *testing.T) {
	for mode, want := range map[string]error{
		"late-death": ErrWorkerExit, "late-hang": ErrWorkerTimeout, "late-short": ErrProtocol, "late-truncated": ErrWorkerExit,
	} {
		o := fakeOptions(mode, "dqn2015")
		o.Timeout = 3 * time.Second
		w := open(t, "ale/pong", Options{Envs: 2, Atari: o})
		w.reset(t, 1)
		var err error
		for n := 0; err == nil && n < 20; n++ {
			err = w.Step(w.act, w.obs, w.rew, w.done, w.trunc)
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", mode, err)
		}
		if mode == "late-death" && !strings.Contains(err.Error(), "power cut") {
			t.Errorf("the worker's last words are missing: %v", err)
		}
		if again := w.Step(w.act, w.obs, w.rew, w.done, w.trunc); again != err {
			t.Errorf("%s: then %v", mode, again)
		}
	}
}

// TestAtariColourWithoutPalette: the worker shows a code that it did not announce.
func TestAtariColourWithoutPalette(t *testing.T) {
	w := open(t, "ale/pong", Options{Atari: fakeOptions("colourless", "dqn2015")})
	if err := w.Reset(1, w.obs); !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), "palette lacks") {
		t.Errorf("%v", err)
	}
}

func TestAtariRefusesBadOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"unknown Atari preset": {Atari: &AtariOptions{Preset: "easy"}},
		"Bytes only":           {Format: Bits},
		"workers":              {Atari: &AtariOptions{Workers: 2}},
		"timeout":              {Atari: &AtariOptions{Timeout: -1}},
	} {
		if _, err := New("ale/pong", o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := open(t, "ale/pong", Options{Atari: fakeOptions("ok", "dqn2015")})
	w.reset(t, 1)
	w.act[0] = 3
	if err := w.Step(w.act, w.obs, w.rew, w.done, w.trunc); err == nil {
		t.Error("action 3 of 0..2")
	}
	w.Close()
	if err := w.Reset(1, w.obs); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("reset after close: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// openReal opens a game of the emulator, or skips.
func openReal(tb testing.TB, game string, o Options) *world {
	tb.Helper()
	env, err := New("ale/"+game, o)
	if errors.Is(err, ErrNoPython) || errors.Is(err, ErrNoEmulator) {
		tb.Skipf("needs the Atari emulator: %v", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	env.Close()
	return open(tb, "ale/"+game, o)
}

// TestEmulatorPlaysPong: real games repeat, and random play loses by about 20.
func TestEmulatorPlaysPong(t *testing.T) {
	for _, preset := range AtariPresets() {
		t.Run(preset.Name, func(t *testing.T) {
			w := openReal(t, "pong", Options{Envs: 2, Atari: &AtariOptions{Preset: preset.Name}})
			info, ok := AtariInfoOf(w.VecEnv)
			if !ok || info.Emulator == "" || len(info.ROM) != 32 {
				t.Fatalf("%+v", info)
			}
			want := 6
			if preset.FullActions {
				want = 18
			}
			if got := w.Spec(); len(got.Actions) != want || len(got.Minimal) != 6 {
				t.Fatalf("actions %v, minimal %v", got.Actions, got.Minimal)
			}
			var runs [2][]byte
			for k := range runs {
				w.reset(t, 5)
				p := NewRandom(want, 1)
				for range 150 {
					p.Act(nil, nil, w.act)
					w.step(t)
				}
				runs[k] = slices.Clone(w.obs)
			}
			if !bytes.Equal(runs[0], runs[1]) {
				t.Error("the same seed played another game")
			}
			if half := len(runs[0]) / 2; bytes.Equal(runs[0][:half], runs[0][half:]) {
				t.Error("both games are the same")
			}
		})
	}
	w := openReal(t, "pong", Options{Envs: 4})
	s, err := Evaluate(w, NewRandom(6, 1), 4, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("random play: %.1f ± %.1f in %.0f decisions", s.Mean, s.SE, s.MeanLength)
	if s.Mean > -17 || s.Min < -21 {
		t.Errorf("random play returns %.1f, want -21..-17", s.Mean)
	}
}

// TestEmulatorCodesEqualColours: screens that come as codes give the bytes that
// the emulator's own gray and colours give; adventure has no palette of ours.
func TestEmulatorCodesEqualColours(t *testing.T) {
	for _, c := range [][2]string{{"pong", "dqn2015"}, {"pong", "baby-a3c"}, {"breakout", "async-rl"}, {"adventure", "dqn2015"}} {
		game := c[0]
		o := AtariOptions{Preset: c[1]}
		codes := openReal(t, game, Options{Envs: 2, MaxSteps: 50, Atari: &o})
		o.plain = true
		colours := open(t, "ale/"+game, Options{Envs: 2, MaxSteps: 50, Atari: &o})
		if has := codes.VecEnv.(*atari).squares != nil; has != (game != "adventure") || colours.VecEnv.(*atari).squares != nil {
			t.Fatalf("%s: codes %v", game, has)
		}
		codes.reset(t, 3)
		colours.reset(t, 3)
		p := NewRandom(len(codes.Spec().Actions), 1)
		for k := range 80 {
			p.Act(nil, nil, codes.act)
			copy(colours.act, codes.act)
			codes.step(t)
			colours.step(t)
			if !bytes.Equal(codes.obs, colours.obs) || !slices.Equal(codes.rew, colours.rew) {
				t.Fatalf("%s, %s: decision %d differs", game, c[1], k)
			}
		}
	}
}

func TestEmulatorListsItsGames(t *testing.T) {
	openReal(t, "pong", Options{})
	_, err := New("ale/qqqqqqqq", Options{})
	if !errors.Is(err, ErrUnknownGame) || !strings.Contains(err.Error(), "space_invaders") {
		t.Errorf("%v", err)
	}
	_, err = New("ale/pongg", Options{})
	if !errors.Is(err, ErrUnknownGame) || !strings.Contains(err.Error(), "did you mean pong") || strings.Contains(err.Error(), "zaxxon") {
		t.Errorf("%v", err)
	}
}

func TestInterpreterWithoutTheEmulator(t *testing.T) {
	if _, err := New("ale/pong", Options{}); errors.Is(err, ErrNoPython) {
		t.Skipf("needs a Python interpreter with ale-py (pip install ale-py; LOWBIT_PYTHON names the interpreter): %v", err)
	}
	t.Setenv("PYTHONPATH", t.TempDir())
	if err := os.WriteFile(os.Getenv("PYTHONPATH")+"/ale_py.py", []byte("raise ImportError('not here')"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New("ale/pong", Options{}); !errors.Is(err, ErrNoEmulator) || !strings.Contains(err.Error(), "pip install") {
		t.Errorf("%v", err)
	}
}

func BenchmarkAtari(b *testing.B) {
	for _, preset := range AtariPresets() {
		for _, n := range []int{1, 8} {
			b.Run(fmt.Sprintf("preset=%s/envs=%d", preset.Name, n), func(b *testing.B) {
				w := openReal(b, "breakout", Options{Envs: n, Atari: &AtariOptions{Preset: preset.Name}})
				w.reset(b, 1)
				p := NewRandom(len(w.Spec().Actions), 1)
				for b.Loop() {
					p.Act(nil, nil, w.act)
					w.step(b)
				}
				b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
			})
		}
	}
}

func BenchmarkScreenView(b *testing.B) {
	for _, preset := range AtariPresets() {
		b.Run("preset="+preset.Name, func(b *testing.B) {
			v := newScreenView(preset, 210, 160)
			size := 210 * 160
			if preset.view.colour() == "rgb" {
				size *= 3
			}
			before, last, dst := make([]byte, size), make([]byte, size), make([]byte, preset.Size*preset.Size)
			for i := range last {
				last[i] = byte(i * 7)
			}
			for b.Loop() {
				v.show(before, last, dst)
			}
		})
	}
}
