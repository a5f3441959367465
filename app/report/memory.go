package report

import "fmt"

// memory says what weights and cache take, packed as in an export, beside float16.
func memory(runs []LanguageRun) Section {
	s := Section{Heading: "What fits into how much memory", Texts: 2, Head: []string{"run", "bits", "weights"}}
	s.Note = "Weights packed at their bits, everything else in float32; keys and values as codes with float16 steps. Activations and the program itself come on top."
	wide := byWidth(runs)
	original := wide[0].FP32Of / 2
	context, known := int64(wide[0].Outcome.Cache.Context), wide[0].Outcome.Cache.Values > 0
	short := min(1024, context)
	if known {
		s.Head = append(s.Head, fmt.Sprintf("keys and values of %s tokens", thousands(int(short))), fmt.Sprintf("of %s", thousands(int(context))), "together", "contexts in the original's memory")
		s.Note += fmt.Sprintf(" The last column is how many texts of %s tokens fit beside one copy of the weights into the memory that the original in float16 takes with one.", thousands(int(context)))
	}
	all := original + 2*int64(wide[0].Outcome.Cache.Values)*context
	row := func(name, bits string, weights int64, perToken int) {
		cells := []string{name, bits, bytes(weights)}
		if n := int64(perToken); known && n > 0 {
			cells = append(cells, bytes(n*short), bytes(n*context), bytes(weights+n*context), thousands(int(max(all-weights, 0)/(n*context))))
		}
		s.Rows = append(s.Rows, cells)
	}
	row("original", "float16", original, 2*wide[0].Outcome.Cache.Values)
	for _, r := range wide {
		row(r.Name, r.Bits, r.Size, r.Outcome.Cache.BytesPerToken)
	}
	return s
}
