// Package cli is the command line: one file a verb. A verb reads its flags,
// fills the Config of a room, calls it and prints. What the verbs and their
// JSON are called stands in the contract that scripts rely on: fields are added,
// none is renamed.
//
// Results go to stdout, errors, warnings and progress to stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lowbit/train"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// usageError is a mistake in the command itself: it would be one on any
// machine.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// usage marks an error as one of usage; nil stays nil.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// errPrinted ends a verb whose result tells the failure already.
var errPrinted = errors.New("failed")

// app is the state of one call.
type app struct {
	ctx            context.Context
	args           []string // without the program's name
	stdout, stderr io.Writer

	// The common flags.
	threads int
	seed    uint64
	out     string
	config  string
	dataDir string
	force   bool
	json    bool
	quiet   bool
}

// Run executes the command line args (without the program's name) and returns
// the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted. It prints all
// errors itself and does not panic.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	a := &app{ctx: ctx, args: args, stdout: stdout, stderr: stderr}
	defer func() {
		if p := recover(); p != nil {
			buf := make([]byte, 16<<10)
			fmt.Fprintf(stderr, "lowbit: internal error: %v\n%s\n", p, buf[:runtime.Stack(buf, false)])
			code = exitFailed
		}
	}()
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return a.exit(cmd, err)
}

// exit prints an error and returns the code for it.
func (a *app) exit(cmd *cobra.Command, err error) int {
	var u usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errPrinted):
		return exitFailed
	case errors.Is(err, train.ErrInterrupted) || a.ctx.Err() != nil && errors.Is(err, a.ctx.Err()):
		fmt.Fprintf(a.stderr, "lowbit: %v\n", err)
		return exitInterrupted
	case errors.As(err, &u):
		fmt.Fprintf(a.stderr, "lowbit: %v\nRun \"%s --help\" for the flags and an example.\n", err, cmd.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(a.stderr, "lowbit: %v\n", err)
	return exitFailed
}

const rootHelp = `lowbit takes a neural network and returns one that runs at 8, 4, 3 or 2 bits.

It trains, quantizes and evaluates networks on the CPU, in one program without
Python. Start here:

  lowbit quickstart                 the whole job on real data, in minutes
  lowbit help quantize              the methods, with examples

A MODEL is a name of the zoo (lowbit model list), a run directory, or a weights
file. DATA is cifar10, fashion-mnist or imagefolder:PATH. ENV is minatar/GAME or
ale/GAME.`

// root builds the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "lowbit", Short: "low-bit neural networks: train, quantize, evaluate", Long: rootHelp,
		SilenceErrors: true, SilenceUsage: true,
		SuggestionsMinimumDistance: 2,
		Args:                       a.unknownVerb,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				return usagef("no verb given")
			}
			return cmd.Help()
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetHelpCommand(a.help())
	f := root.PersistentFlags()
	f.IntVar(&a.threads, "threads", 0, "worker threads; 0: one a core")
	f.Uint64Var(&a.seed, "seed", 1, "seed of everything random")
	f.StringVar(&a.out, "out", "", "run directory, or file for the result")
	f.StringVar(&a.config, "config", "", "YAML or TOML file with flags by name; flags given here win")
	f.StringVar(&a.dataDir, "data-dir", "", "folder of data sets (default: $LOWBIT_DATA, else the user's cache folder + /lowbit)")
	f.BoolVar(&a.force, "force", false, "overwrite an existing --out")
	f.BoolVar(&a.json, "json", false, "print the result as one JSON object")
	f.BoolVar(&a.quiet, "quiet", false, "no progress")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(withFlagSuggestion(cmd, err)) })
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return a.before(cmd) }
	for _, c := range []*cobra.Command{
		a.quickstart(), a.data(), a.model(), a.inspect(), a.train(), a.quantize(), a.selectBits(), a.sweep(), a.eval(), a.analyze(),
		a.distill(), a.play(), a.export(), a.verify(), a.run(), a.serve(), a.bench(), a.report(), a.selftest(), a.version(),
	} {
		root.AddCommand(c)
	}
	return root
}

// before runs ahead of every verb.
func (a *app) before(cmd *cobra.Command) error {
	if a.config != "" {
		if err := applyConfig(cmd, a.config); err != nil {
			return err
		}
	}
	if a.threads < 0 {
		return usagef("--threads %d, want 0 or more", a.threads)
	}
	return nil
}

// unknownVerb is the root's argument check.
func (a *app) unknownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usagef("unknown verb %q%s", args[0], didYouMean(args[0], names))
}

// group is a verb that only has verbs below it.
func (a *app) group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: a.unknownVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return usagef("%s: no verb given", cmd.CommandPath()) },
	}
	c.AddCommand(verbs...)
	return c
}

// withFlagSuggestion adds the nearest flag's name to pflag's error.
func withFlagSuggestion(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	name := "--" + strings.TrimLeft(unknown.GetSpecifiedName(), "-")
	return fmt.Errorf("%w%s", err, didYouMean(name, names))
}

// exactly demands n arguments and says what they are.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("%d arguments, want %s", len(args), what)
		}
		return nil
	}
}

// none demands that there are no arguments.
func none(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	return nil
}

// help is the verb that explains verbs.
func (a *app) help() *cobra.Command {
	return &cobra.Command{
		Use: "help [VERB]", Short: "explain a verb, with an example",
		RunE: func(cmd *cobra.Command, args []string) error {
			at := cmd.Root()
			for _, name := range args {
				next, _, err := at.Find([]string{name})
				if err != nil || next == at {
					return a.unknownVerb(at, []string{name})
				}
				at = next
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}
