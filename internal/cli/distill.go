package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lowbit/app/play"
	"lowbit/engine"
	"lowbit/method/distill"
	"lowbit/rl"
)

const distillHelp = `Makes a policy of few bits: a teacher labels the states of games, a student learns
its choices. The weights that play best on held-out seeds are kept; student,
teacher and random play are then measured on other seeds.

Teachers:
  planner    exact look-ahead in minatar/breakout; needs no training
  ppo, dqn   trained first, in the run's folder "teacher"
  PATH       a run directory, a published agent (.safetensors, .zip)

Students: conv (a small plain network) and corenet (layers that fit neurosynaptic
cores). Bits: fp32, such as w2a2 (learned steps, first and last layer 8 bits),
binary (binary neurons), ternary (ternary weights and binary neurons; a ternary
corenet plays on cores).

Games: minatar/GAME is built in; ale/GAME needs Python with ale-py and numpy
($LOWBIT_PYTHON names the interpreter).

The run has a checkpoint after each --segment; --resume goes on from the last one,
with the same result as without the break.`

const distillExample = `  lowbit distill --teacher planner --env minatar/breakout --student conv --bits w2a2 --out runs/b2
  lowbit distill --teacher planner --env minatar/breakout --student corenet --bits ternary --out runs/core
  lowbit distill --teacher ppo --env minatar/seaquest --student conv --bits w4a4 --out runs/sea
  lowbit distill --teacher ppo --env minatar/seaquest --student conv --bits w4a4 --out runs/sea --resume
  lowbit distill --teacher runs/sea/teacher --env minatar/seaquest --bits w2a2 --from runs/sea --out runs/sea2`

type distillFlags struct {
	teacher, env, student, bits string
	from                        string
	teacherSteps                int64
	width                       int
	loss, mode                  string
	resume                      bool
	// c is bound to the flags of the recipe; those that were not given keep the
	// recipe's own value.
	c distill.Config
}

// distillResult is the verb's result.
type distillResult struct {
	*play.DistillReport
	Kernel  string `json:"kernel"`
	Threads int    `json:"threads"`
}

func (a *app) distill() *cobra.Command {
	var v distillFlags
	cmd := &cobra.Command{
		Use: "distill --teacher TEACHER --env ENV", Short: "a game's policy as a network of few bits",
		Long: distillHelp, Example: distillExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(a, cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&v.teacher, "teacher", "", "planner, ppo, dqn, or an agent's run directory or file")
	f.Int64Var(&v.teacherSteps, "teacher-steps", 0, "ppo, dqn: decisions of the teacher's training (default: the recipe's)")
	f.StringVar(&v.env, "env", "", "minatar/GAME or ale/GAME")
	f.StringVar(&v.student, "student", distill.Conv, "conv or corenet")
	f.StringVar(&v.bits, "bits", "w4a4", "fp32, such as w2a2, binary or ternary")
	f.StringVar(&v.from, "from", "", "an agent of the same layers and any bits, a student's run directory or the teacher, whose weights the student starts with")
	f.IntVar(&v.width, "width", 1, "factor on the channels of the student's hidden layers")
	f.StringVar(&v.loss, "loss", string(distill.KL), "kl, nll or mse")
	f.StringVar(&v.mode, "mode", "", "how the student acts: greedy, sample, or best: greedy or drawing at a temperature of 1, 0.5 or 0.25, whichever plays best on held-out seeds (default: greedy; in Atari games best, but greedy on cores)")
	f.BoolVar(&v.resume, "resume", false, "go on with the run in --out")
	v.recipe(cmd)
	return cmd
}

// recipe adds the flags whose defaults depend on the student.
func (v *distillFlags) recipe(cmd *cobra.Command) {
	f, c := cmd.Flags(), &v.c
	ints := []struct {
		to         *int
		name, what string
	}{
		{&c.Updates, "updates", "optimizer steps"},
		{&c.Segment, "segment", "updates between evaluations and checkpoints"},
		{&c.Envs, "envs", "games in lock-step"},
		{&c.Collect, "collect", "decisions of each game between two updates"},
		{&c.Batch, "batch", "states of an update"},
		{&c.Ring, "ring", "states that are kept"},
		{&c.Start, "start", "states before the first update"},
		{&c.MaxSteps, "max-steps", "decisions after which a training episode is cut"},
		{&c.EvalEpisodes, "eval-episodes", "episodes that choose the best weights"},
		{&c.EvalSteps, "eval-steps", "decisions after which an episode of these is cut; 0: never"},
		{&c.TestEpisodes, "episodes", "episodes of the measurement at the end"},
		{&c.TestSteps, "test-steps", "decisions after which an episode of these is cut; 0: never; unless given, --eval-steps"},
	}
	for _, x := range ints {
		f.IntVar(x.to, x.name, 0, x.what+" (default: the recipe's)")
	}
	floats := []struct {
		to         *float64
		name, what string
	}{
		{&c.LR, "lr", "first learning rate of Adam"},
		{&c.FinalLR, "final-lr", "last learning rate as a share of the first"},
		{&c.Tau, "tau", "temperature that divides the teacher's outputs"},
		{&c.Mix, "mix", "share of the games that the student plays"},
		{&c.Epsilon, "epsilon", "chance of a random action in training"},
		{&c.HoldOut, "hold-out", "share of the episodes that measure agreement"},
		{&c.Float, "float", "share of the updates before the quantizers are put in, in whole segments"},
		{&c.Student.Hysteresis, "hysteresis", "of ternary weights"},
	}
	for _, x := range floats {
		f.Float64Var(x.to, x.name, 0, x.what+" (default: the recipe's)")
	}
	f.StringVar(&c.Preset, "preset", "", "Atari protocol: "+strings.Join(presets(), ", ")+" (default: the teacher's, else dqn2015)")
}

// presets lists the names of the Atari protocols.
func presets() []string {
	var names []string
	for _, p := range rl.AtariPresets() {
		names = append(names, p.Name)
	}
	return names
}

// config resolves the flags: the recipe for the student, with what was given in
// its place.
func (v *distillFlags) config(a *app, cmd *cobra.Command) (distill.Config, error) {
	c := distill.DefaultConfig(v.env, distill.DefaultStudent(v.student, v.bits))
	given := v.c
	set := cmd.Flags().Changed
	take(set, "updates", &c.Updates, given.Updates)
	take(set, "segment", &c.Segment, given.Segment)
	take(set, "envs", &c.Envs, given.Envs)
	take(set, "collect", &c.Collect, given.Collect)
	take(set, "batch", &c.Batch, given.Batch)
	take(set, "ring", &c.Ring, given.Ring)
	take(set, "start", &c.Start, given.Start)
	take(set, "max-steps", &c.MaxSteps, given.MaxSteps)
	take(set, "eval-episodes", &c.EvalEpisodes, given.EvalEpisodes)
	take(set, "eval-steps", &c.EvalSteps, given.EvalSteps)
	take(set, "eval-steps", &c.TestSteps, given.EvalSteps)
	take(set, "episodes", &c.TestEpisodes, given.TestEpisodes)
	take(set, "test-steps", &c.TestSteps, given.TestSteps)
	take(set, "lr", &c.LR, given.LR)
	take(set, "final-lr", &c.FinalLR, given.FinalLR)
	take(set, "tau", &c.Tau, given.Tau)
	take(set, "mix", &c.Mix, given.Mix)
	take(set, "epsilon", &c.Epsilon, given.Epsilon)
	take(set, "hold-out", &c.HoldOut, given.HoldOut)
	take(set, "float", &c.Float, given.Float)
	take(set, "hysteresis", &c.Student.Hysteresis, given.Student.Hysteresis)
	c.Preset, c.Seed, c.Student.Width = given.Preset, a.seed, v.width
	c.Loss = distill.Loss(v.loss)
	take(set, "mode", &c.Mode, rl.ActMode(v.mode))
	if v.teacherSteps < 0 {
		return c, usagef("--teacher-steps %d, want 0 or more", v.teacherSteps)
	}
	return c, usage(c.Validate())
}

// take replaces a setting where its flag was given.
func take[T any](set func(string) bool, flag string, to *T, given T) {
	if set(flag) {
		*to = given
	}
}

// minatar starts the names of the built-in games.
const minatar = "minatar/"

// checkEnv finds names of games that are wrong on any machine.
func checkEnv(env, preset string) error {
	if preset != "" && !slices.Contains(presets(), preset) {
		return usagef("--preset %q, want %s%s", preset, strings.Join(presets(), ", "), didYouMean(preset, presets()))
	}
	suite, game, _ := strings.Cut(env, "/")
	switch {
	case env == "":
		return usagef("no game: --env minatar/GAME or --env ale/GAME")
	case slices.Contains(rl.MinAtarNames(), env), suite == "ale" && game != "":
		return nil
	}
	var games []string // without the suite, which would make all of them alike
	for _, name := range rl.MinAtarNames() {
		games = append(games, strings.TrimPrefix(name, minatar))
	}
	near := ""
	if suite+"/" == minatar || game == "" {
		near = didYouMean(strings.TrimPrefix(env, minatar), games)
	}
	return usagef("game %q is unknown, have %s, and ale/GAME with Python and ale-py%s", env, strings.Join(rl.MinAtarNames(), ", "), near)
}

// checkAgent finds names of players that are wrong on any machine; words are
// those beside a path.
func checkAgent(flag, name, env string, words ...string) error {
	switch {
	case name == "":
		return usagef("no player: --%s %s or a path", flag, strings.Join(words, ", "))
	case name == "planner" && env != plannedGame:
		return usagef("--%s planner plays %s, not %s", flag, plannedGame, env)
	case slices.Contains(words, name):
		return nil
	}
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return usagef("--%s %q is neither %s nor a file%s", flag, name, strings.Join(words, ", "), didYouMean(name, words))
	}
	return nil
}

// plannedGame is the game of the planner.
const plannedGame = "minatar/breakout"

func (v *distillFlags) run(a *app, cmd *cobra.Command) error {
	if err := checkEnv(v.env, v.c.Preset); err != nil {
		return err
	}
	if err := checkAgent("teacher", v.teacher, v.env, "planner", "ppo", "dqn"); err != nil {
		return err
	}
	if v.from != "" {
		if _, err := os.Stat(v.from); err != nil {
			return usagef("--from %q is no run directory and no file", v.from)
		}
	}
	c, err := v.config(a, cmd)
	if err != nil {
		return err
	}
	game := strings.ReplaceAll(v.env, "/", "-")
	dir, err := a.runDir(fmt.Sprintf("%s-%s-%s-s%d", game, v.student, v.bits, a.seed), v.resume)
	if err != nil {
		return err
	}
	e := engine.New(a.threads)
	defer e.Close()
	line := a.progress()
	job := rl.Job{
		Engine: e, Dir: dir, Resume: v.resume, Force: a.force, Command: a.command(),
		Progress: line.distilling(v.teacher == "ppo" || v.teacher == "dqn", c.Updates),
	}
	line.set("distill " + v.env)
	r, err := play.Distill(a.ctx, play.DistillConfig{Teacher: v.teacher, TeacherSteps: v.teacherSteps, From: v.from, Distill: c}, job)
	line.clear()
	if err != nil {
		return hint(err, dir)
	}
	out := distillResult{r, engine.KernelRow(), e.Threads()}
	return a.print(out, false, func(w io.Writer) { distillText(w, out) })
}

// distilling is a callback for rl.Job.Progress; with a teacher that is trained
// first, the student's lines begin with the first agreement.
func (l *line) distilling(teacher bool, updates int) func(rl.Metric) {
	played := ""
	return func(m rl.Metric) {
		if m.Agreement != nil && teacher {
			teacher, played = false, ""
		}
		if m.Return != nil {
			played = fmt.Sprintf(", return %.2f +- %.2f", *m.Return, m.ReturnSE)
		}
		s := fmt.Sprintf("student %s update %s of %s", bar(float64(m.Updates)/float64(max(updates, 1))), thousands(int64(m.Updates)), thousands(int64(updates)))
		if teacher {
			s = fmt.Sprintf("teacher, %s decisions", thousands(m.Step))
		}
		if m.Kind == "train" {
			s += fmt.Sprintf(", loss %.4f", m.Loss)
		}
		if m.Agreement != nil {
			s += fmt.Sprintf(", agreement %.1f %%", 100**m.Agreement)
		}
		l.set(s + played + ", " + duration(m.Seconds))
	}
}

func distillText(w io.Writer, r distillResult) {
	table(w, [][]string{
		{"player", "return", "standard error"},
		{"student, " + r.Student + " " + r.Bits, fmt.Sprintf("%.2f", r.StudentReturn), fmt.Sprintf("%.2f", r.ReturnSE)},
		{"teacher, " + r.Teacher, fmt.Sprintf("%.2f", r.TeacherReturn), fmt.Sprintf("%.2f", r.TeacherSE)},
		{"random", fmt.Sprintf("%.2f", r.RandomReturn), ""},
	})
	cut, max := "", ""
	if r.MaxSteps > 0 {
		cut = fmt.Sprintf(" of at most %s decisions", thousands(int64(r.MaxSteps)))
		max = fmt.Sprintf(" --max-steps %d", r.MaxSteps)
	}
	fmt.Fprintf(w, "\nshare      %s of the way from random play to the teacher, over %d episodes%s\n", percent(r.Share), r.Episodes, cut)
	fmt.Fprintf(w, "agreement  %s on held-out episodes\n", percent(r.Agreement))
	how := "takes its best action"
	if r.Mode == string(rl.Sample) {
		how = fmt.Sprintf("draws its actions at temperature %g", r.Temperature)
	}
	fmt.Fprintf(w, "acts       %s\n", how)
	fmt.Fprintf(w, "time       %s for %s updates and %s decisions on %d threads (%s)\n", duration(r.Seconds),
		thousands(int64(r.Updates)), thousands(r.Steps), r.Threads, r.Kernel)
	on := ""
	if r.Student == distill.CoreNet && r.Bits == distill.Ternary {
		on = " --engine cores"
	}
	fmt.Fprintf(w, "run        %s\n\nnext: lowbit play --model %s --env %s%s%s --realtime --render\n", r.Run, r.Run, r.Env, on, max)
}
