package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// maxConfigBytes bounds a config file.
const maxConfigBytes = 1 << 20

// applyConfig sets the flags that a config file names and the command line does
// not. A key that is no flag of the verb is an error.
func applyConfig(cmd *cobra.Command, path string) error {
	values, err := readConfig(path)
	if err != nil {
		return err
	}
	var keys []string
	for k := range values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		f := cmd.Flags().Lookup(k)
		if f == nil || k == "config" || k == "help" {
			return usagef("config %s: unknown key %q%s", path, k, didYouMean(k, flagNames(cmd)))
		}
		if f.Changed {
			continue
		}
		text, err := configValue(values[k])
		if err != nil {
			return usagef("config %s: %s: %v", path, k, err)
		}
		if err := cmd.Flags().Set(k, text); err != nil {
			return usagef("config %s: %v", path, err)
		}
	}
	return nil
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "config" && f.Name != "help" {
			names = append(names, f.Name)
		}
	})
	return names
}

// readConfig parses a file by its ending.
func readConfig(path string) (map[string]any, error) {
	if s, err := os.Stat(path); err == nil && s.Size() > maxConfigBytes {
		return nil, fmt.Errorf("config %s: %d bytes, want at most %d", path, s.Size(), maxConfigBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	var values map[string]any
	switch strings.ToLower(filepath.Ext(path)) {
	case ".yaml", ".yml":
		err = yaml.Unmarshal(b, &values)
	case ".toml":
		err = toml.Unmarshal(b, &values)
	default:
		return nil, usagef("config %s: want a file of type .yaml, .yml or .toml", path)
	}
	if err != nil {
		return nil, usagef("config %s: %v", path, err)
	}
	return values, nil
}

// configValue writes a value as a flag takes it.
func configValue(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v), nil
	case []any:
		var parts []string
		for _, x := range v {
			s, err := configValue(x)
			if err != nil {
				return "", err
			}
			parts = append(parts, s)
		}
		return strings.Join(parts, ","), nil
	}
	return "", fmt.Errorf("a value of type %T, want text, a number, true, false or a list of them", v)
}
