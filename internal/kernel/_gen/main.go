// Command _gen writes the assembly of package kernel, one set of files for
// each family of kernels:
//
//	go run . -set mat -out ../mat_amd64.s -stubs ../mat_stubs_amd64.go -pkg kernel
//	go run . -set vec -out ../vec_amd64.s -stubs ../vec_stubs_amd64.go -pkg kernel
package main

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/mmcloughlin/avo/build"
)

// sets maps the name of a family to the function that emits it. Each family
// enters itself from an init function in its own file.
var sets = map[string]func(){}

func main() {
	set := flag.String("set", "", "family of kernels to write")
	flag.Parse() // avo has registered -out, -stubs and -pkg
	emit, ok := sets[*set]
	if !ok {
		var have []string
		for name := range sets {
			have = append(have, name)
		}
		sort.Strings(have)
		fmt.Fprintf(os.Stderr, "_gen: set %q does not exist, have %s\n", *set, strings.Join(have, ", "))
		os.Exit(2)
	}
	build.ConstraintExpr("amd64,!noasm,gc")
	emit()
	build.Generate()
}
