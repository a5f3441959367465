// Package embedded shows a program that carries its network inside: a packed
// file of a few kilobytes, put into the binary by go:embed, and an HTTP handler
// that classifies the pictures it is sent. The program needs no file, no shared
// library and no other runtime.
//
// colours.lowbit.safetensors tells red, green and blue pictures apart; its
// making is TestMakeFile of this folder. In a program of your own the file
// comes from `lowbit export --to packed`.
package embedded

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"lowbit/infer"
)

//go:embed colours.lowbit.safetensors
var packed []byte

// maxBody is the largest picture that the handler reads, in bytes.
const maxBody = 4 << 20

// Handler answers a POST of a JPEG, PNG or GIF picture with the classes and
// their probabilities as JSON. So many requests are computed at once, each on
// one thread; others wait until one is done or their client goes away.
func Handler(atOnce int) (http.Handler, error) {
	m, err := infer.Decode(packed)
	if err != nil {
		return nil, err
	}
	sessions := make(chan *infer.Session, max(atOnce, 1))
	for range cap(sessions) {
		sessions <- m.NewSession(infer.Options{Threads: 1})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			http.Error(w, "send a picture with POST", http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			status := http.StatusBadRequest
			if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
				status = http.StatusRequestEntityTooLarge
			}
			http.Error(w, err.Error(), status)
			return
		}
		picture, err := infer.DecodeImage(bytes.NewReader(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnsupportedMediaType)
			return
		}
		var s *infer.Session
		select {
		case s = <-sessions:
			defer func() { sessions <- s }()
		case <-r.Context().Done():
			return
		}
		top, err := s.Classify(r.Context(), picture, 3)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(top) // the client may have gone away
	}), nil
}
