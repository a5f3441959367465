package onnx

import (
	"fmt"
)

// Decode reads a model. Its tensors' values are parts of b, which must stay as
// it is; those of external data are missing (Read fetches them).
func Decode(b []byte) (*Model, error) {
	m := &Model{Domains: map[string]int64{}}
	graphs := 0
	err := fields(b, func(f field) error {
		switch f.number {
		case 1:
			m.IRVersion = int64(f.v)
		case 2:
			m.Producer = f.text()
		case 3:
			m.ProducerVersion = f.text()
		case 6:
			m.Doc = f.text()
		case 7:
			if err := f.want(bytesKind); err != nil {
				return err
			}
			graphs++
			return m.Graph.decode(f.b)
		case 8:
			return m.decodeOpset(f.b)
		case 14:
			e, err := decodeEntry(f.b)
			m.Metadata = append(m.Metadata, e)
			return err
		case 25:
			m.Functions++
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("onnx: %w", err)
	case graphs != 1 || m.IRVersion < 1:
		return nil, fmt.Errorf("onnx: IR version %d and %d graphs, want a model with one graph", m.IRVersion, graphs)
	case m.Opset == 0:
		return nil, fmt.Errorf("onnx: no opset of the default domain")
	}
	return m, nil
}

func (m *Model) decodeOpset(b []byte) error {
	domain, version := "", int64(0)
	err := fields(b, func(f field) error {
		switch f.number {
		case 1:
			domain = f.text()
		case 2:
			version = int64(f.v)
		}
		return nil
	})
	if version < 1 {
		return fmt.Errorf("opset of domain %q: version %d, want a positive one", domain, version)
	}
	if domain == "" || domain == "ai.onnx" {
		m.Opset = version
	} else {
		m.Domains[domain] = version
	}
	return err
}

func decodeEntry(b []byte) (e Entry, err error) {
	err = fields(b, func(f field) error {
		switch f.number {
		case 1:
			e.Key = f.text()
		case 2:
			e.Value = f.text()
		}
		return nil
	})
	return e, err
}

func (g *Graph) decode(b []byte) error {
	return fields(b, func(f field) error {
		switch f.number {
		case 1:
			n, err := decodeNode(f.b)
			g.Nodes = append(g.Nodes, n)
			if err != nil {
				return fmt.Errorf("node %d: %w", len(g.Nodes)-1, err)
			}
		case 2:
			g.Name = f.text()
		case 5:
			t, err := decodeTensor(f.b)
			if err != nil {
				return fmt.Errorf("initializer %d: %w", len(g.Initializers), err)
			}
			if t.Name == "" {
				return fmt.Errorf("initializer %d has no name", len(g.Initializers))
			}
			g.Initializers = append(g.Initializers, t)
		case 11, 12:
			v, err := decodeValue(f.b)
			if err == nil && v.Name == "" {
				err = fmt.Errorf("it has no name")
			}
			if err != nil {
				return fmt.Errorf("input or output: %w", err)
			}
			if f.number == 11 {
				g.Inputs = append(g.Inputs, v)
			} else {
				g.Outputs = append(g.Outputs, v)
			}
		case 15:
			g.Sparse++
		}
		return nil
	})
}

func decodeNode(b []byte) (n Node, err error) {
	err = fields(b, func(f field) error {
		switch f.number {
		case 1:
			n.Inputs = append(n.Inputs, f.text())
		case 2:
			n.Outputs = append(n.Outputs, f.text())
		case 3:
			n.Name = f.text()
		case 4:
			n.Op = f.text()
		case 5:
			a, err := decodeAttribute(f.b)
			if err != nil {
				return fmt.Errorf("attribute %q: %w", a.Name, err)
			}
			n.Attributes = append(n.Attributes, a)
		case 7:
			n.Domain = f.text()
		}
		return nil
	})
	if err == nil && (n.Op == "" || len(n.Outputs) == 0) {
		err = fmt.Errorf("op %q with %d results, want a name and results", n.Op, len(n.Outputs))
	}
	return n, err
}

func decodeAttribute(b []byte) (a Attribute, err error) {
	err = fields(b, func(f field) (err error) {
		switch f.number {
		case 1:
			a.Name = f.text()
		case 2:
			if err := f.want(fourKind); err != nil {
				return err
			}
			v, err := f.floats(nil)
			if err == nil {
				a.F = v[0]
			}
			return err
		case 3:
			a.I = int64(f.v)
		case 4:
			a.S = f.b
		case 5:
			a.T, err = decodeTensor(f.b)
		case 6, 11:
			a.Graphs++
		case 7:
			a.Floats, err = f.floats(a.Floats)
		case 8:
			a.Ints, err = f.integers(a.Ints)
		case 9:
			a.Strings = append(a.Strings, f.text())
		case 20:
			a.kind = int64(f.v)
		}
		return err
	})
	if err == nil && a.Name == "" {
		err = fmt.Errorf("it has no name")
	}
	return a, err
}

func decodeValue(b []byte) (v Value, err error) {
	err = fields(b, func(f field) error {
		switch f.number {
		case 1:
			v.Name = f.text()
		case 2:
			return fields(f.b, func(f field) error {
				if f.number != 1 {
					return nil
				}
				return v.decodeType(f.b)
			})
		}
		return nil
	})
	return v, err
}

func (v *Value) decodeType(b []byte) error {
	return fields(b, func(f field) error {
		switch f.number {
		case 1:
			v.Type = Type(f.v)
		case 2:
			v.Dims = []Dim{}
			return fields(f.b, func(f field) error {
				if f.number != 1 {
					return nil
				}
				var d Dim
				err := fields(f.b, func(f field) error {
					switch f.number {
					case 1:
						d.Size = int64(f.v)
					case 2:
						d.Name = f.text()
					}
					return nil
				})
				v.Dims = append(v.Dims, d)
				return err
			})
		}
		return nil
	})
}
