package serve

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"lowbit/infer"
)

func TestContentIsTextOrPartsOfText(t *testing.T) {
	for in, want := range map[string]string{
		`{"role":"user","content":"one"}`: "one",
		`{"role":"user","content":[{"type":"text","text":"one "},{"type":"text","text":"two"}]}`: "one two",
		`{"role":"user","content":[]}`: "",
	} {
		var m message
		if err := json.Unmarshal([]byte(in), &m); err != nil || string(m.Content) != want {
			t.Errorf("%s: %v, %q", in, err, m.Content)
		}
	}
	for _, in := range []string{`{"content":[{"type":"image_url","image_url":{"url":"x"}}]}`, `{"content":5}`, `{"content":["x"]}`} {
		var m message
		if err := json.Unmarshal([]byte(in), &m); err == nil {
			t.Errorf("%s accepted as %q", in, m.Content)
		}
	}
}

// A client beyond the bound is answered once another one has left, not before.
func TestConnectionsAreBounded(t *testing.T) {
	url := start(t, Pictures("colours", colours(t, infer.PoolOptions{}), Config{Connections: 1}))
	dial := func() net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	answered := func(c net.Conn, within time.Duration) error {
		c.SetReadDeadline(time.Now().Add(within))
		_, err := c.Read(make([]byte, 1))
		return err
	}
	first := dial()
	if err := answered(first, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	second := dial()
	if err := answered(second, 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a second connection beside the one that may be: %v", err)
	}
	first.Close()
	if err := answered(second, 10*time.Second); err != nil {
		t.Errorf("after the first left: %v", err)
	}
}
