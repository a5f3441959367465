package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"lowbit/train"
)

// resultsDir holds the records.
const resultsDir = "docs/results"

// Record is one file of docs/results: a command, where it ran, and the JSON
// object that it printed.
type Record struct {
	Name    string          `json:"name"`
	Group   string          `json:"group,omitempty"`
	Command []string        `json:"command"`
	Commit  string          `json:"commit"`
	Changed bool            `json:"changed,omitempty"` // the tree differed from Commit
	Date    string          `json:"date"`
	Machine train.Machine   `json:"machine"`
	Seconds float64         `json:"seconds"`
	Result  json.RawMessage `json:"result"`
}

// record runs a command that prints one JSON object (or JSON lines) and keeps
// it.
func record(args []string) error {
	name, group, args, err := names(args)
	if err != nil {
		return err
	}
	if len(args) < 2 || args[0] != "--" {
		return fmt.Errorf("record: want NAME [-group G] -- COMMAND")
	}
	args = args[1:]
	r := Record{Name: name, Group: group, Command: portable(args), Date: time.Now().UTC().Format(time.RFC3339), Machine: train.ThisMachine()}
	r.Commit, r.Changed = commit()
	var out bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("record: %s: %w", args[0], err)
	}
	r.Seconds = time.Since(start).Seconds()
	result, err := oneObject(out.Bytes())
	if err != nil {
		return fmt.Errorf("record: %s: %w", args[0], err)
	}
	if r.Result, err = portableResult(result); err != nil {
		return fmt.Errorf("record: %s: %w", args[0], err)
	}
	return r.write()
}

func (r Record) write() error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(resultsDir, r.Name+".json"), append(b, '\n'), 0o644)
}

// names takes the record's name and group off the arguments.
func names(args []string) (name, group string, rest []string, err error) {
	for len(args) > 0 && args[0] != "--" {
		switch {
		case args[0] == "-group" && len(args) > 1:
			group, args = args[1], args[1:]
		case name == "":
			name = args[0]
		default:
			return name, group, args, nil
		}
		args = args[1:]
	}
	if name == "" {
		err = fmt.Errorf("want the record's name")
	}
	return name, group, args, err
}

// oneObject returns the JSON object a program printed, or the list of those it
// printed on lines of their own.
func oneObject(out []byte) (json.RawMessage, error) {
	out = bytes.TrimSpace(out)
	if json.Valid(out) {
		return out, nil
	}
	var list []json.RawMessage
	for _, line := range bytes.Split(out, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] == '{' && json.Valid(line) {
			list = append(list, line)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("printed no JSON: %.200q", out)
	}
	return json.Marshal(list)
}

// absolutePath is a JSON string, no key, that is a path of at least two elements
// from the root.
var absolutePath = regexp.MustCompile(`"/(?:[^"\\/]+/)+([^"\\/]+)"(\s*[,}\]])`)

// portableResult shortens strings of a result that are absolute paths as portable
// does; the rest of its bytes stay as they were printed.
func portableResult(result json.RawMessage) (json.RawMessage, error) {
	out := absolutePath.ReplaceAll(result, []byte(`"$1"$2`))
	if !json.Valid(out) {
		return nil, fmt.Errorf("a result that is no JSON without its paths: %.200q", out)
	}
	return out, nil
}

// portable shortens paths outside the checkout to their last element, so that
// no record names a folder of one machine.
func portable(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a
		if filepath.IsAbs(a) {
			out[i] = filepath.Base(a)
		}
	}
	return out
}

// commit returns the checked-out commit and whether the tree differs from it in more
// than records, which no program reads.
func commit() (string, bool) {
	id, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown", true
	}
	changes, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":/!"+resultsDir).Output()
	return strings.TrimSpace(string(id)), err != nil || len(bytes.TrimSpace(changes)) > 0
}
