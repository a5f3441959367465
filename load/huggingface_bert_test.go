package load_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/model"
	"lowbit/tensor"
)

// bertFolder writes the smallest Hugging Face folder of an encoder and returns
// its path; change alters the description before it is written.
func bertFolder(t testing.TB, architecture string, change func(config map[string]any)) string {
	t.Helper()
	dir := t.TempDir()
	c := model.Bert{Vocab: 9, Dim: 8, Layers: 1, Heads: 2, Hidden: 12, Positions: 16, Types: 2, NormEps: 1e-12, Prefix: "bert.", Head: model.BertHidden}
	switch architecture {
	case "BertForSequenceClassification":
		c.Head, c.Classes = model.BertClassify, 3
	case "BertForQuestionAnswering":
		c.Head = model.BertSpan
	case "BertModel":
		c.Prefix = ""
	}
	g, err := c.Graph(1, 4)
	if err != nil {
		t.Fatal(err)
	}
	made, store := tensor.NewStore(), tensor.NewStore()
	if err := graph.InitParams(g, made, 3); err != nil {
		t.Fatal(err)
	}
	for _, name := range made.Names() { // old files call a norm's parameters so
		old := strings.NewReplacer("LayerNorm.weight", "LayerNorm.gamma", "LayerNorm.bias", "LayerNorm.beta").Replace(name)
		if err := store.Put(old, made.Get(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), store, nil); err != nil {
		t.Fatal(err)
	}
	config := map[string]any{
		"architectures": []string{architecture}, "model_type": "bert", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1,
		"num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 16, "type_vocab_size": 2, "hidden_act": "gelu",
		"id2label": map[string]string{"0": "a", "1": "b", "2": "c"},
	}
	if change != nil {
		change(config)
	}
	code, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "config.json"), string(code))
	writeFile(t, filepath.Join(dir, "vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\nsat\n##s\n")
	return dir
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBertFoldersGiveTheirHeads(t *testing.T) {
	for architecture, want := range map[string]string{
		"BertModel": "hidden states", "BertForSequenceClassification": "3 classes", "BertForQuestionAnswering": "answers as spans",
	} {
		dir := bertFolder(t, architecture, nil)
		if !load.IsEncoder(dir) || load.IsLanguage(dir) {
			t.Errorf("%s: encoder %t, language model %t", architecture, load.IsEncoder(dir), load.IsLanguage(dir))
		}
		n, err := load.OpenEncoder(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := load.Model(dir, load.Options{}); err == nil || !strings.Contains(err.Error(), "holds a BERT") {
			t.Errorf("as a network of images: %v", err)
		}
		if n.Gives() != want || n.MaxTokens != 16 || n.Tokenizer.Size() != 9 {
			t.Errorf("%s: gives %s, %d tokens of %d", architecture, n.Gives(), n.MaxTokens, n.Tokenizer.Size())
		}
		if n.Store.Get(n.Config.Prefix+"embeddings.LayerNorm.weight") == nil {
			t.Errorf("%s: no norm among %v", architecture, n.Store.Names())
		}
	}
}

func TestSentenceFoldersGiveVectors(t *testing.T) {
	dir := bertFolder(t, "BertModel", nil)
	writeFile(t, filepath.Join(dir, "modules.json"), `[{"path":"","type":"sentence_transformers.models.Transformer"},
		{"path":"1_Pooling","type":"sentence_transformers.models.Pooling"},{"path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]`)
	writeFile(t, filepath.Join(dir, "sentence_bert_config.json"), `{"max_seq_length":12}`)
	pooling := filepath.Join(dir, "1_Pooling", "config.json")
	writeFile(t, pooling, `{"word_embedding_dimension":8,"pooling_mode_cls_token":false,"pooling_mode_mean_tokens":true}`)
	n, err := load.OpenEncoder(dir)
	if err != nil || n.Gives() != "sentence vectors" || n.MaxTokens != 12 {
		t.Fatalf("%+v, %v", n, err)
	}
	writeFile(t, pooling, `{"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false}`)
	if _, err := load.OpenEncoder(dir); err == nil || !strings.Contains(err.Error(), "only the mean over the tokens") {
		t.Errorf("pooling by the first token: %v", err)
	}
	writeFile(t, filepath.Join(dir, "modules.json"), `[{"path":"","type":"x.Dense"}]`)
	if _, err := load.OpenEncoder(dir); err == nil || !strings.Contains(err.Error(), `"x.Dense"`) {
		t.Errorf("an unknown module: %v", err)
	}
}

func TestBertFoldersThatAreWrongAreRefused(t *testing.T) {
	for want, change := range map[string]func(c map[string]any){
		`"BertLMHeadModel" is not supported`: func(c map[string]any) { c["architectures"] = []string{"BertLMHeadModel"} },
		"no architecture":                    func(c map[string]any) { delete(c, "architectures") },
		"is_decoder":                         func(c map[string]any) { c["is_decoder"] = true },
		`"relative_key" is not supported`:    func(c map[string]any) { c["position_embedding_type"] = "relative_key" },
		`hidden_act "silu"`:                  func(c map[string]any) { c["hidden_act"] = "silu" },
		"want a multiple":                    func(c map[string]any) { c["num_attention_heads"] = 3 },
		"vocab 0":                            func(c map[string]any) { delete(c, "vocab_size") },
		"a size of 1073741824":               func(c map[string]any) { c["vocab_size"] = 1 << 30 },
		"2000 layers":                        func(c map[string]any) { c["num_hidden_layers"] = 2000 },
		"parameters, want fewer":             func(c map[string]any) { c["vocab_size"], c["hidden_size"] = 1<<23, 1<<20 },
		"of another shape":                   func(c map[string]any) { c["intermediate_size"] = 13 },
		"missing":                            func(c map[string]any) { c["num_hidden_layers"] = 2 },
		"the tokenizer has 9 tokens":         func(c map[string]any) { c["vocab_size"] = 8 },
	} {
		dir := bertFolder(t, "BertModel", change)
		if want == "the tokenizer has 9 tokens" {
			dir = bertFolder(t, "BertModel", nil)
			writeFile(t, filepath.Join(dir, "vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\nsat\n##s\nfat\n")
			want = "the tokenizer has 10 tokens, the network 9"
		}
		if _, err := load.OpenEncoder(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	dir := bertFolder(t, "BertModel", nil)
	if err := os.Remove(filepath.Join(dir, "model.safetensors")); err != nil {
		t.Fatal(err)
	}
	if _, err := load.OpenEncoder(dir); err == nil || !strings.Contains(err.Error(), "pytorch_model.bin") {
		t.Errorf("no weights: %v", err)
	}
}

// Whatever the descriptions say, the answer is a network or an error.
func FuzzBertConfig(f *testing.F) {
	f.Add([]byte(`{"architectures":["BertModel"],"vocab_size":9,"hidden_size":8,"num_hidden_layers":1,"num_attention_heads":2,
		"intermediate_size":12,"max_position_embeddings":16,"type_vocab_size":2}`), []byte(`[{"type":"x.Pooling","path":"1_Pooling"}]`))
	f.Add([]byte(`{"architectures":["BertForSequenceClassification"],"num_labels":-1,"layer_norm_eps":-1}`), []byte(`[]`))
	f.Add([]byte(`{"architectures":[],"id2label":null}`), []byte(`{`))
	dir := bertFolder(f, "BertModel", nil)
	writeFile(f, filepath.Join(dir, "1_Pooling", "config.json"), `{"pooling_mode_mean_tokens":true}`)
	f.Fuzz(func(t *testing.T, config, modules []byte) {
		writeFile(t, filepath.Join(dir, "config.json"), string(config))
		writeFile(t, filepath.Join(dir, "modules.json"), string(modules))
		if n, err := load.OpenEncoder(dir); err == nil && n.Store == nil {
			t.Error("no store and no error")
		}
	})
}
