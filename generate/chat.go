package generate

import (
	"context"
	"fmt"

	"lowbit/text"
)

// Chat is a conversation in turns, by the model's chat template.
type Chat struct {
	// Messages are what was said so far.
	Messages []text.Message

	s        *Session
	template *text.Chat
}

// NewChat starts a chat; system, if not "", is its first message. It fails if
// the model has no chat template.
func (g *Generator) NewChat(system string) (*Chat, error) {
	t, err := g.m.Tokenizer.Chat()
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	c := &Chat{s: g.NewSession(), template: t}
	if system != "" {
		c.Messages = append(c.Messages, text.Message{Role: "system", Content: system})
	}
	return c, nil
}

// Prompt returns the tokens of messages up to the head of the assistant's next
// turn.
func (g *Generator) Prompt(t *text.Chat, messages []text.Message) ([]int32, error) {
	s, err := t.Render(messages, text.ChatOptions{Generate: true})
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	return g.m.Tokenizer.Append(nil, s), nil
}

// Say adds a message of the user's and the model's answer to it; r.Prompt does
// not count. After an error the messages are as before.
func (c *Chat) Say(ctx context.Context, content string, r Request) (Answer, error) {
	messages := append(c.Messages[:len(c.Messages):len(c.Messages)], text.Message{Role: "user", Content: content})
	var err error
	if r.Prompt, err = c.s.g.Prompt(c.template, messages); err != nil {
		return Answer{}, err
	}
	a, err := c.s.Generate(ctx, r)
	if err != nil {
		return a, err
	}
	c.Messages = append(messages, text.Message{Role: "assistant", Content: a.Text})
	return a, nil
}
