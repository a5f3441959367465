package model

import (
	"maps"
	"slices"
)

// llamas are decoders to train from scratch. Their dimensions are multiples of 256,
// so that GGUF's types of 2 and 3 bits hold their weights. The vocabulary is that of
// the tokenizer.
var llamas = map[string]Llama{
	"llama-tiny":  {Dim: 256, Layers: 4, Heads: 4, KVHeads: 2, Hidden: 768, Context: 512, NormEps: 1e-5, Theta: 10000, Tied: true},
	"llama-small": {Dim: 512, Layers: 8, Heads: 8, KVHeads: 4, Hidden: 1536, Context: 1024, NormEps: 1e-5, Theta: 10000, Tied: true},
}

// LookupLlama returns the decoder of that name, without a vocabulary.
func LookupLlama(name string) (Llama, bool) {
	c, ok := llamas[name]
	return c, ok
}

// LlamaNames returns the names of the decoders, sorted.
func LlamaNames() []string { return slices.Sorted(maps.Keys(llamas)) }
