package onnx

import (
	"maps"
	"slices"
)

// Attribute types of ONNX.
const (
	floatAttr  = 1
	intAttr    = 2
	stringAttr = 3
	tensorAttr = 4
	floatsAttr = 6
	intsAttr   = 7
)

// IntAttr makes an attribute of one integer.
func IntAttr(name string, v int) Attribute { return Attribute{Name: name, I: int64(v), kind: intAttr} }

// IntsAttr makes an attribute of integers.
func IntsAttr(name string, v ...int) Attribute {
	a := Attribute{Name: name, kind: intsAttr}
	for _, x := range v {
		a.Ints = append(a.Ints, int64(x))
	}
	return a
}

// FloatAttr makes an attribute of one float.
func FloatAttr(name string, v float32) Attribute { return Attribute{Name: name, F: v, kind: floatAttr} }

// StringAttr makes an attribute of text.
func StringAttr(name, v string) Attribute {
	return Attribute{Name: name, S: []byte(v), kind: stringAttr}
}

// Encode returns the model's bytes. Equal models give equal bytes.
func (m *Model) Encode() []byte {
	var out message
	out.int(1, m.IRVersion)
	out.text(2, m.Producer)
	out.text(3, m.ProducerVersion)
	out.text(6, m.Doc)
	out.bytes(7, m.Graph.encode())
	opset := func(domain string, version int64) {
		var o message
		o.text(1, domain)
		o.int(2, version)
		out.bytes(8, o)
	}
	opset("", m.Opset)
	for _, d := range slices.Sorted(maps.Keys(m.Domains)) {
		opset(d, m.Domains[d])
	}
	for _, e := range m.Metadata {
		out.bytes(14, e.encode())
	}
	return out
}

func (e Entry) encode() message {
	var m message
	m.text(1, e.Key)
	m.text(2, e.Value)
	return m
}

func (g *Graph) encode() message {
	var m message
	for i := range g.Nodes {
		m.bytes(1, g.Nodes[i].encode())
	}
	m.text(2, g.Name)
	for _, t := range g.Initializers {
		m.bytes(5, t.encode())
	}
	for _, v := range g.Inputs {
		m.bytes(11, v.encode())
	}
	for _, v := range g.Outputs {
		m.bytes(12, v.encode())
	}
	return m
}

func (n *Node) encode() message {
	var m message
	for _, s := range n.Inputs { // an empty name is an operand left out
		m.bytes(1, []byte(s))
	}
	for _, s := range n.Outputs {
		m.bytes(2, []byte(s))
	}
	m.text(3, n.Name)
	m.text(4, n.Op)
	for i := range n.Attributes {
		m.bytes(5, n.Attributes[i].encode())
	}
	m.text(7, n.Domain)
	return m
}

func (a *Attribute) encode() message {
	var m message
	m.text(1, a.Name)
	switch a.kind {
	case floatAttr:
		m.float(2, a.F)
	case intAttr:
		m.int(3, a.I)
	case stringAttr:
		m.bytes(4, a.S)
	case tensorAttr:
		m.bytes(5, a.T.encode())
	case floatsAttr:
		for _, v := range a.Floats {
			m.float(7, v)
		}
	case intsAttr:
		for _, v := range a.Ints {
			m.int(8, v)
		}
	}
	m.int(20, a.kind)
	return m
}

func (t *Tensor) encode() message {
	var m message
	for _, d := range t.Dims {
		m.int(1, d)
	}
	m.int(2, int64(t.Type))
	m.text(8, t.Name)
	m.bytes(9, t.Raw)
	return m
}

func (v *Value) encode() message {
	var shape, typ, outer, m message
	for _, d := range v.Dims {
		var dim message
		if d.Size > 0 {
			dim.int(1, d.Size)
		} else {
			dim.text(2, d.Name)
		}
		shape.bytes(1, dim)
	}
	typ.int(1, int64(v.Type))
	typ.bytes(2, shape)
	outer.bytes(1, typ)
	m.text(1, v.Name)
	m.bytes(2, outer)
	return m
}
