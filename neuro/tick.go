package neuro

import "math/bits"

// detail is the state and the parameters of a unit that need the general form
// of a tick.
type detail struct {
	typed               [AxonTypes][4]uint64 // synapses by axon type
	weights             [AxonTypes]int32
	v, leak, floor, rst int32
	reset               Reset
}

// compile turns the network into programs.
func (s *Simulator) compile() {
	nw := s.nw
	s.programs = make([]program, len(nw.Cores))
	s.unitOf = make([][]uint8, len(nw.Cores))
	for i := range nw.Cores {
		s.compileCore(i)
	}
	s.routeAt = make([]uint32, nw.Inputs+1)
	s.routes = make([]target, len(nw.Routes))
	for i, r := range nw.Routes {
		s.routes[i] = target{word: uint32(r.Core)*4 + uint32(r.Axon)>>6, bit: r.Axon & 63}
		s.routeAt[r.Input+1]++
	}
	for i := range nw.Inputs {
		s.routeAt[i+1] += s.routeAt[i]
	}
}

// behaviour is all that decides when a neuron spikes.
type behaviour struct {
	conn                  [4]uint64
	weights               [AxonTypes]int16
	leak, theta, neg, rst int32
	reset                 Reset
}

func (s *Simulator) compileCore(i int) {
	c := &s.nw.Cores[i]
	p := &s.programs[i]
	p.first, p.neurons, p.plain = uint32(len(s.units)), uint32(len(c.Neurons)), true
	s.unitOf[i] = make([]uint8, len(c.Neurons))
	known := map[behaviour]int{}
	var groups [][]int // neurons of each unit
	for k := range c.Neurons {
		n := &c.Neurons[k]
		b := behaviour{n.Conn, n.Weights, n.Leak, n.Theta, n.NegTheta, n.VReset, n.Reset}
		g, ok := known[b]
		if !ok {
			g = len(groups)
			known[b] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], k)
		s.unitOf[i][k] = uint8(g)
		p.plain = p.plain && c.plain(n)
		p.restless = p.restless || n.Leak != 0 || n.Theta <= 0 || n.VReset != 0
	}
	p.count, p.detail = uint32(len(groups)), uint32(len(s.details))
	for _, g := range groups {
		s.compileUnit(i, g)
	}
}

// plain says whether a neuron has the form that Map gives all neurons: no
// memory, +1 for the synapses of axons 0..127 and -1 for the others. Its sum is
// then the difference of two population counts.
func (c *Core) plain(n *Neuron) bool {
	if n.Reset != ResetAlways || n.Leak != 0 || n.VReset != 0 || n.NegTheta > -CoreAxons {
		return false
	}
	for a := range CoreAxons {
		want := int16(1)
		if a >= MaxFanIn {
			want = -1
		}
		if n.Conn[a>>6]>>(a&63)&1 == 1 && n.Weights[c.Type[a]] != want {
			return false
		}
	}
	return true
}

// compileUnit adds the unit of some neurons of core i that behave alike.
func (s *Simulator) compileUnit(i int, group []int) {
	c := &s.nw.Cores[i]
	n := &c.Neurons[group[0]]
	u := unit{theta: n.Theta, targets: uint32(len(s.targets)), copies: uint32(len(group))}
	for _, k := range group {
		m := &c.Neurons[k]
		switch {
		case m.Target >= 0:
			to := &s.nw.Cores[m.Target]
			u.hops += uint32(manhattan(c.X, c.Y, to.X, to.Y))
			s.targets = append(s.targets, target{uint32(m.Target)*4 + uint32(m.Axon)>>6, m.Axon & 63, m.Delay})
		case m.Target < Nowhere:
			o := uint32(-2 - m.Target)
			u.outs++
			s.targets = append(s.targets, target{uint32(s.outs) + o>>6, uint8(o & 63), m.Delay})
		}
	}
	u.reach = uint32(len(s.targets)) - u.targets
	s.units = append(s.units, u)
	s.masks = append(s.masks, n.Conn)
	if s.programs[i].plain {
		return
	}
	d := detail{leak: n.Leak, floor: n.NegTheta, rst: n.VReset, reset: n.Reset}
	for t, w := range n.Weights {
		d.weights[t] = int32(w)
	}
	for a, t := range c.Type {
		d.typed[t][a>>6] |= n.Conn[a>>6] & (1 << (a & 63))
	}
	s.details = append(s.details, d)
}

// run is one tick of the cores lo..hi. A core without input and without
// potential of its own changes nothing and is passed over.
func (s *Simulator) run(worker, lo, hi int) {
	now := s.now % ringSlots
	var e Events
	for i := lo; i < hi; i++ {
		p := &s.programs[i]
		x := s.arrived(4*i, now)
		if x[0]|x[1]|x[2]|x[3] == 0 && !p.restless && !s.charged[i] {
			s.fired[i] = [4]uint64{}
			continue
		}
		e.CoreTicks++
		e.Updates += int64(p.neurons)
		e.Axons += int64(bits.OnesCount64(x[0]) + bits.OnesCount64(x[1]) + bits.OnesCount64(x[2]) + bits.OnesCount64(x[3]))
		if p.plain {
			s.tickPlain(i, p, &x, &e)
		} else {
			s.tickGeneral(i, p, &x, &e)
		}
		s.deliver(s.units[p.first:p.first+p.count], &s.fired[i], &s.rings[worker], &e)
	}
	s.counts[worker].add(e)
}

// arrived takes the four words of a core's axons out of a slot of all rings.
// No worker writes that slot during the tick.
func (s *Simulator) arrived(word int, slot int64) (x [4]uint64) {
	for w := range s.rings {
		p := (*[4]uint64)(s.rings[w][slot][word:])
		for k := range x {
			x[k] |= p[k]
		}
		*p = [4]uint64{}
	}
	return x
}

// tickPlain is a tick of a core whose neurons are all plain.
func (s *Simulator) tickPlain(i int, p *program, x *[4]uint64, e *Events) {
	x0, x1, x2, x3 := x[0], x[1], x[2], x[3]
	units := s.units[p.first : p.first+p.count]
	masks := s.masks[p.first:][:len(units)]
	var fired [4]uint64
	synaptic := 0
	for k := range units {
		m := &masks[k]
		plus := bits.OnesCount64(x0&m[0]) + bits.OnesCount64(x1&m[1])
		minus := bits.OnesCount64(x2&m[2]) + bits.OnesCount64(x3&m[3])
		u := &units[k]
		synaptic += (plus + minus) * int(u.copies)
		if int32(plus-minus) >= u.theta {
			fired[k>>6&3] |= 1 << (k & 63)
		}
	}
	e.Synaptic += int64(synaptic)
	s.fired[i] = fired
}

// tickGeneral is a tick of any core.
func (s *Simulator) tickGeneral(i int, p *program, x *[4]uint64, e *Events) {
	units := s.units[p.first : p.first+p.count]
	details := s.details[p.detail:][:len(units)]
	var fired [4]uint64
	charged := false
	for k := range units {
		u, d := &units[k], &details[k]
		v := d.v + d.leak
		for t := range d.typed {
			m := &d.typed[t]
			n := bits.OnesCount64(x[0]&m[0]) + bits.OnesCount64(x[1]&m[1]) + bits.OnesCount64(x[2]&m[2]) + bits.OnesCount64(x[3]&m[3])
			v += d.weights[t] * int32(n)
			e.Synaptic += int64(n) * int64(u.copies)
		}
		if v < MinPotential || v > MaxPotential {
			v = max(MinPotential, min(MaxPotential, v))
			e.Overflows += int64(u.copies)
		}
		if v >= u.theta {
			fired[k>>6&3] |= 1 << (k & 63)
			switch d.reset {
			case ResetAbsolute:
				v = d.rst
			case ResetLinear:
				v -= u.theta
			}
		} else if v < d.floor {
			v = d.floor
		}
		if d.reset == ResetAlways {
			v = d.rst
		}
		d.v = v
		charged = charged || v != 0
	}
	s.charged[i] = charged
	s.fired[i] = fired
}

// deliver sends the spikes of the units that fired.
func (s *Simulator) deliver(units []unit, fired *[4]uint64, to *ring, e *Events) {
	now := uint8(s.now % ringSlots)
	for w, f := range fired {
		for ; f != 0; f &= f - 1 {
			u := &units[w<<6+bits.TrailingZeros64(f)]
			e.Spikes += int64(u.copies)
			e.Hops += int64(u.hops)
			e.Outputs += int64(u.outs)
			for _, t := range s.targets[u.targets : u.targets+u.reach] {
				to[(now+t.delay)%ringSlots][t.word] |= 1 << t.bit
			}
		}
	}
}
