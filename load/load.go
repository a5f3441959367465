// Package load turns what a user names into a network with its weights: a zoo
// name, a run directory, or a weights file.
//
//	resnet20                       a zoo network with the weights built into the program
//	resnet20 + weights file        a zoo network with those weights
//	runs/r20-w4                    a run directory: its graph.json and the weights it reports
//	runs/r20-w4/best.safetensors   a weights file of a run, on the run's graph
//	net.safetensors                a file that holds its graph, names a zoo network, or fits one
//	net.onnx                       an ONNX model of images, in full precision or quantized
//
// Everything that comes from a file is checked: names, shapes, finite values.
package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lowbit/graph"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/train"
)

// Metadata keys of a weights file that says what it belongs to. MetaModel is a
// zoo name; MetaGraph a graph as graph.Encode writes it; MetaInfo a model.Info
// as JSON. Write sets them.
const (
	MetaModel = "lowbit.model"
	MetaGraph = "lowbit.graph"
	MetaInfo  = "lowbit.info"
)

// ErrNoWeights is wrapped by the error for a zoo name that comes without
// weights.
var ErrNoWeights = errors.New("no weights")

// Options say what to put onto the network.
type Options struct {
	// Weights is a file (.safetensors, .pth, .pt, .th) in place of the weights
	// that the model would come with.
	Weights string
	// Config changes a zoo network; elsewhere it must be zero.
	Config model.Config
}

// Loaded is a network with its weights.
type Loaded struct {
	Spec    string        // what the user named
	Graph   *graph.Graph  // inference graph at batch 1 or that of Options.Config
	Store   *tensor.Store // its parameters, no others; float32
	Info    model.Info    // input and normalisation; Name is empty if no zoo network is known
	Weights string        // where the weights came from: a path or "built in"
	Record  *train.Record // of a run directory, else nil
	// Metadata of the weights file: origin, licence, accuracy.
	Metadata map[string]string
}

// Model loads what spec names. An error says what does not fit: names that are
// missing, unexpected or of another shape all at once, and a value that is not
// finite with its tensor.
func Model(spec string, o Options) (*Loaded, error) {
	l, err := load(spec, o)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	l.Spec = spec
	return l, nil
}

func load(spec string, o Options) (*Loaded, error) {
	if info, ok := model.Lookup(spec); ok {
		return zoo(spec, info, o)
	}
	stat, err := os.Stat(spec)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%q is neither a file nor in the zoo: %s", spec, strings.Join(model.Names(), ", "))
	case err != nil:
		return nil, err
	case changes(o.Config):
		return nil, fmt.Errorf("%s holds its own network: classes, width and input shape go with a zoo name", spec)
	}
	var l *Loaded
	switch {
	case isONNX(spec) && o.Weights != "":
		return nil, fmt.Errorf("%s holds its own weights: no weights file goes onto it", spec)
	case isONNX(spec):
		l, err = onnxFile(spec)
	case stat.IsDir():
		l, err = run(spec, o.Weights)
	default:
		l, err = file(spec, o.Weights)
	}
	if err == nil && o.Config.Batch > 0 {
		l.Graph, err = graph.WithBatch(l.Graph, o.Config.Batch)
	}
	return l, err
}

// zoo builds a network of the zoo and puts weights onto it.
func zoo(name string, info model.Info, o Options) (*Loaded, error) {
	g, err := model.Build(name, o.Config)
	if err != nil {
		return nil, err
	}
	l := &Loaded{Graph: g, Info: adapt(info, g)}
	if o.Weights != "" {
		return l, l.put(o.Weights, name)
	}
	store, meta, err := builtIn(name)
	if err != nil {
		return nil, err
	}
	what := name
	if store != nil {
		l.Weights, l.Metadata = "built in", meta
		l.Store, err = fit(g, store, optim.IsState)
		switch {
		case errors.Is(err, tensor.ErrShape) && changes(o.Config):
			what += " of another width, number of classes or input shape" // than the built-in one
		case err != nil:
			return nil, fmt.Errorf("the built-in weights of %s: %w", name, err)
		default:
			return l, nil
		}
	}
	return nil, fmt.Errorf("%s comes with %w: name a weights file (--weights FILE.safetensors, .pth, .pt or .th), "+
		"name a run directory in place of %s, or train it (lowbit train --model %s); with weights built in: %s",
		what, ErrNoWeights, name, name, strings.Join(BuiltIn(), ", "))
}

// changes reports whether a network of the zoo is not built as it stands there.
func changes(c model.Config) bool {
	return c.Classes != 0 || c.Width != 0 || c.InputShape != nil
}

// put reads a weights file onto l's graph, which messages call by name.
func (l *Loaded) put(path, name string) error {
	from, meta, err := readWeights(path)
	if err != nil {
		return err
	}
	if l.Store, err = fit(l.Graph, from, optim.IsState); err != nil {
		return fmt.Errorf("%s onto %s: %w", path, name, err)
	}
	l.Weights, l.Metadata = path, meta
	return nil
}

// run opens a run directory.
func run(dir, weights string) (*Loaded, error) {
	if _, err := os.Stat(filepath.Join(dir, "run.json")); errors.Is(err, fs.ErrNotExist) {
		if IsEncoder(dir) {
			return nil, noRun("folder", dir)
		}
		return nil, fmt.Errorf("folder %s: no run.json, want a run directory", dir)
	}
	if weights != "" {
		return runFile(dir, weights)
	}
	g, store, record, err := train.Open(dir)
	if err != nil {
		return nil, err
	}
	l := &Loaded{Graph: g, Info: runInfo(g, record), Record: &record, Weights: filepath.Join(dir, record.Result.Weights)}
	if l.Store, err = fit(g, store, optim.IsState); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return l, checkGraph(g)
}

// noRun is the error for a BERT where a network that learned a task is wanted.
func noRun(what, path string) error {
	return fmt.Errorf("%s %s holds a BERT, no run of one: lowbit train --model %s --data sst2:PATH makes one", what, path, path)
}

// runFile puts a weights file onto a run's graph.
func runFile(dir, weights string) (*Loaded, error) {
	record, err := train.ReadRecord(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "graph.json")
	code, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	g, err := graph.Decode(code)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := checkGraph(g); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l := &Loaded{Graph: g, Info: runInfo(g, record), Record: &record}
	return l, l.put(weights, dir)
}

// runInfo describes a run's network: the zoo's info if the run names one, with
// the normalisation that the run trained with.
func runInfo(g *graph.Graph, r train.Record) model.Info {
	info, _ := model.Lookup(r.Model)
	if len(r.Config.Norm.Mean) > 0 {
		info.Mean, info.Std = r.Config.Norm.Mean, r.Config.Norm.Std
	}
	return adapt(info, g)
}

// file opens a weights file that says itself what network it belongs to: by
// its run directory or by its metadata.
func file(path, weights string) (*Loaded, error) {
	dir := filepath.Dir(path)
	if _, err := os.Stat(filepath.Join(dir, "run.json")); err == nil && weights == "" && isWeights(path) {
		return runFile(dir, path)
	}
	if !isWeights(path) {
		return nil, fmt.Errorf("%s: want a zoo name, a run directory or a file of type %s, .onnx", path, strings.Join(weightTypes, ", "))
	}
	from, meta, err := readWeights(path)
	if err != nil {
		return nil, err
	}
	l, name, err := fromMetadata(path, meta, from)
	if err != nil {
		return nil, err
	}
	if weights == "" {
		weights = path
	}
	return l, l.put(weights, name)
}

func fromMetadata(path string, meta map[string]string, weights *tensor.Store) (*Loaded, string, error) {
	name := meta[MetaModel]
	info, known := model.Lookup(name)
	if text := meta[MetaInfo]; text != "" {
		info = model.Info{}
		if err := json.Unmarshal([]byte(text), &info); err != nil {
			return nil, "", fmt.Errorf("%s: metadata %s: %w", path, MetaInfo, err)
		}
	}
	var g *graph.Graph
	var err error
	switch {
	case meta[MetaGraph] != "":
		if g, err = graph.Decode([]byte(meta[MetaGraph])); err == nil {
			err = checkGraph(g)
		}
		name = "its graph"
	case known:
		g, err = model.Build(name, model.Config{})
	case name != "":
		err = fmt.Errorf("metadata %s: the zoo has no %q", MetaModel, name)
	default:
		if name, g = recognise(weights); g == nil {
			err = fmt.Errorf("it names no network and fits none of the zoo: load it as the weights of one "+
				"(--model NAME --weights %s), which says what does not fit", path)
		}
		info, _ = model.Lookup(name)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	return &Loaded{Graph: g, Info: adapt(info, g)}, name, nil
}

// recognise finds the one zoo network, in its default form, that has weights'
// names and shapes. The graph is nil if none or several have.
func recognise(weights *tensor.Store) (name string, g *graph.Graph) {
	for _, candidate := range model.Names() {
		built, err := model.Build(candidate, model.Config{})
		if err != nil {
			continue // a network without a default form
		}
		if _, err := fit(built, weights, optim.IsState); err != nil {
			continue
		}
		if g != nil {
			return "", nil
		}
		name, g = candidate, built
	}
	return name, g
}

// checkGraph demands the convention of package nn of a stored graph.
func checkGraph(g *graph.Graph) error {
	in, out := g.InputNode(nn.InputName), g.OutputNode(nn.LogitsName)
	if in == nil || out == nil {
		return fmt.Errorf("the graph has no input %q or no output %q", nn.InputName, nn.LogitsName)
	}
	if len(in.Shape()) < 2 || len(out.Shape()) < 2 {
		return fmt.Errorf("the graph turns %v into %v, want a batch of both", in.Type(), out.Type())
	}
	return nil
}

// adapt sets the input shape and the number of classes to the graph's.
func adapt(info model.Info, g *graph.Graph) model.Info {
	if in := g.InputNode(nn.InputName); in != nil && len(in.Shape()) > 1 {
		info.InputShape = in.Shape()[1:].Clone()
	}
	if out := g.OutputNode(nn.LogitsName); out != nil && len(out.Shape()) > 1 {
		info.Classes = out.Shape()[len(out.Shape())-1]
	}
	return info
}
