package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"lowbit/app/bench"
	"lowbit/engine"
	"lowbit/rl"
	"lowbit/train"
)

const benchEnvHelp = `Measures how many decisions a second an environment plays, at random. A minatar game
runs on one thread; an Atari game in one worker process, beside which this program
makes the views.`

const benchEnvExample = `  lowbit bench env --env minatar/breakout
  lowbit bench env --env ale/pong --envs 8 --json`

type benchEnvResult struct {
	bench.EnvResult
	Machine train.Machine `json:"machine"`
}

func (a *app) benchEnv() *cobra.Command {
	c := bench.EnvConfig{}
	cmd := &cobra.Command{
		Use: "env --env ENV", Short: "measure a game's decisions a second",
		Long: benchEnvHelp, Example: benchEnvExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkEnv(c.Env, c.Preset); err != nil {
				return err
			}
			if c.Seed = a.seed; c.Envs == 0 {
				if c.Envs = 128; !strings.HasPrefix(c.Env, minatar) {
					c.Envs = 8
				}
			}
			if c.Envs < 1 || c.Envs > rl.MaxEnvs || !(c.Seconds > 0) {
				return usagef("--envs %d, --seconds %g: want 1..%d and more than 0", c.Envs, c.Seconds, rl.MaxEnvs)
			}
			machine := train.ThisMachine()
			line := a.progress()
			line.set("random play in " + c.Env)
			r, err := bench.Env(a.ctx, c)
			line.clear()
			if err != nil {
				return err
			}
			return a.print(benchEnvResult{r, machine}, true, func(w io.Writer) {
				fmt.Fprintf(w, "game       %s, %d in lock-step\nspeed      %s decisions/s (median of stretches of milliseconds; %s over all), %.0f ns each\n",
					r.Version, r.Envs, thousands(int64(r.DecisionsPerS)), thousands(int64(r.MeanPerS)), r.NanosecondsEach)
				fmt.Fprintf(w, "played     %s decisions, %s episodes\nmachine    %s, load %.2f before\n", thousands(r.Decisions), thousands(int64(r.Episodes)), machine.CPU, machine.Load)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Env, "env", "", "minatar/GAME or ale/GAME")
	f.IntVar(&c.Envs, "envs", 0, "games in lock-step (default: 128, Atari 8)")
	f.Float64Var(&c.Seconds, "seconds", 3, "how long to play")
	f.StringVar(&c.Preset, "preset", "", "Atari protocol: "+strings.Join(presets(), ", ")+" (default: dqn2015)")
	return cmd
}

const benchCoresHelp = `Measures the simulator of neurosynaptic cores on a ternary corenet: --model, or one
for a screen of 84 x 84 with random weights. The net is mapped; the cores are proved
equal to its integers; on random states every neuron of the trained network, the
integers and the cores is compared. Then ticks are timed with a new frame in each,
and, with --seconds, frames are played at --hz, each alone through all its ticks.
One thread unless --threads says more.`

const benchCoresExample = `  lowbit bench cores
  lowbit bench cores --model runs/core --states 1000
  lowbit bench cores --seconds 600 --hz 60 --json`

type benchCoresResult struct {
	bench.CoresResult
	Model   string        `json:"model,omitempty"`
	Machine train.Machine `json:"machine"`
}

func (a *app) benchCores() *cobra.Command {
	var c bench.CoresConfig
	var model string
	cmd := &cobra.Command{
		Use: "cores", Short: "measure the simulator of cores",
		Long: benchCoresHelp, Example: benchCoresExample, Args: none,
		RunE: func(*cobra.Command, []string) error { return a.runBenchCores(model, c) },
	}
	f := cmd.Flags()
	f.StringVar(&model, "model", "", "a ternary corenet's run directory (default: random weights, 84 x 84)")
	f.IntVar(&c.Ticks, "ticks", 500, "ticks that are timed")
	f.IntVar(&c.States, "states", 64, "random states on which all neurons are compared")
	f.Float64Var(&c.Seconds, "seconds", 0, "play in real time for so long")
	f.Float64Var(&c.Hz, "hz", 60, "frames a second of that play")
	return cmd
}

func (a *app) runBenchCores(model string, c bench.CoresConfig) error {
	if c.Ticks < 1 || c.States < 1 || !(c.Seconds >= 0) || !(c.Hz > 0) {
		return usagef("--ticks %d, --states %d, --seconds %g, --hz %g: want at least 1, and none negative", c.Ticks, c.States, c.Seconds, c.Hz)
	}
	c.Seed, c.Threads = a.seed, max(a.threads, 1)
	if model != "" {
		agent, err := rl.OpenAgent(model, nil)
		if err != nil {
			return err
		}
		c.Agent = agent
	}
	machine := train.ThisMachine()
	e := engine.New(c.Threads)
	defer e.Close()
	line := a.progress()
	line.set("mapping, comparing and simulating")
	r, err := bench.Cores(a.ctx, e, c)
	line.clear()
	if err != nil {
		return err
	}
	return a.print(benchCoresResult{r, model, machine}, true, func(w io.Writer) {
		u := r.Resources
		fmt.Fprintf(w, "network    %s cores, %s neurons, %s synapses, %d ticks a frame\n", thousands(int64(u.Cores)), thousands(int64(u.Neurons)), thousands(int64(u.Synapses)), u.LatencyTicks)
		fmt.Fprintf(w, "equality   %s mismatches in %s neuron outputs, %s on cores, and %s decisions\n", thousands(r.Mismatches), thousands(r.Outputs), thousands(r.CoreOutputs), thousands(r.Decisions))
		fmt.Fprintf(w, "speed      %.2f us a core and tick, %.2f ms a tick (median), %s synaptic events/s\n", r.USPerCoreTick, r.MSPerTick, thousands(int64(r.SynapticEventsS)))
		if t := r.Realtime; t != nil {
			fmt.Fprintf(w, "realtime   %s missed of %s frames at %g Hz; %.2f ms median, %.2f ms 99 %%, %.2f ms longest\n", thousands(int64(t.Missed)), thousands(int64(t.Frames)), r.Hz, t.P50MS, t.P99MS, t.MaxMS)
		}
		fmt.Fprintf(w, "machine    %s, load %.2f before\n", machine.CPU, machine.Load)
	})
}
