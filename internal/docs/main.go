// Command docs keeps the numbers in the documentation honest: it runs commands
// and keeps what they printed as records in docs/results, and it writes the
// tables of the Markdown pages from those records.
//
//	go run ./internal/docs record NAME [-group G] -- COMMAND ARGS...
//	go run ./internal/docs keep NAME [-group G] RUN       keep a run directory's record
//	go run ./internal/docs fit NAME X Y PATTERN...   a line of Y against log2(X) of records
//	go run ./internal/docs weights NAME RUN               make RUN's weights part of the program
//	go run ./internal/docs tables          write the tables
//	go run ./internal/docs tables -check   fail if a table differs
//
// NAME of a new record is FOLDER/NAME: docs/results has a folder for each thing that is
// measured. Names are unique, and everything else finds a record by its name alone.
//
// A table stands between two comments; the first names the records (a pattern
// of names) and the columns, each a path into the record, a format (% for
// a percentage, .N for N decimals) and a heading:
//
//	<!-- table eval-*: name=network, result.accuracy%=accuracy -->
//	<!-- end -->
//
// Records of one group make one row: numbers become mean ± standard deviation.
// A table of the elements of a list in one record, those with some values alone:
//
//	<!-- each sweep-small result.pairs method=eagl,alps: baseline=against, difference%=points -->
//	<!-- end -->
//
// A number within a line, of one record or of one group:
//
//	loses <!-- value faq-w8a8 result.accuracy% -->91.70 %<!-- -->
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want record, keep, fit, weights or tables; see go doc ./internal/docs")
	}
	switch args[0] {
	case "record":
		return record(args[1:])
	case "keep":
		return keep(args[1:])
	case "fit":
		return fit(args[1:])
	case "weights":
		return weights(args[1:])
	case "tables":
		f := flag.NewFlagSet("tables", flag.ContinueOnError)
		check := f.Bool("check", false, "fail if a table differs instead of writing it")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		return tables(".", *check)
	}
	return fmt.Errorf("unknown action %q, want record, keep, fit, weights or tables", args[0])
}
