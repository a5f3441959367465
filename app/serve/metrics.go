package serve

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// buckets are the upper bounds of the latency histogram in seconds.
var buckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}

// metrics counts requests. Prometheus' text format is a dozen lines to write; its
// client library would bring ten modules.
type metrics struct {
	mu       sync.Mutex
	requests map[[2]string]int64 // by route and status
	latency  map[string]*histogram
	tokens   [2]int64 // read, written
	// callers tells how many wait and how many are answered now.
	callers func() (waiting, running int)
}

type histogram struct {
	counts []int64
	sum    float64
	total  int64
}

func (m *metrics) init() {
	m.requests, m.latency = map[[2]string]int64{}, map[string]*histogram{}
}

func (m *metrics) observe(route string, status int, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[[2]string{route, fmt.Sprint(status)}]++
	h := m.latency[route]
	if h == nil {
		h = &histogram{counts: make([]int64, len(buckets))}
		m.latency[route] = h
	}
	s := took.Seconds()
	for i, b := range buckets {
		if s <= b {
			h.counts[i]++
		}
	}
	h.sum, h.total = h.sum+s, h.total+1
}

func (m *metrics) wrote(read, written int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens[0] += int64(read)
	m.tokens[1] += int64(written)
}

func (s *Server) writeMetrics(w http.ResponseWriter, _ *http.Request) {
	m := &s.metrics
	var b strings.Builder
	head := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	m.mu.Lock()
	head("lowbit_requests_total", "counter", "Requests by route and status.")
	keys := slices.SortedFunc(maps.Keys(m.requests), func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) })
	for _, k := range keys {
		fmt.Fprintf(&b, "lowbit_requests_total{route=%q,status=%q} %d\n", k[0], k[1], m.requests[k])
	}
	head("lowbit_request_seconds", "histogram", "Time from a request to its answer's end.")
	for _, route := range slices.Sorted(maps.Keys(m.latency)) {
		h := m.latency[route]
		for i, le := range buckets {
			fmt.Fprintf(&b, "lowbit_request_seconds_bucket{route=%q,le=\"%g\"} %d\n", route, le, h.counts[i])
		}
		fmt.Fprintf(&b, "lowbit_request_seconds_bucket{route=%q,le=\"+Inf\"} %d\n", route, h.total)
		fmt.Fprintf(&b, "lowbit_request_seconds_sum{route=%q} %g\nlowbit_request_seconds_count{route=%q} %d\n", route, h.sum, route, h.total)
	}
	head("lowbit_tokens_total", "counter", "Tokens that a language model read and wrote.")
	fmt.Fprintf(&b, "lowbit_tokens_total{kind=\"read\"} %d\nlowbit_tokens_total{kind=\"written\"} %d\n", m.tokens[0], m.tokens[1])
	m.mu.Unlock()
	waiting, running := m.callers()
	head("lowbit_waiting", "gauge", "Callers that wait.")
	fmt.Fprintf(&b, "lowbit_waiting %d\n", waiting)
	head("lowbit_running", "gauge", "Callers that the model works for.")
	fmt.Fprintf(&b, "lowbit_running %d\n", running)
	head("lowbit_uptime_seconds", "gauge", "Time since the start.")
	fmt.Fprintf(&b, "lowbit_uptime_seconds %g\n", time.Since(s.started).Seconds())
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprint(w, b.String())
}
