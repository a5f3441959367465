// Package serve answers over HTTP with a packed network or a language model.
//
//	GET  /                      a page to try it
//	GET  /model                 what is served: shapes, labels, preprocessing
//	POST /predict               a picture (raw, or a form's first file), or tensors
//	POST /v1/completions        a language model goes on with a text
//	POST /v1/chat/completions   a language model answers a chat; both can stream
//	GET  /v1/models             the language model's name
//	GET  /healthz               200 while it answers, 503 once it is stopping
//	GET  /metrics               counts and latencies, in Prometheus' text format
//
// The language routes take and give the fields of OpenAI's API that the model has
// a meaning for. Every failure is a JSON object {"error": {"code", "message"}}.
// Size, time and concurrency are bounded: bodies, headers, pixels, waiting
// callers, and how long a client may take to send or to read.
package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"lowbit/generate"
	"lowbit/infer"
)

// Config bounds what a server takes. The zero value of a field means the default
// in brackets.
type Config struct {
	MaxBody     int64         // bytes of a request [16 MiB]
	Timeout     time.Duration // from a request's end to its answer's start, and for each piece of a stream [60 s]
	ReadTimeout time.Duration // for a client to send a request [30 s]
	Drain       time.Duration // for answers in progress once the server stops [10 s]
	Queue       int           // callers of a language model that wait [16]
	MaxTokens   int           // most tokens of one answer [1024]
	MaxPixels   int64         // of a picture [25 million]
	Decoders    int           // pictures that are decoded at once [one a CPU]
	Connections int           // open at once; further clients wait to be accepted [256]
	// Log gets a line of JSON for each request; nil: nothing.
	Log io.Writer
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if c.MaxBody <= 0 {
		c.MaxBody = 16 << 20
	}
	set(&c.Timeout, time.Minute)
	set(&c.ReadTimeout, 30*time.Second)
	set(&c.Drain, 10*time.Second)
	if c.Queue <= 0 {
		c.Queue = 16
	}
	if c.MaxTokens <= 0 {
		c.MaxTokens = 1024
	}
	if c.MaxPixels <= 0 {
		c.MaxPixels = 25_000_000
	}
	if c.Decoders <= 0 {
		c.Decoders = runtime.GOMAXPROCS(0)
	}
	if c.Connections <= 0 {
		c.Connections = 256
	}
	return c
}

// maxHeader bounds a request's header.
const maxHeader = 16 << 10

// Server answers requests for one model.
type Server struct {
	c        Config
	mux      *http.ServeMux
	metrics  metrics
	foreign  http.CrossOriginProtection
	logMu    sync.Mutex
	stopping atomic.Bool
	started  time.Time
}

func newServer(c Config) *Server {
	s := &Server{c: c.withDefaults(), mux: http.NewServeMux(), started: time.Now()}
	s.metrics.init()
	s.mux.HandleFunc("GET /healthz", s.health)
	s.mux.HandleFunc("GET /metrics", s.writeMetrics)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "not_found", fmt.Sprintf("there is no %s %s", r.Method, r.URL.Path))
	})
	return s
}

// Pictures makes a server of a packed network. The caller closes the pool.
func Pictures(name string, pool *infer.Pool, c Config) *Server {
	s := newServer(c)
	p := &pictures{Server: s, name: name, pool: pool, decoding: make(chan struct{}, s.c.Decoders)}
	s.metrics.callers = func() (int, int) {
		stats := pool.Stats()
		return stats.Waiting, stats.Running
	}
	s.mux.HandleFunc("GET /{$}", page("picture.html"))
	s.mux.HandleFunc("GET /model", p.describe)
	s.mux.HandleFunc("POST /predict", p.predict)
	return s
}

// Language makes a server of a language model.
func Language(name string, g *generate.Generator, c Config) *Server {
	s := newServer(c)
	l := newLanguage(s, name, g)
	s.metrics.callers = func() (int, int) { return max(0, len(l.waiting)-len(l.turn)), len(l.turn) }
	s.mux.HandleFunc("GET /{$}", page("chat.html"))
	s.mux.HandleFunc("GET /model", l.describe)
	s.mux.HandleFunc("GET /v1/models", l.models)
	s.mux.HandleFunc("POST /v1/completions", l.completions)
	s.mux.HandleFunc("POST /v1/chat/completions", l.chat)
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	defer func() {
		if p := recover(); p != nil {
			if rec.written == 0 {
				fail(rec, http.StatusInternalServerError, "internal", "the server failed on this request")
			}
			s.logf(map[string]any{"panic": fmt.Sprint(p), "path": r.URL.Path})
		}
		s.done(r, rec, time.Since(began))
	}()
	// Without passwords, any page in the user's browser could post here.
	if err := s.foreign.Check(r); err != nil {
		fail(rec, http.StatusForbidden, "cross_origin", "requests from web pages of other origins are refused")
		return
	}
	r.Body = http.MaxBytesReader(rec, r.Body, s.c.MaxBody)
	s.mux.ServeHTTP(rec, r)
}

// done counts and logs a request.
func (s *Server) done(r *http.Request, rec *recorder, took time.Duration) {
	route := r.Pattern
	if route == "" || route == "/" {
		route = "other"
	}
	s.metrics.observe(route, rec.status, took)
	s.logf(map[string]any{
		"time": time.Now().UTC().Format(time.RFC3339Nano), "method": r.Method, "path": r.URL.Path, "status": rec.status,
		"bytes": rec.written, "ms": float64(took.Microseconds()) / 1000, "client": r.RemoteAddr,
	})
}

func (s *Server) logf(line map[string]any) {
	if s.c.Log == nil {
		return
	}
	if b, err := json.Marshal(line); err == nil {
		s.logMu.Lock()
		defer s.logMu.Unlock()
		fmt.Fprintf(s.c.Log, "%s\n", b)
	}
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	if s.stopping.Load() {
		fail(w, http.StatusServiceUnavailable, "stopping", "the server is stopping")
		return
	}
	reply(w, map[string]any{"status": "ok", "seconds": time.Since(s.started).Seconds()})
}

// Run answers on a listener until ctx ends; then it refuses new requests, lets
// those in progress end for Config.Drain, and cuts off what is left.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	base, cut := context.WithCancel(context.Background())
	defer cut()
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: min(s.c.ReadTimeout, 5*time.Second), ReadTimeout: s.c.ReadTimeout, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: maxHeader, BaseContext: func(net.Listener) context.Context { return base },
		// A stream moves its deadline on with each piece.
		WriteTimeout: s.c.ReadTimeout + s.c.Timeout,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(netutil.LimitListener(l, s.c.Connections)) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.stopping.Store(true)
	last, cancel := context.WithTimeout(context.Background(), s.c.Drain)
	defer cancel()
	err := server.Shutdown(last)
	if errors.Is(err, context.DeadlineExceeded) {
		cut()
		err = server.Close()
	}
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status  int
	written int64
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	n, err := r.ResponseWriter.Write(b)
	r.written += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// reply writes a result as JSON.
func reply(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fail(w, http.StatusInternalServerError, "internal", err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(b, '\n'))
}

// fail writes an error as JSON.
func fail(w http.ResponseWriter, status int, code, message string) {
	b, _ := json.Marshal(map[string]any{"error": map[string]string{"code": code, "message": message}})
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}

// failRead answers a body that could not be read.
func failRead(w http.ResponseWriter, err error) {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		fail(w, http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body has more than %d bytes", large.Limit))
		return
	}
	fail(w, http.StatusBadRequest, "unreadable", err.Error())
}

// failRun answers an error of the model: a full queue, a client that went away, a
// time that ran out, or what came was not what the model takes.
func failRun(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, infer.ErrBusy) || errors.Is(err, errQueue):
		fail(w, http.StatusServiceUnavailable, "busy", "as many callers wait as may; try again")
	case errors.Is(err, context.DeadlineExceeded):
		fail(w, http.StatusServiceUnavailable, "timeout", "the answer took longer than the server allows")
	case errors.Is(err, context.Canceled):
		fail(w, statusClientGone, "cancelled", "the client went away or the server is stopping")
	case errors.Is(err, generate.ErrContext):
		fail(w, http.StatusBadRequest, "context_full", err.Error())
	default:
		fail(w, http.StatusUnprocessableEntity, "invalid", err.Error())
	}
}

// statusClientGone is what logs show for a client that did not wait (nginx's
// number).
const statusClientGone = 499
