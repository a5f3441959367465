// Package lowbit is the program as a library: a program of your own that
// registers its networks and calls Main has every verb of the command line for
// them.
//
//	func main() {
//		if err := model.Register("my-net", info, build); err != nil {
//			log.Fatal(err)
//		}
//		lowbit.Main() // my-program quantize --model my-net ...
//	}
package lowbit

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"lowbit/internal/cli"
)

// Main runs the command line of this process and exits: 0 done, 1 failed, 2
// wrong usage, 130 interrupted. The first interrupt lets a training write its
// checkpoint; the second ends the process at once.
func Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
