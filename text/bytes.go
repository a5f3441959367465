package text

import "encoding/json"

// EndOfText ends a text of BytesJSON's tokenizer.
const EndOfText = "<|endoftext|>"

// BytesJSON is the tokenizer.json of a tokenizer that needs no vocabulary: the
// token of a byte is its value, that of EndOfText 256.
func BytesJSON() ([]byte, error) {
	vocab := map[string]int{}
	for b, r := range byteLevel {
		vocab[string(r)] = b
	}
	stage := func(kind string) map[string]any { // its pattern cuts words, which changes nothing here, and has a name in GGUF
		return map[string]any{"type": kind, "add_prefix_space": false, "trim_offsets": false, "use_regex": true}
	}
	return json.Marshal(map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "normalizer": nil, "post_processor": nil,
		"added_tokens": []any{map[string]any{
			"id": len(vocab), "content": EndOfText, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true,
		}},
		"pre_tokenizer": stage("ByteLevel"), "decoder": stage("ByteLevel"),
		"model": map[string]any{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": []any{},
		},
	})
}
