package rl

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"testing"

	"lowbit/internal/rng"
	"lowbit/internal/testenv"
)

// readTensors reads all tensors of a safetensors file of float32.
func readTensors(t *testing.T, path string) map[string][]float32 {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(data)
	var header map[string]struct {
		Offsets []int `json:"data_offsets"`
	}
	if err := json.Unmarshal(data[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	out := map[string][]float32{}
	for name, h := range header {
		if len(h.Offsets) != 2 {
			continue
		}
		raw := data[8+int(n):][h.Offsets[0]:h.Offsets[1]]
		v := make([]float32, len(raw)/4)
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		out[name] = v
	}
	return out
}

// conv is a plain convolution of x [ci, side, side] with square filters.
func conv(x, w, b []float32, ci, side, k, stride, pad int, f func(float32) float32) (y []float32, out int) {
	out = (side+2*pad-k)/stride + 1
	y = make([]float32, len(b)*out*out)
	for o := range b {
		for r := range out {
			for c := range out {
				sum := b[o]
				for i := range ci {
					for u := range k {
						row := r*stride + u - pad
						if row < 0 || row >= side {
							continue
						}
						for v := range k {
							if col := c*stride + v - pad; col >= 0 && col < side {
								sum += w[((o*ci+i)*k+u)*k+v] * x[(i*side+row)*side+col]
							}
						}
					}
				}
				y[(o*out+r)*out+c] = f(sum)
			}
		}
	}
	return y, out
}

// dense returns Wx + b.
func dense(x, w, b []float32) []float32 {
	y := make([]float32, len(b))
	for o := range y {
		sum := b[o]
		for i, v := range x {
			sum += w[o*len(x)+i] * v
		}
		y[o] = sum
	}
	return y
}

func elu(v float32) float32 {
	if v < 0 {
		return float32(math.Expm1(float64(v)))
	}
	return v
}

func relu(v float32) float32 { return max(v, 0) }

func sigmoid(v float32) float64 { return 1 / (1 + math.Exp(-float64(v))) }

// teacher plays one game with a published network; its actions are sampled.
type teacher struct {
	p      map[string][]float32
	memory []float32
	stream rng.Stream
}

func (a *teacher) Act(obs []byte, fresh []bool, act []int32) error {
	x := make([]float32, len(obs))
	for i, v := range obs {
		x[i] = float32(v) / 255
	}
	if fresh[0] {
		a.memory = make([]float32, 256)
	}
	var logits []float32
	if a.p["gru.bias_ih"] != nil {
		logits = a.baby(x)
	} else {
		logits = a.async(x)
	}
	total := 0.0
	for _, v := range logits {
		total += math.Exp(float64(v))
	}
	at := a.stream.Float64() * total
	for k, v := range logits {
		if at -= math.Exp(float64(v)); at < 0 {
			act[0] = int32(k)
			return nil
		}
	}
	act[0] = int32(len(logits) - 1)
	return nil
}

// baby is the network of metadata key baby-a3c_architecture.
func (a *teacher) baby(x []float32) []float32 {
	ci, size := 1, 80
	for _, name := range []string{"conv1", "conv2", "conv3", "conv4"} {
		x, size = conv(x, a.p[name+".weight"], a.p[name+".bias"], ci, size, 3, 2, 1, elu)
		ci = 32
	}
	in := dense(x, a.p["gru.weight_ih"], a.p["gru.bias_ih"])
	old := dense(a.memory, a.p["gru.weight_hh"], a.p["gru.bias_hh"])
	for i, h := range a.memory {
		r := sigmoid(in[i] + old[i])
		z := sigmoid(in[256+i] + old[256+i])
		n := math.Tanh(float64(in[512+i]) + r*float64(old[512+i]))
		a.memory[i] = float32((1-z)*n + z*float64(h))
	}
	return dense(a.memory, a.p["actor_linear.weight"], a.p["actor_linear.bias"])
}

// async is the network of metadata key async-rl_a3c-ff_breakout.
func (a *teacher) async(x []float32) []float32 {
	x, size := conv(x, a.p["conv1.weight"], a.p["conv1.bias"], 4, 84, 8, 4, 0, relu)
	x, _ = conv(x, a.p["conv2.weight"], a.p["conv2.bias"], 16, size, 4, 2, 0, relu)
	x = dense(x, a.p["fc.weight"], a.p["fc.bias"])
	for i := range x {
		x[i] = relu(x[i])
	}
	return dense(x, a.p["policy.weight"], a.p["policy.bias"])
}

// TestPublishedTeachersPlayWell: a preset that showed the published networks
// other pictures than they were trained on would leave them near random play
// (Pong -20, Breakout 1.7). They reach 18.2 and, in 4,000 decisions, 441.
func TestPublishedTeachersPlayWell(t *testing.T) {
	if testing.Short() {
		t.Skip("plays thousands of decisions: run without -short")
	}
	for _, c := range []struct {
		file, game, preset string
		steps              int
		atLeast            float64
	}{
		{"baby-a3c_pong-v4", "pong", "baby-a3c", 1200, 6},
		{"async-rl_a3c-ff_breakout", "breakout", "async-rl", 1500, 200},
	} {
		path := testenv.Shared(t, "models", "atari", c.file+".safetensors")
		w := openReal(t, c.game, Options{MaxSteps: c.steps, Atari: &AtariOptions{Preset: c.preset}})
		s, err := Evaluate(w, &teacher{p: readTensors(t, path), stream: rng.New(1)}, 1, 3)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %v in %v decisions", c.file, s.Mean, s.MeanLength)
		if s.Mean < c.atLeast {
			t.Errorf("%s: return %v in %d decisions, want %v or more", c.file, s.Mean, c.steps, c.atLeast)
		}
	}
}
