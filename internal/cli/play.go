package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"lowbit/app/play"
	"lowbit/rl"
)

const playHelp = `Lets a policy play a game and measures its return and the time of each decision.

--model is a run directory of distill, a published agent (.safetensors, .zip), or
planner. --engine integer plays a student of few bits on its packed codes, --engine
cores a ternary corenet on simulated neurosynaptic cores, after a proof that they
equal the trained network's integers; both count the decisions that the trained
network on floats would have made otherwise. A decision is one thread's work unless
--threads says more. Games last as long as they do unless --max-steps cuts them;
distill measures on games cut after its --eval-steps. --realtime gives a decision at each frame of a screen of --hz; one that
is not there when the next frame comes has missed its deadline. An Atari agent's
decision lasts the frames of its preset.

--render draws the game in the terminal, --gif writes an animation. With --seconds
the play ends after that time. Ctrl-C ends it, too, and shows what was played.

Games: minatar/GAME is built in; ale/GAME needs Python with ale-py and numpy
($LOWBIT_PYTHON names the interpreter).`

const playExample = `  lowbit play --model planner --env minatar/breakout --realtime --hz 15 --render
  lowbit play --model runs/core --engine cores --episodes 20 --json
  lowbit play --model runs/b2 --engine integer --max-steps 1000
  lowbit play --model runs/b2 --episodes 1 --gif breakout.gif`

type playFlags struct {
	play.Config
	mode, preset string
	render       bool
}

func (a *app) play() *cobra.Command {
	var v playFlags
	cmd := &cobra.Command{
		Use: "play --model MODEL --env ENV", Short: "let a policy play a game",
		Long: playHelp, Example: playExample, Args: none,
		RunE: func(*cobra.Command, []string) error { return v.run(a) },
	}
	f := cmd.Flags()
	f.StringVar(&v.Model, "model", "", "an agent's run directory or file, or planner")
	f.StringVar(&v.Env, "env", "", "minatar/GAME or ale/GAME (default: the agent's)")
	f.StringVar(&v.Engine, "engine", play.Float, strings.Join(play.Engines(), ", "))
	f.IntVar(&v.Episodes, "episodes", 10, "games to play")
	f.IntVar(&v.MaxSteps, "max-steps", 0, "decisions after which a game is cut; 0: the game's own limit")
	f.Float64Var(&v.Seconds, "seconds", 0, "end the play after this time; 0: when the games are over")
	f.StringVar(&v.mode, "mode", "", "greedy or sample (default: the agent's)")
	f.Float64Var(&v.Epsilon, "epsilon", 0, "chance of a random action")
	f.BoolVar(&v.Realtime, "realtime", false, "decide at the rate of the screen and count missed deadlines")
	f.Float64Var(&v.Hz, "hz", 60, "frames a second of the screen")
	f.BoolVar(&v.render, "render", false, "draw the game in the terminal")
	f.StringVar(&v.GIF, "gif", "", "file for an animation")
	f.IntVar(&v.GIFFrames, "gif-frames", 900, "longest animation")
	f.IntVar(&v.Scale, "scale", 0, "pixels of a cell in the animation; 0: by the game")
	f.StringVar(&v.preset, "preset", "", "Atari protocol: "+strings.Join(presets(), ", ")+" (default: the agent's)")
	return cmd
}

// resolve completes and checks the settings.
func (v *playFlags) resolve(a *app) error {
	v.Seed, v.Threads, v.Mode = a.seed, a.threads, rl.ActMode(v.mode)
	if err := v.game(); err != nil {
		return err
	}
	if v.preset != "" {
		o := rl.DefaultAtari()
		o.Preset = v.preset
		v.Atari = &o
	}
	if err := v.Config.Validate(); err != nil {
		return usage(err)
	}
	if v.render {
		if _, ok := isTerminal(a.stderr); !ok {
			return usagef("--render draws on stderr, which is no terminal; --gif FILE writes an animation")
		}
		v.Render = a.stderr
	}
	for _, path := range []string{v.GIF, a.out} {
		if path == "" {
			continue
		}
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return err
		}
		if err := a.free(path); err != nil {
			return err
		}
	}
	return nil
}

// game checks the player and takes the game from it where none is named.
func (v *playFlags) game() error {
	if v.Model == "planner" && v.Env == "" {
		v.Env = plannedGame
	}
	if v.Env != "" {
		if err := checkEnv(v.Env, v.preset); err != nil {
			return err
		}
	}
	if err := checkAgent("model", v.Model, v.Env, "planner"); err != nil || v.Env != "" {
		return err
	}
	agent, err := rl.OpenAgent(v.Model, nil)
	if err != nil {
		return fmt.Errorf("%w\nName the game, too: --env minatar/GAME or --env ale/GAME", err)
	}
	v.Env = agent.Info.Env
	return checkEnv(v.Env, v.preset)
}

func (v *playFlags) run(a *app) error {
	if err := v.resolve(a); err != nil {
		return err
	}
	line := a.progress()
	if !v.render {
		line.set(fmt.Sprintf("%s plays %d games of %s", shortName(v.Model), v.Episodes, v.Env))
	}
	r, err := play.Run(a.ctx, v.Config)
	line.clear()
	if r == nil {
		return err
	}
	return errors.Join(a.print(r, true, func(w io.Writer) { playText(w, r) }), err)
}

func playText(w io.Writer, r *play.Report) {
	fmt.Fprintf(w, "game       %s (%s)\n", r.Env, r.Version)
	if r.Episodes > 0 {
		cut := ""
		if r.MaxSteps > 0 {
			cut = fmt.Sprintf(", cut after %s", thousands(int64(r.MaxSteps)))
		}
		fmt.Fprintf(w, "return     %.2f +- %.2f, %d episodes of %.0f decisions%s\n", r.MeanReturn, r.ReturnSE, r.Episodes, r.MeanLength, cut)
	} else {
		fmt.Fprintln(w, "return     not measured: no episode has ended")
	}
	fmt.Fprintf(w, "decision   %.3f ms (median), %.3f ms (99 %%), %.3f ms (longest) of %s, engine %s\n",
		r.DecisionMs.P50, r.DecisionMs.P99, r.DecisionMs.Max, thousands(int64(r.Decisions)), r.Engine)
	if r.Realtime {
		fmt.Fprintf(w, "deadlines  %s missed; a decision alone took %.3f ms (median), %.3f ms (99 %%)\n", thousands(int64(r.Missed)), r.AloneMs.P50, r.AloneMs.P99)
	}
	if u := r.IntegerUse; u != nil {
		fmt.Fprintf(w, "integers   %s of weights (%s), %d decisions unlike the trained network's on floats\n",
			size(int64(u.WeightBytes)), u.Kernel, u.Different)
	}
	if c := r.CoreUse; c != nil {
		fmt.Fprintf(w, "cores      %d, %d ticks a decision, %s spikes, %d decisions unlike the trained network's\n",
			c.Cores, c.Latency, thousands(c.Events.Spikes), c.Different)
	}
	if r.GIF != "" {
		fmt.Fprintf(w, "animation  %s\n", r.GIF)
	}
	fmt.Fprintf(w, "time       %s\n", duration(r.Seconds))
}
