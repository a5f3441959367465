// Command embedded shows a program that carries its network inside: a packed
// file of a few kilobytes, put into the binary by go:embed, and an HTTP server
// that classifies the pictures it is sent. The program needs no file, no shared
// library and no other runtime.
//
//	go run ./examples/embedded
//	curl --data-binary @picture.png http://127.0.0.1:8080/
//
// colours.lowbit.safetensors tells red, green and blue pictures apart; its
// making is TestMakeFile of this folder. In a program of your own the file
// comes from `lowbit export --to packed`.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"lowbit/infer"
)

//go:embed colours.lowbit.safetensors
var packed []byte

// maxBody is the largest picture that the handler reads, in bytes.
const maxBody = 4 << 20

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where to listen")
	flag.Parse()
	m, err := infer.Decode(packed)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, *addr, m.NewPool(infer.PoolOptions{})); err != nil {
		log.Fatal(err)
	}
}

// serve answers until ctx ends, then lets the calls in progress end.
func serve(ctx context.Context, addr string, pool *infer.Pool) error {
	server := &http.Server{Addr: addr, Handler: handler(pool), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(last), pool.Close(last))
}

// handler answers a POST of a JPEG, PNG or GIF picture with the classes and
// their probabilities as JSON. The pool bounds how many are computed at once
// and how many wait; a client that goes away stops waiting.
func handler(pool *infer.Pool) http.Handler {
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
		top, err := pool.Classify(r.Context(), picture, 3)
		switch {
		case errors.Is(err, infer.ErrBusy):
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(top) // the client may have gone away
		}
	})
}
