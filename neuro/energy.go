package neuro

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

//go:embed energy.json
var energyJSON []byte

// Constant is one number of the energy model, with where it comes from.
type Constant struct {
	Name     string  `json:"name"`
	Value    float64 `json:"value"` // SI units
	Per      string  `json:"per"`
	Verified bool    `json:"verified"` // false: remembered, not read in a source
	Source   string  `json:"source"`
}

// EnergyModel is the constants of the estimate.
type EnergyModel struct {
	Constants []Constant
	value     map[string]float64
}

var energyNames = []string{"synaptic_event_j", "neuron_update_j", "spike_j", "hop_j", "static_chip_w", "tick_s"}

// DefaultEnergyModel is the constants file that comes with the package.
func DefaultEnergyModel() (*EnergyModel, error) { return ParseEnergyModel(energyJSON) }

// ParseEnergyModel reads a constants file: a JSON list of Constant, each name
// of the default file once.
func ParseEnergyModel(b []byte) (*EnergyModel, error) {
	m := &EnergyModel{value: map[string]float64{}}
	if err := json.Unmarshal(b, &m.Constants); err != nil {
		return nil, fmt.Errorf("neuro: energy constants: %w", err)
	}
	for _, c := range m.Constants {
		if _, ok := m.value[c.Name]; ok {
			return nil, fmt.Errorf("neuro: energy constants: %q comes twice", c.Name)
		}
		if !(c.Value >= 0) || math.IsInf(c.Value, 1) || c.Source == "" {
			return nil, fmt.Errorf("neuro: energy constants: %q: value %v, source %q, want a number of at least 0 and a source", c.Name, c.Value, c.Source)
		}
		m.value[c.Name] = c.Value
	}
	for _, name := range energyNames {
		if _, ok := m.value[name]; !ok {
			return nil, fmt.Errorf("neuro: energy constants: %q is missing", name)
		}
	}
	if len(m.value) != len(energyNames) {
		return nil, fmt.Errorf("neuro: energy constants: %d names, want %v", len(m.value), energyNames)
	}
	return m, nil
}

// Energy is an estimate from counted events.
type Energy struct {
	Events    Events  `json:"events"`
	SynapticJ float64 `json:"synaptic_j"`
	UpdatesJ  float64 `json:"updates_j"`
	SpikesJ   float64 `json:"spikes_j"`
	HopsJ     float64 `json:"hops_j"`
	StaticJ   float64 `json:"static_j"`
	TotalJ    float64 `json:"total_j"`
	ChipS     float64 `json:"chip_s"`   // duration on the chip, ticks times the tick
	Verified  bool    `json:"verified"` // every constant that is not 0 is verified
}

// Estimate is
//
//	E = static*(cores/4096)*ticks*tick + synaptic*events + update*updates + spike*spikes + hop*hops
//
// A model, not a measurement: its constants say how far it can be trusted.
func (m *EnergyModel) Estimate(e Events, cores int) Energy {
	r := Energy{Events: e, Verified: true}
	r.ChipS = float64(e.Ticks) * m.value["tick_s"]
	r.SynapticJ = float64(e.Synaptic) * m.value["synaptic_event_j"]
	r.UpdatesJ = float64(e.Updates) * m.value["neuron_update_j"]
	r.SpikesJ = float64(e.Spikes) * m.value["spike_j"]
	r.HopsJ = float64(e.Hops) * m.value["hop_j"]
	r.StaticJ = r.ChipS * m.value["static_chip_w"] * float64(cores) / ChipCores
	r.TotalJ = r.SynapticJ + r.UpdatesJ + r.SpikesJ + r.HopsJ + r.StaticJ
	for _, c := range m.Constants {
		r.Verified = r.Verified && (c.Verified || c.Value == 0)
	}
	return r
}

// String gives the counts first, then the estimate with its label.
func (e Energy) String() string {
	var b strings.Builder
	n := float64(max(1, e.Events.Ticks))
	fmt.Fprintf(&b, "events in %d ticks (per tick): synaptic %d (%.0f), spikes %d (%.0f), hops %d (%.0f), neuron updates %d (%.0f), core ticks %d (%.1f)\n",
		e.Events.Ticks, e.Events.Synaptic, float64(e.Events.Synaptic)/n, e.Events.Spikes, float64(e.Events.Spikes)/n,
		e.Events.Hops, float64(e.Events.Hops)/n, e.Events.Updates, float64(e.Events.Updates)/n, e.Events.CoreTicks, float64(e.Events.CoreTicks)/n)
	label := "model from verified constants"
	if !e.Verified {
		label = "model from remembered constants, not a measurement"
	}
	fmt.Fprintf(&b, "estimate (%s): %.3g J, %.3g J a tick", label, e.TotalJ, e.TotalJ/n)
	return b.String()
}
