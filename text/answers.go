package text

import (
	"fmt"
	"strings"
	"time"
)

// answersNow is the time that templates see when a set of chats is rendered: the
// same tokens on every day.
var answersNow = time.Date(2024, 7, 26, 0, 0, 0, 0, time.UTC)

// Answers renders a chat and tells which tokens are answers: those that the
// assistant says, the mark that ends them among them, in every turn. The answer of
// a turn is what the template writes of it behind the prompt that asks for it. It
// fails if the template fails, or writes the beginning of a chat in another way
// once the chat goes on, so that no place in it belongs to one turn.
func (t *Tokenizer) Answers(c *Chat, messages []Message) (ids []int32, answers []bool, err error) {
	whole, err := c.Render(messages, ChatOptions{Now: answersNow})
	if err != nil {
		return nil, nil, err
	}
	ids = t.Append(nil, whole)
	answers = make([]bool, len(ids))
	for i, m := range messages {
		if m.Role != "assistant" {
			continue
		}
		asked, err := c.Render(messages[:i], ChatOptions{Now: answersNow, Generate: true})
		if err != nil {
			return nil, nil, err
		}
		said, err := c.Render(messages[:i+1], ChatOptions{Now: answersNow})
		if err != nil {
			return nil, nil, err
		}
		if !strings.HasPrefix(said, asked) || !strings.HasPrefix(whole, said) {
			return nil, nil, fmt.Errorf("text: chat template: the text of the first %d messages does not begin with their prompt, or the chat with it: its answers cannot be told from the rest", i+1)
		}
		// A template may write white space behind the mark that ends a turn, which a
		// model that has stopped never says.
		from, to := t.common(ids, asked), t.common(ids, strings.TrimRight(said, " \t\r\n"))
		for k := from; k < to; k++ {
			answers[k] = true
		}
	}
	return ids, answers, nil
}

// common returns how many tokens a text that ids continues has in common with it.
func (t *Tokenizer) common(ids []int32, beginning string) int {
	n := 0
	for _, id := range t.Append(nil, beginning) {
		if n == len(ids) || ids[n] != id {
			break
		}
		n++
	}
	return n
}
