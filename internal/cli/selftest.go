package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lowbit/app/selftest"
)

func (a *app) selftest() *cobra.Command {
	return &cobra.Command{
		Use: "selftest", Short: "prove the kernels on this machine", Args: none,
		Long: `Trains one step of a small network at 4 bits on each kernel row this CPU can run
and compares loss, gradients and parameters with PyTorch's, which are part of the
program. Takes a second.`,
		Example: "  lowbit selftest\n  lowbit selftest --json",
		RunE: func(*cobra.Command, []string) error {
			r := selftest.Run()
			err := a.print(r, true, func(w io.Writer) {
				rows := [][]string{{"kernel", "result", "worst difference", "time"}}
				for _, c := range r.Checks {
					result := "ok"
					if !c.OK {
						result = "FAILED: " + c.Failure
					}
					rows = append(rows, []string{c.Kernel, result, fmt.Sprintf("%.0f %% of its bound", 100*c.Worst), duration(c.Seconds)})
				}
				table(w, rows)
				fmt.Fprintf(w, "\nactive kernel: %s\n", r.Kernel)
			})
			if err == nil && !r.OK {
				return errPrinted
			}
			return err
		},
	}
}
