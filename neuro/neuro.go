// Package neuro maps binary networks with ternary weights onto neuromorphic
// cores of 256 axons and 256 neurons, and runs those cores tick by tick. It
// serves the policy distillation of arXiv 1809.09260.
//
// Net is what a trainer hands over: layers of weights -1, 0, 1 and integer
// thresholds. Map turns it into a Network of cores, Network.Validate checks
// every limit of the core, Simulator runs it, Compare proves that net and
// cores give the same bits, and WriteNIR exports the net.
//
// Bits travel packed, element e of channel-height-width order in bit e%8 of
// byte e/8, as the environments of package rl give them.
package neuro

import "fmt"

// Limits of a core and of the chip. 256 x 256 and 4096 cores are published;
// types, weights, potential and delays follow the specification of this
// project, which has them from memory (README).
const (
	CoreAxons   = 256 // input lines of a core
	CoreNeurons = 256
	AxonTypes   = 4 // an axon's type selects one of a neuron's weights
	MaxWeight   = 255
	MaxDelay    = 15 // ticks between a spike and its arrival
	ChipSide    = 64 // cores of a chip lie on a square mesh
	ChipCores   = ChipSide * ChipSide
	// MaxFanIn is the number of distinct inputs of a core that ternary weights
	// allow: each takes an axon of weight +1 and one of weight -1.
	MaxFanIn = CoreAxons / 2
	// MinPotential and MaxPotential bound the membrane potential, 20 bits.
	MinPotential = -1 << 19
	MaxPotential = 1<<19 - 1
)

// Reset says what becomes of the potential at the end of a tick.
type Reset uint8

const (
	ResetAbsolute Reset = iota // a spike sets it to VReset
	ResetLinear                // a spike takes Theta from it
	ResetHold                  // a spike leaves it
	ResetAlways                // VReset after every tick, spike or not: a neuron without memory
	resetCount
)

// Targets of a neuron that are not cores.
const (
	// Nowhere is the target of a neuron whose spikes nobody reads.
	Nowhere int32 = -1
)

// OutputTarget is the target of the neuron that drives network output o.
func OutputTarget(o int) int32 { return -2 - int32(o) }

// Neuron is one neuron of a core. In tick t, with x the axons that spike,
//
//	V += sum over connected a of Weights[type of a] * x[a], then + Leak
//	V is held within MinPotential..MaxPotential
//	V >= Theta: spike to (Target, Axon) for tick t+Delay; reset
//	V < NegTheta: V = NegTheta
type Neuron struct {
	Conn     [4]uint64        // connected axons, axon a in bit a%64 of word a/64
	Weights  [AxonTypes]int16 // one for each axon type, -MaxWeight..MaxWeight
	Leak     int32
	Theta    int32 // firing threshold
	NegTheta int32 // floor of the potential, at most 0
	VReset   int32
	Reset    Reset
	Delay    uint8 // 1..MaxDelay
	Axon     uint8 // of the target core
	Target   int32 // core, Nowhere or OutputTarget
	// Unit is the element of the layer's output that the neuron computes, in
	// channel-height-width order; copies share it. Not used by the simulator.
	Unit int32
}

// Core is a crossbar with its neurons, which occupy the slots 0, 1, 2….
type Core struct {
	Layer    int32 // index into Network.Layers
	Splitter bool  // repeats spikes of its layer instead of computing
	X, Y     int32 // place on the mesh
	Type     [CoreAxons]uint8
	Neurons  []Neuron
}

// Route injects an input bit at an axon, in the tick of its frame.
type Route struct {
	Input int32
	Core  int32
	Axon  uint8
}

// LayerInfo describes where a layer of the Net went.
type LayerInfo struct {
	Name  string `json:"name"`
	Units int    `json:"units"` // elements of the layer's output
	Start int    `json:"start"` // ticks between a frame's injection and this layer's spikes
	Ticks int    `json:"ticks"` // until its spikes reach the next layer: 1, or 2 with splitters
}

// Network is a set of cores with everything that runs them.
type Network struct {
	Inputs  int // bits of a frame
	Outputs int // bits of a result
	Actions int // output o votes for action o mod Actions
	Latency int // ticks from the injection of a frame to its outputs
	Width   int // of the mesh
	Layers  []LayerInfo
	Cores   []Core
	Routes  []Route // sorted by input
}

// Shape is channels, height and width of one example.
type Shape struct {
	C int `json:"c"`
	H int `json:"h"`
	W int `json:"w"`
}

// Size returns the number of elements.
func (s Shape) Size() int { return s.C * s.H * s.W }

func (s Shape) String() string { return fmt.Sprintf("%dx%dx%d", s.C, s.H, s.W) }

// bitBytes returns the bytes that n packed bits take.
func bitBytes(n int) int { return (n + 7) / 8 }

// bitAt returns bit i, 0 or 1.
func bitAt(b []byte, i int) int { return int(b[i>>3]>>(i&7)) & 1 }
