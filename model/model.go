// Package model is the zoo: network architectures over nn, by name. It reads no
// files; package load puts weights onto what is built here.
package model

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"lowbit/graph"
	"lowbit/nn"
)

// Info describes a network of the zoo: what it is for and how its input is
// prepared. The json form is kept in run directories and weight files.
type Info struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	InputShape  []int  `json:"input_shape"`       // channels, height, width
	Classes     int    `json:"classes"`           // of Dataset
	Dataset     string `json:"dataset,omitempty"` // such as "cifar10"
	// Mean and Std, one for each channel: a pixel p of 0..255 enters as
	// (p/255 - Mean)/Std.
	Mean []float32 `json:"mean"`
	Std  []float32 `json:"std"`
}

// Config is what may differ from the network as published. The zero value is
// that network at batch 1.
type Config struct {
	Classes    int     `json:"classes,omitempty"`     // 0: Info.Classes
	Width      float64 `json:"width,omitempty"`       // factor on all channel numbers, 0: 1
	InputShape []int   `json:"input_shape,omitempty"` // channels, height, width; nil: Info.InputShape
	Batch      int     `json:"batch,omitempty"`       // examples a run, 0: 1; graph.WithBatch changes it later
}

// Builder makes the network that a resolved Config (no zero fields) describes.
// The graph follows the convention of package nn.
type Builder func(Config) (*graph.Graph, error)

type entry struct {
	info  Info
	build Builder
}

var (
	mu  sync.RWMutex
	zoo = map[string]entry{}
)

// ErrUnknown is wrapped by the error for a name that is not in the zoo.
var ErrUnknown = errors.New("no such model")

// Register adds a network under a name; a program calls it before it asks for
// the network, usually from main. The name must be new and the info complete.
func Register(name string, info Info, build Builder) error {
	info.Name = name
	if err := info.check(); err != nil {
		return fmt.Errorf("model: register %q: %w", name, err)
	}
	if build == nil {
		return fmt.Errorf("model: register %q: no builder", name)
	}
	mu.Lock()
	defer mu.Unlock()
	if _, ok := zoo[name]; ok {
		return fmt.Errorf("model: register %q: the name is taken", name)
	}
	zoo[name] = entry{info.clone(), build}
	return nil
}

func (i Info) check() error {
	switch {
	case i.Name == "" || strings.ContainsAny(i.Name, "/\\. \t\n"):
		return errors.New("want a name without dots, slashes and spaces, so that it cannot be a path")
	case len(i.InputShape) != 3 || slices.Min(i.InputShape) < 1:
		return fmt.Errorf("input shape %v, want channels, height, width", i.InputShape)
	case i.Classes < 1:
		return fmt.Errorf("%d classes, want at least 1", i.Classes)
	case len(i.Mean) != i.InputShape[0] || len(i.Std) != i.InputShape[0]:
		return fmt.Errorf("%d means and %d deviations for %d channels", len(i.Mean), len(i.Std), i.InputShape[0])
	}
	for _, s := range i.Std {
		if !(s > 0) {
			return fmt.Errorf("deviations %v, want positive ones", i.Std)
		}
	}
	return nil
}

func (i Info) clone() Info {
	i.InputShape, i.Mean, i.Std = slices.Clone(i.InputShape), slices.Clone(i.Mean), slices.Clone(i.Std)
	return i
}

// Names returns the names of all networks, sorted.
func Names() []string {
	mu.RLock()
	defer mu.RUnlock()
	return slices.Sorted(maps.Keys(zoo))
}

// Lookup returns what is known of a network; false if the zoo has none of that
// name.
func Lookup(name string) (Info, bool) {
	mu.RLock()
	defer mu.RUnlock()
	e, ok := zoo[name]
	return e.info.clone(), ok
}

// Build makes a network. Errors name the model; ErrUnknown lists the zoo.
func Build(name string, c Config) (*graph.Graph, error) {
	mu.RLock()
	e, ok := zoo[name]
	mu.RUnlock()
	if !ok {
		return nil, fmt.Errorf("model: %w %q, have %s", ErrUnknown, name, strings.Join(Names(), ", "))
	}
	g, err := e.make(c)
	if err != nil {
		return nil, fmt.Errorf("model: %s: %w", name, err)
	}
	return g, nil
}

func (e entry) make(c Config) (*graph.Graph, error) {
	if c.Classes == 0 {
		c.Classes = e.info.Classes
	}
	if c.Width == 0 {
		c.Width = 1
	}
	if c.InputShape == nil {
		c.InputShape = slices.Clone(e.info.InputShape)
	}
	if c.Batch == 0 {
		c.Batch = 1
	}
	switch {
	case c.Classes < 1:
		return nil, fmt.Errorf("%d classes, want at least 1", c.Classes)
	case !(c.Width > 0) || c.Width > maxWidth:
		return nil, fmt.Errorf("width %g outside (0, %d]", c.Width, maxWidth)
	case len(c.InputShape) != 3 || slices.Min(c.InputShape) < 1:
		return nil, fmt.Errorf("input shape %v, want channels, height, width", c.InputShape)
	case c.Batch < 1:
		return nil, fmt.Errorf("batch %d, want at least 1", c.Batch)
	}
	g, err := e.build(c)
	if err != nil {
		return nil, err
	}
	if g.Err() != nil {
		return nil, g.Err()
	}
	if g.InputNode(nn.InputName) == nil || g.OutputNode(nn.LogitsName) == nil {
		return nil, fmt.Errorf("the builder made no input %q or no output %q", nn.InputName, nn.LogitsName)
	}
	return g, nil
}

const maxWidth = 64

// Input starts a graph with the network's input.
func (c Config) Input() (*graph.Graph, *graph.Node) {
	g := graph.New()
	return g, nn.Input(g, append([]int{c.Batch}, c.InputShape...)...)
}

// Channels scales a channel number by Width and rounds it to a multiple of 4,
// at least 4; numbers at width 1 stay as they are.
func (c Config) Channels(n int) int {
	if c.Width == 1 {
		return n
	}
	return max(4, int(math.Round(float64(n)*c.Width/4))*4)
}

// must registers a network of this package; its infos are right by test.
func must(name string, info Info, build Builder) {
	if err := Register(name, info, build); err != nil {
		panic(err)
	}
}

// Infos of the data sets that the networks here are for.
func cifar10(description string) Info {
	return Info{
		Description: description, InputShape: []int{3, 32, 32}, Classes: 10, Dataset: "cifar10",
		// The constants of ImageNet: the published CIFAR ResNets used them.
		Mean: []float32{.485, .456, .406}, Std: []float32{.229, .224, .225},
	}
}

func imagenet(description string) Info {
	return Info{
		Description: description, InputShape: []int{3, 224, 224}, Classes: 1000, Dataset: "imagenet",
		Mean: []float32{.485, .456, .406}, Std: []float32{.229, .224, .225},
	}
}
