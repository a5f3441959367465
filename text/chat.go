package text

import (
	"fmt"
	"strings"
	"time"

	"lowbit/text/jinja"
)

// Message is one turn of a chat.
type Message struct {
	// Role is "system", "user", "assistant" or "tool".
	Role string
	// Content is what was said.
	Content string
	// Extra holds further fields that templates read, such as "tool_calls";
	// values as jinja.Template.Render takes them.
	Extra map[string]any
}

// ChatOptions tell how a chat becomes a prompt.
type ChatOptions struct {
	// Generate ends the prompt with the head of the assistant's next turn.
	Generate bool
	// Tools is the description of tools, as jinja.DecodeJSON reads it from
	// JSON; nil for none.
	Tools any
	// Now is what the template takes for the time, the time of the call if zero.
	Now time.Time
	// Values are further variables of the template.
	Values map[string]any
}

// Chat renders chats with one template. It is safe for concurrent use.
type Chat struct {
	template *jinja.Template
	names    map[string]any // bos_token and so on
}

// Chat parses the tokenizer's template. It fails if it has none, or one that
// uses what is not supported.
func (t *Tokenizer) Chat() (*Chat, error) {
	if t.Template == "" {
		return nil, fmt.Errorf("text: this tokenizer has no chat template")
	}
	c, err := NewChat(t.Template)
	if err != nil {
		return nil, err
	}
	for role := range roleNames {
		if id, ok := t.roles[role]; ok {
			c.names[role+"_token"] = t.tokens[id]
		}
	}
	return c, nil
}

// NewChat parses a template by itself: it knows no names of special tokens.
func NewChat(template string) (*Chat, error) {
	p, err := jinja.Parse(template)
	if err != nil {
		return nil, fmt.Errorf("text: chat template: %w", err)
	}
	return &Chat{template: p, names: map[string]any{}}, nil
}

// Render returns the prompt of a chat, special tokens in text and all: encode
// it with Tokenizer.Append, which adds no further marks. Messages of others
// may spell special tokens, and the template does not stop them.
func (c *Chat) Render(messages []Message, o ChatOptions) (string, error) {
	list := make([]any, len(messages))
	for i, m := range messages {
		d := &jinja.Dict{}
		d.Set("role", m.Role)
		d.Set("content", m.Content)
		for k, v := range m.Extra {
			d.Set(k, v)
		}
		list[i] = d
	}
	now := o.Now
	if now.IsZero() {
		now = time.Now()
	}
	values := map[string]any{
		"messages": list, "add_generation_prompt": o.Generate, "tools": o.Tools, "documents": nil,
		"strftime_now": jinja.Func(func(args []any, _ map[string]any) (any, error) {
			if len(args) == 1 {
				if f, ok := args[0].(string); ok {
					return strftime(f, now)
				}
			}
			return nil, fmt.Errorf("strftime_now wants a format")
		}),
	}
	for k, v := range c.names {
		values[k] = v
	}
	for k, v := range o.Values {
		values[k] = v
	}
	s, err := c.template.Render(values)
	if err != nil {
		return "", fmt.Errorf("text: chat template: %w", err)
	}
	return s, nil
}

// dateFormats are C's, in Go's spelling.
var dateFormats = map[byte]string{
	'd': "02", 'm': "01", 'Y': "2006", 'y': "06", 'B': "January", 'b': "Jan", 'A': "Monday", 'a': "Mon",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'F': "2006-01-02", 'T': "15:04:05",
}

// strftime formats a time by C's rules.
func strftime(format string, t time.Time) (string, error) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		if i++; i == len(format) {
			return "", fmt.Errorf("a date format that ends with %%")
		}
		f, ok := dateFormats[format[i]]
		switch {
		case format[i] == '%':
			b.WriteByte('%')
		case ok:
			b.WriteString(t.Format(f))
		default:
			return "", fmt.Errorf("the date format %%%c is not supported", format[i])
		}
	}
	return b.String(), nil
}
