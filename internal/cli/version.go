package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"lowbit/engine"
)

// Version is the program's version.
const Version = "0.1.0"

// versionResult is the verb's result.
type versionResult struct {
	OK      bool     `json:"ok"`
	Version string   `json:"version"`
	Commit  string   `json:"commit,omitempty"`
	Go      string   `json:"go"`
	OS      string   `json:"os"`
	Arch    string   `json:"arch"`
	Kernel  string   `json:"kernel"`
	Kernels []string `json:"kernels"` // what this CPU can run
	Cores   int      `json:"cores"`
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "show the version and the active kernel", Args: none,
		Long:    "Shows the version, and the kernel row that this CPU runs; LOWBIT_KERNEL=NAME chooses another.",
		Example: "  lowbit version\n  LOWBIT_KERNEL=generic lowbit version --json",
		RunE: func(*cobra.Command, []string) error {
			r := versionResult{
				OK: true, Version: Version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
				Kernel: engine.KernelRow(), Kernels: engine.KernelRows(), Cores: runtime.NumCPU(),
			}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						r.Commit = s.Value
					}
				}
			}
			return a.print(r, true, func(w io.Writer) {
				fmt.Fprintf(w, "lowbit %s", r.Version)
				if r.Commit != "" {
					fmt.Fprintf(w, " (%.12s)", r.Commit)
				}
				fmt.Fprintf(w, "\n%s %s/%s, %d cores\nkernel %s of %v\n", r.Go, r.OS, r.Arch, r.Cores, r.Kernel, r.Kernels)
			})
		},
	}
}
