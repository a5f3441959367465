package rl

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"lowbit/format/torchzip"
	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
)

// OpenAgent reads an agent from a run directory, a weights file of one, one of
// the four published Atari agents as safetensors (A3C with a GRU from
// baby-a3c, feed-forward A3C from async-rl), or the zip of a Stable-Baselines3
// model. An outside agent sees and acts as it was trained: its View, preset and
// Mode are set; a Stable-Baselines3 zip does not hold the names of its actions
// or of its game, so spec, of the environment that it shall play, completes it.
func OpenAgent(path string, spec *EnvSpec) (*Agent, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("rl: agent: %w", err)
	}
	switch {
	case info.IsDir():
		return OpenRun(path)
	case strings.HasSuffix(path, ".zip"):
		return importSB3(path, spec)
	case strings.HasSuffix(path, ".safetensors"):
		return openWeights(path)
	}
	return nil, fmt.Errorf("rl: agent %s: want a run directory, a .safetensors file or a Stable-Baselines3 .zip", path)
}

// babyLayers are the convolutions of baby-a3c: 3 x 3, stride 2, padding 1.
var babyLayers = []string{"conv1", "conv2", "conv3", "conv4"}

// importAtari recognises the published agents by their tensors.
func importAtari(path string, store *tensor.Store, meta map[string]string) (*Agent, error) {
	a := &Agent{Store: store, Info: AgentInfo{Kind: "a3c", Mode: Sample, Temperature: 1}}
	switch {
	case store.Get("gru.weight_ih") != nil && store.Get("actor_linear.weight") != nil:
		a.Info.Preset, a.Info.View = "baby-a3c", View{C: 1, H: 80, W: 80, Code: Gray}
		a.Graph = babyGraph(store)
	case store.Get("policy.weight") != nil && store.Get("fc.weight") != nil && store.Get("conv2.weight") != nil:
		a.Info.Preset, a.Info.View = "async-rl", View{C: 4, H: 84, W: 84, Code: Gray}
		a.Graph = asyncGraph(store)
	default:
		return nil, fmt.Errorf("rl: %s: no metadata %q, and the tensors are not those of a known agent", path, metaAgent)
	}
	a.Info.Env = gameOf(meta["origin"] + " " + filepath.Base(path))
	if err := a.fit(); err != nil {
		return nil, fmt.Errorf("rl: %s: %w", path, err)
	}
	return a, nil
}

// gameOf finds an Atari game's name in a text, "" if none.
func gameOf(text string) string {
	text = strings.ToLower(text)
	for _, g := range []string{"breakout", "pong", "spaceinvaders", "space_invaders"} {
		if strings.Contains(text, g) {
			return "ale/" + strings.Replace(g, "spaceinvaders", "space_invaders", 1)
		}
	}
	return ""
}

// fit checks the graph against the store, keeps what it needs and checks the
// agent.
func (a *Agent) fit() error {
	if err := a.Graph.Err(); err != nil {
		return err
	}
	for _, n := range a.Graph.Params() {
		t := a.Store.Get(n.Name())
		if t == nil || t.DType() != tensor.F32 || !t.Shape().Equal(n.Shape()) {
			return fmt.Errorf("%w: parameter %q: have %v, want f32%v", tensor.ErrShape, n.Name(), t, n.Shape())
		}
	}
	kept, err := Parameters(a.Graph, a.Store)
	if err != nil {
		return err
	}
	a.Store = kept
	return a.Check()
}

// widthOf returns dimension 0 of a stored tensor, 1 if it is missing: the shape
// check that follows names what is wrong.
func widthOf(s *tensor.Store, name string) int {
	if t := s.Get(name); t != nil && len(t.Shape()) > 0 && t.Shape()[0] > 0 {
		return t.Shape()[0]
	}
	return 1
}

// babyGraph is four convolutions with ELU, a GRU cell, actor and critic.
func babyGraph(s *tensor.Store) *graph.Graph {
	g := graph.New()
	x := nn.Input(g, 1, 1, 80, 80)
	for _, name := range babyLayers {
		c := nn.Conv{Out: widthOf(s, name+".bias"), Kernel: 3, Stride: 2, Pad: 1, Bias: true}
		x = g.ELU(nn.Conv2d(g, name, x, c)).Named(name + ".act")
	}
	units := widthOf(s, "gru.bias_ih") / 3
	h := g.Input(MemoryName, tensor.F32, 1, max(units, 1))
	h = gruCell(g, "gru", g.Flatten(x), h)
	g.Output(MemoryName, h)
	nn.Logits(g, nn.Linear(g, "actor_linear", h, nn.Dense{Out: widthOf(s, "actor_linear.bias")}))
	g.Output(ValueName, nn.Linear(g, "critic_linear", h, nn.Dense{Out: 1}))
	return g
}

// gruCell is PyTorch's GRUCell: reset and update gates and the candidate, with
// the rows of the weights in that order,
//
//	r = sigmoid(Wr x + Ur h), z = sigmoid(Wz x + Uz h)
//	n = tanh(Wn x + r*(Un h)), h' = (1-z)*n + z*h
func gruCell(g *graph.Graph, name string, x, h *graph.Node) *graph.Node {
	units := h.Shape()[len(h.Shape())-1]
	side := func(part string, in *graph.Node) *graph.Node {
		k := in.Shape()[len(in.Shape())-1]
		w := g.Param(graph.Param{Name: name + ".weight_" + part, Shape: []int{3 * units, k}, Role: graph.Weight})
		b := g.Param(graph.Param{Name: name + ".bias_" + part, Shape: []int{3 * units}, Role: graph.Bias})
		return g.Add(g.Linear(in, w).Named(name+"."+part), b)
	}
	a, b := side("ih", x), side("hh", h)
	gate := func(v *graph.Node, k int) *graph.Node { return g.Slice(v, 1, k*units, (k+1)*units, 1) }
	sigmoid := func(v *graph.Node) *graph.Node { return g.Apply(graph.Unary{F: graph.Sigmoid}, v) }
	r := sigmoid(g.Add(gate(a, 0), gate(b, 0)))
	z := sigmoid(g.Add(gate(a, 1), gate(b, 1)))
	n := g.Tanh(g.Add(gate(a, 2), g.Mul(r, gate(b, 2))))
	return g.Add(g.Mul(g.Sub(g.Scalar(1), z), n), g.Mul(z, h)).Named(name)
}

// asyncGraph is the feed-forward network of Mnih et al. 2013 with policy and
// value.
func asyncGraph(s *tensor.Store) *graph.Graph {
	g := graph.New()
	x := nn.Input(g, 1, 4, 84, 84)
	x = g.Relu(nn.Conv2d(g, "conv1", x, nn.Conv{Out: widthOf(s, "conv1.bias"), Kernel: 8, Stride: 4, Bias: true})).Named("conv1.act")
	x = g.Relu(nn.Conv2d(g, "conv2", x, nn.Conv{Out: widthOf(s, "conv2.bias"), Kernel: 4, Stride: 2, Bias: true})).Named("conv2.act")
	x = g.Relu(nn.Linear(g, "fc", g.Flatten(x), nn.Dense{Out: widthOf(s, "fc.bias")})).Named("fc.act")
	nn.Logits(g, nn.Linear(g, "policy", x, nn.Dense{Out: widthOf(s, "policy.bias")}))
	g.Output(ValueName, nn.Linear(g, "value", x, nn.Dense{Out: 1}))
	return g
}

// maxPolicyBytes bounds the policy inside a Stable-Baselines3 zip: NatureCNN
// has 7 MB.
const maxPolicyBytes = 1 << 30

// readPolicy returns the tensors of policy.pth inside a zip.
func readPolicy(path string) (*tensor.Store, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("rl: %s: %w", path, err)
	}
	defer z.Close()
	f, err := z.Open("policy.pth")
	if err != nil {
		return nil, fmt.Errorf("rl: %s: no policy.pth, want a model of Stable-Baselines3: %w", path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPolicyBytes+1))
	if err != nil {
		return nil, fmt.Errorf("rl: %s: policy.pth: %w", path, err)
	}
	if len(b) > maxPolicyBytes {
		return nil, fmt.Errorf("rl: %s: policy.pth has more than %d bytes", path, maxPolicyBytes)
	}
	s, err := torchzip.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("rl: %s: policy.pth: %w", path, err)
	}
	return s, nil
}

// importSB3 builds the network of a Stable-Baselines3 policy from its tensors.
func importSB3(path string, spec *EnvSpec) (*Agent, error) {
	store, err := readPolicy(path)
	if err != nil {
		return nil, err
	}
	if spec == nil {
		return nil, fmt.Errorf("rl: %s: a Stable-Baselines3 zip does not name its game: want an environment", path)
	}
	a := &Agent{Store: store, Info: AgentInfo{Kind: "sb3", Env: spec.Name, View: PlainView(*spec), Mode: Greedy}}
	if err := a.sb3(spec); err != nil {
		return nil, fmt.Errorf("rl: %s: %w", path, err)
	}
	return a, nil
}

// sb3 sets graph and actions.
func (a *Agent) sb3(spec *EnvSpec) error {
	b := &sb3Builder{g: graph.New(), s: a.Store}
	ch, h, w := a.Info.View.Shape()
	x := nn.Input(b.g, 1, ch, h, w)
	extractor, head := "", ""
	switch {
	case b.has("q_net.q_net.0.weight"):
		extractor, head = "q_net.features_extractor", "q_net.q_net"
		a.Info.Temperature = 0.01 // Q-values: specs of the distillation
	case b.has("action_net.weight"):
		extractor, head = "features_extractor", "action_net"
		a.Info.Temperature, a.Info.Mode = 1, Sample
	default:
		return errors.New("neither a DQN (q_net) nor a PPO or A2C policy (action_net)")
	}
	if b.has(extractor + ".cnn.0.weight") {
		for i, stride := range []int{4, 2, 1} { // NatureCNN
			x = b.conv(fmt.Sprintf("%s.cnn.%d", extractor, 2*i), x, stride)
		}
		x = b.g.Relu(b.linear(extractor+".linear.0", b.g.Flatten(x)))
	} else {
		x = b.g.Flatten(x)
	}
	if head == "action_net" {
		x = b.chain("mlp_extractor.policy_net", x, b.g.Tanh, true)
		nn.Logits(b.g, b.linear(head, x))
	} else {
		nn.Logits(b.g, b.chain(head, x, b.g.Relu, false))
	}
	if err := b.g.Err(); err != nil {
		return err
	}
	a.Graph = b.g
	n := a.Outputs()
	switch n {
	case len(spec.Actions):
		a.Info.Actions = append([]string{}, spec.Actions...)
	case len(spec.Minimal):
		a.Info.Actions = minimalActions(*spec)
	default:
		return fmt.Errorf("%d actions, but %s has %d, of which %d have an effect", n, spec.Name, len(spec.Actions), len(spec.Minimal))
	}
	return a.fit()
}

type sb3Builder struct {
	g *graph.Graph
	s *tensor.Store
}

func (b *sb3Builder) has(name string) bool { return b.s.Get(name) != nil }

func (b *sb3Builder) linear(name string, x *graph.Node) *graph.Node {
	return nn.Linear(b.g, name, x, nn.Dense{Out: widthOf(b.s, name+".bias")})
}

// conv is a convolution whose kernel comes from the weight, with ReLU.
func (b *sb3Builder) conv(name string, x *graph.Node, stride int) *graph.Node {
	kernel := 1
	if w := b.s.Get(name + ".weight"); w != nil && len(w.Shape()) == 4 {
		kernel = w.Shape()[2]
	}
	return b.g.Relu(nn.Conv2d(b.g, name, x, nn.Conv{Out: widthOf(b.s, name+".bias"), Kernel: kernel, Stride: stride, Bias: true}))
}

// chain is linear layers NAME.0, NAME.2, … with activations between them and,
// if after, behind the last.
func (b *sb3Builder) chain(name string, x *graph.Node, act func(*graph.Node) *graph.Node, after bool) *graph.Node {
	for i := 0; b.has(fmt.Sprintf("%s.%d.weight", name, i)); i += 2 {
		x = b.linear(fmt.Sprintf("%s.%d", name, i), x)
		if after || b.has(fmt.Sprintf("%s.%d.weight", name, i+2)) {
			x = act(x)
		}
	}
	return x
}
