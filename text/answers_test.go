package text_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/text"
)

// The answers, with the mark that ends them, are told from the rest in every turn,
// in templates of several kinds and with both kinds of tokenizers; the tokens are
// those of the whole chat.
func TestAnswersAreToldFromQuestions(t *testing.T) {
	messages := []text.Message{
		{Role: "user", Content: "Who are you?"}, {Role: "assistant", Content: "A model."},
		{Role: "user", Content: "of what?"}, {Role: "assistant", Content: "\nOf language, I\nthink. "},
	}
	marks := "{% for m in messages %}[{{ m['role'] }}]\n{{ m['content'] }}[end]\n{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}"
	inline := "{% for m in messages %}{% if m['role'] == 'user' %}Q: {{ m['content'] }} A:{% else %} {{ m['content'] }}!{% endif %}{% endfor %}"
	for name, want := range map[string][]string{marks: {"A model.[end]", "\nOf language, I\nthink. [end]"}, inline: {" A model.!", " \nOf language, I\nthink. !"}} {
		for _, file := range []string{"smollm", "gpt2", "llama3", "metaspace"} {
			k, err := text.Open(filepath.Join("testdata", file+".json"))
			if err != nil {
				t.Fatal(err)
			}
			c, err := text.NewChat(name)
			if err != nil {
				t.Fatal(err)
			}
			ids, answers, err := k.Answers(c, messages)
			if err != nil {
				t.Fatal(err)
			}
			whole, err := c.Render(messages, text.ChatOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := k.Decode(ids, false); strings.TrimSpace(got) != strings.TrimSpace(k.Decode(k.Append(nil, whole), false)) {
				t.Errorf("%s: %q", file, got)
			}
			var spans []string
			var span []int32
			for i, a := range append(answers, false) {
				if a {
					span = append(span, ids[i])
				} else if span != nil {
					spans, span = append(spans, k.Decode(span, false)), nil
				}
			}
			if len(spans) != 2 {
				t.Fatalf("%s, %s: spans %q", name, file, spans)
			}
			bytes := strings.NewReplacer("<0x0A>", "\n", "<0x5B>", "[", "<0x5D>", "]") // as that decoder writes them
			for i, s := range spans {                                                  // a token may reach over the edge of a turn
				s = bytes.Replace(s)
				if !strings.Contains(strings.ReplaceAll(s, " ", ""), strings.ReplaceAll(strings.TrimSpace(want[i]), " ", "")) || len(s) > len(want[i])+8 {
					t.Errorf("%s: answer %q, want %q", file, s, want[i])
				}
			}
		}
	}
}

// Ids and answers are those that transformers gives with templates that mark them
// (peer/golden_answers.py).
func TestAnswersAreTheReferences(t *testing.T) {
	var golden struct {
		Cases []struct {
			Template     string
			Messages     []text.Message
			IDs, Answers []int32
		}
	}
	b, err := os.ReadFile(filepath.Join("testdata", "chat", "answers.json"))
	if err == nil {
		err = json.Unmarshal(b, &golden)
	}
	if err != nil {
		t.Fatal(err)
	}
	k, err := text.Open(filepath.Join("testdata", "smollm.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range golden.Cases {
		c, err := text.NewChat(g.Template)
		if err != nil {
			t.Fatal(err)
		}
		ids, answers, err := k.Answers(c, g.Messages)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(ids, g.IDs) {
			t.Errorf("case %d: ids %v, want %v", i, ids, g.IDs)
			continue
		}
		for j, a := range answers {
			if a != (g.Answers[j] == 1) {
				t.Errorf("case %d: token %d %q: an answer: %v", i, j, k.Token(ids[j]), a)
			}
		}
	}
	if len(golden.Cases) != 6 {
		t.Errorf("%d cases", len(golden.Cases))
	}
}

func TestChatsWithoutAPlaceForAnswers(t *testing.T) {
	k, err := text.Open(filepath.Join("testdata", "smollm.json"))
	if err != nil {
		t.Fatal(err)
	}
	messages := []text.Message{{Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}, {Role: "user", Content: "c"}, {Role: "assistant", Content: "d"}}
	for template, want := range map[string]string{
		"{{ messages|length }}{% for m in messages %}{{ m['content'] }}{% endfor %}":                      "cannot be told from the rest",
		"{{ raise_exception('only one turn') }}":                                                          "only one turn",
		"{% for m in messages %}{{ m['content'] }}{% endfor %}{{ 'x' if add_generation_prompt else '' }}": "cannot be told from the rest",
	} {
		c, err := text.NewChat(template)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := k.Answers(c, messages); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", template, err, want)
		}
	}
	b, err := os.ReadFile(filepath.Join("testdata", "chat", "chatml.jinja"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := text.NewChat(string(b))
	if err != nil {
		t.Fatal(err)
	}
	ids, answers, err := k.Answers(c, messages)
	if err != nil || len(ids) != len(answers) {
		t.Errorf("%d tokens, %d answers, %v", len(ids), len(answers), err)
	}
}
