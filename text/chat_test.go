package text_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lowbit/text"
	"lowbit/text/jinja"
)

type rendered struct{ Text, Error string }

type chatGolden struct {
	Chats    map[string]json.RawMessage
	Rendered map[string]map[string]rendered
	Snippets []struct{ Source, Text, Error string }
	SmolLM2  map[string]rendered `json:"smollm2"`
}

func loadChats(tb testing.TB) (g chatGolden) {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "chat", "golden.json"))
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// now is the time that the goldens were made with.
var now = time.Date(2026, 7, 4, 15, 6, 7, 0, time.UTC)

// chat turns a golden chat into the arguments of Render.
func chat(tb testing.TB, b json.RawMessage) ([]text.Message, text.ChatOptions) {
	tb.Helper()
	v, err := jinja.DecodeJSON(b)
	if err != nil {
		tb.Fatal(err)
	}
	o := text.ChatOptions{Now: now, Values: map[string]any{"bos_token": "<s>", "eos_token": "</s>"}}
	var messages []text.Message
	d := v.(*jinja.Dict)
	for _, k := range d.Keys {
		switch w, _ := d.Get(k); k {
		case "messages":
			for _, m := range w.(*jinja.List).Items {
				msg := text.Message{Extra: map[string]any{}}
				for _, f := range m.(*jinja.Dict).Keys {
					x, _ := m.(*jinja.Dict).Get(f)
					switch f {
					case "role":
						msg.Role = x.(string)
					case "content":
						msg.Content = x.(string)
					default:
						msg.Extra[f] = x
					}
				}
				messages = append(messages, msg)
			}
		case "tools":
			o.Tools = w
		case "add_generation_prompt":
			o.Generate = w.(bool)
		default:
			o.Values[k] = w
		}
	}
	return messages, o
}

func checkChats(t *testing.T, source string, chats map[string]json.RawMessage, want map[string]rendered) {
	t.Helper()
	c, err := text.NewChat(source)
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range want {
		messages, o := chat(t, chats[name])
		got, err := c.Render(messages, o)
		if (err != nil) != (w.Error != "") || got != w.Text {
			t.Errorf("%s: %v\n got %q\nwant %q %s", name, err, got, w.Text, w.Error)
		}
	}
}

func TestChatTemplatesRenderAsTheReference(t *testing.T) {
	g := loadChats(t)
	if len(g.Rendered) != 4 {
		t.Fatalf("%d templates", len(g.Rendered))
	}
	for name, want := range g.Rendered {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata", "chat", name+".jinja"))
			if err != nil {
				t.Fatal(err)
			}
			checkChats(t, string(b), g.Chats, want)
		})
	}
}

func TestJinjaConstructsAsTheReference(t *testing.T) {
	for _, s := range loadChats(t).Snippets {
		p, err := jinja.Parse(s.Source)
		got := ""
		if err == nil {
			got, err = p.Render(nil)
		}
		if (err != nil) != (s.Error != "") || got != s.Text {
			t.Errorf("%s: %v\n got %q\nwant %q %s", s.Source, err, got, s.Text, s.Error)
		}
	}
}

func TestRealSmolLM2Chat(t *testing.T) {
	r, _ := loadReal(t)
	k := openSmol(t, find(t, r.Files["smollm2"], smolPlaces...))
	g := loadChats(t)
	checkChats(t, k.Template, g.Chats, g.SmolLM2)
	c, err := k.Chat()
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Render([]text.Message{{Role: "user", Content: "Hi"}}, text.ChatOptions{Generate: true})
	if err != nil {
		t.Fatal(err)
	}
	ids := k.Append(nil, s)
	if eos, _ := k.Special("eos"); ids[0] != 1 || eos != 2 || k.Decode(ids, false) != s {
		t.Errorf("%v for %q", ids, s)
	}
}
