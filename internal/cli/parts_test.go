package cli

import (
	"bytes"
	"strings"
	"testing"

	"lowbit/data"
	"lowbit/train"
)

func TestSuggestionsAreNear(t *testing.T) {
	names := []string{"train", "quantize", "quickstart", "eval", "--epochs", "--lr"}
	for typed, want := range map[string]string{
		"trian": "train", "quantise": "quantize", "quan": "quantize", "evla": "eval", "--epoch": "--epochs",
	} {
		if got := didYouMean(typed, names); got != `, did you mean "`+want+`"?` {
			t.Errorf("%s: %q, want %s", typed, got, want)
		}
	}
	for _, typed := range []string{"zzzzzz", "serve-all", ""} {
		if got := didYouMean(typed, names); got != "" {
			t.Errorf("%s: %q, want nothing", typed, got)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"train", "train", 0}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestProgressLineRewritesItselfAndFits(t *testing.T) {
	var b bytes.Buffer
	l := &line{w: &b, width: 60}
	p := l.training("lsq w4a4")
	p(train.Progress{Epoch: 1, Epochs: 3, Step: 10, Steps: 40, Loss: 0.5, Accuracy: 0.75, HeldOut: -1, ImagesPerS: 1000, Left: 75})
	l.fetching(data.Progress{Name: "cifar10", Source: "npm x", Done: 1 << 20, Total: 4 << 20})
	l.clear()
	l.clear()
	parts := strings.Split(b.String(), "\r\x1b[K")
	if len(parts) != 4 || parts[0] != "" || parts[3] != "" {
		t.Fatalf("%q", parts)
	}
	if !strings.HasPrefix(parts[1], "lsq w4a4 [========") || len(parts[1]) != 59 {
		t.Errorf("%q", parts[1])
	}
	if parts[2] != "cifar10 from npm x [=====               ] 1.00 MiB of 4.00 " {
		t.Errorf("%q", parts[2])
	}
	var silent line // stderr is no terminal
	silent.training("x")(train.Progress{})
	silent.clear()
}

func TestNumbersForPeople(t *testing.T) {
	for got, want := range map[string]string{
		thousands(1234567): "1,234,567", thousands(12): "12", thousands(-1234): "-1,234", thousands(-123): "-123",
		size(12): "12 B", size(2048): "2.0 KiB", size(3 << 20): "3.00 MiB", size(5 << 30): "5.00 GiB",
		duration(1.25): "1.2 s", duration(59): "59 s", duration(125): "2 min 05 s", duration(7260): "2 h 01 min",
		percent(0.91734): "91.73 %",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
