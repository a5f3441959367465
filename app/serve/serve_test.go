package serve

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"mime/multipart"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"lowbit/engine"
	"lowbit/generate"
	"lowbit/infer"
	"lowbit/internal/testenv"
	"lowbit/load"
)

// start runs a server on a port of its own and stops it with the test, which
// fails if it does not stop cleanly or leaves goroutines behind.
func start(t *testing.T, s *Server) (url string) {
	t.Helper()
	before := runtime.NumGoroutine()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
		for range 100 {
			if runtime.NumGoroutine() <= before {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
	})
	return "http://" + l.Addr().String()
}

// colours is the small network of the examples folder: red, green and blue.
func colours(t *testing.T, o infer.PoolOptions) *infer.Pool {
	t.Helper()
	m, err := infer.Load(filepath.Join(testenv.Root(t), "examples", "embedded", "colours.lowbit.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	p := m.NewPool(o)
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
		m.Close()
	})
	return p
}

func red(t *testing.T) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 40, 30))
	for i := range 40 * 30 {
		img.Set(i%40, i/40, color.RGBA{R: 230, G: 20, B: 30, A: 255})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// post sends a body and returns status and answer.
func post(t *testing.T, url, kind string, body []byte) (int, string) {
	t.Helper()
	r, err := http.Post(url, kind, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestPicturesAndTensorsAreAnswered(t *testing.T) {
	pool := colours(t, infer.PoolOptions{})
	url := start(t, Pictures("colours", pool, Config{}))
	status, body := post(t, url+"/predict?top=2", "image/png", red(t))
	var p prediction
	if err := json.Unmarshal([]byte(body), &p); err != nil || status != 200 || len(p.Classes) != 2 || p.Classes[0].Label != "red" {
		t.Errorf("%d %s", status, body)
	}
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	w.WriteField("note", "before the file")
	f, _ := w.CreateFormFile("file", "red.png")
	f.Write(red(t))
	w.Close()
	if status, body := post(t, url+"/predict?top=2", w.FormDataContentType(), form.Bytes()); status != 200 || !strings.Contains(body, `"red"`) {
		t.Errorf("form: %d %s", status, body)
	}
	form.Reset()
	w = multipart.NewWriter(&form)
	for _, name := range []string{"a.png", "b.png", "c.png"} {
		f, _ := w.CreateFormFile("file", name)
		f.Write(red(t))
	}
	w.Close()
	var several struct{ Pictures []prediction }
	status, body = post(t, url+"/predict?top=1", w.FormDataContentType(), form.Bytes())
	if err := json.Unmarshal([]byte(body), &several); err != nil || status != 200 || len(several.Pictures) != 3 || several.Pictures[1].Name != "b.png" || several.Pictures[2].Classes[0].Label != "red" {
		t.Errorf("form of three: %d %s", status, body)
	}
	small := start(t, Pictures("colours", pool, Config{MaxPixels: 10}))
	if status, body := post(t, small+"/predict", "image/png", red(t)); status != http.StatusUnsupportedMediaType || !strings.Contains(body, "at most 10 pixels") {
		t.Errorf("a picture of too many pixels: %d %s", status, body)
	}
	m := pool.Model()
	size := 1
	for _, d := range m.InputShape() {
		size *= d
	}
	numbers := make([]float32, 2*size)
	for i := range numbers {
		numbers[i] = float32(i%7) / 7
	}
	var octets []byte
	for _, v := range numbers {
		octets = binary.LittleEndian.AppendUint32(octets, math.Float32bits(v))
	}
	asJSON, _ := json.Marshal(map[string]any{"inputs": [][]float32{numbers[:size], numbers[size:]}})
	_, a := post(t, url+"/predict", "application/json", asJSON)
	status, b := post(t, url+"/predict", "application/octet-stream", octets)
	if status != 200 || a != b || strings.Count(a, "[") != 3 {
		t.Errorf("as JSON %s, as octets %s", a, b)
	}
	if status, body := get(t, url+"/model"); status != 200 || !strings.Contains(body, `"input_shape"`) || !strings.Contains(body, "green") {
		t.Errorf("%d %s", status, body)
	}
	if status, body := get(t, url+"/"); status != 200 || !strings.Contains(body, "Classify a picture") {
		t.Errorf("%d %.100s", status, body)
	}
	if status, body := get(t, url+"/metrics"); status != 200 || !strings.Contains(body, `lowbit_requests_total{route="POST /predict",status="200"} 5`) || !strings.Contains(body, "lowbit_request_seconds_count") {
		t.Errorf("%d %s", status, body)
	}
}

// infinite is an example whose first number is none.
func infinite(p *infer.Pool) []byte {
	size := 4
	for _, d := range p.Model().InputShape() {
		size *= d
	}
	b := make([]byte, size)
	binary.LittleEndian.PutUint32(b, math.Float32bits(float32(math.Inf(1))))
	return b
}

func TestBadRequestsAreNamed(t *testing.T) {
	url := start(t, Pictures("colours", colours(t, infer.PoolOptions{}), Config{MaxBody: 100_000}))
	for name, c := range map[string]struct {
		path, kind string
		body       []byte
		status     int
		word       string
	}{
		"no picture":      {"/predict", "image/png", []byte("not a picture"), 415, "no_picture"},
		"cut off":         {"/predict", "image/png", red(t)[:60], 415, "no_picture"},
		"too large":       {"/predict", "image/png", make([]byte, 100_001), 413, "100000 bytes"},
		"json too large":  {"/predict", "application/json", []byte(`{"inputs":[[` + strings.Repeat("1,", 60_000) + `1]]}`), 413, "too_large"},
		"wrong length":    {"/predict", "application/json", []byte(`{"inputs":[[1,2]]}`), 400, "example 0 has 2 numbers"},
		"no inputs":       {"/predict", "application/json", []byte(`{}`), 400, "0 examples"},
		"another field":   {"/predict", "application/json", []byte(`{"input":[[1]]}`), 400, "unknown field"},
		"broken json":     {"/predict", "application/json", []byte(`{"inputs":`), 400, "inputs"},
		"odd octets":      {"/predict", "application/octet-stream", []byte{1, 2, 3}, 400, "3 bytes"},
		"infinite octets": {"/predict", "application/octet-stream", infinite(colours(t, infer.PoolOptions{})), 400, "finite"},
		"form of nothing": {"/predict", "multipart/form-data; boundary=x", []byte("--x--\r\n"), 400, "no file"},
		"too many":        {"/predict?top=99", "image/png", red(t), 400, "want 1 to"},
		"no such route":   {"/nonesuch", "image/png", nil, 404, "not_found"},
	} {
		status, body := post(t, url+c.path, c.kind, c.body)
		var e struct {
			Error struct{ Code, Message string }
		}
		if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error.Message == "" || status != c.status || !strings.Contains(body, c.word) {
			t.Errorf("%s: %d %s, want %d with %q", name, status, body, c.status, c.word)
		}
	}
	if status, _ := get(t, url+"/predict"); status != http.StatusMethodNotAllowed && status != http.StatusNotFound {
		t.Errorf("GET /predict: %d", status)
	}
}

// A web page of another origin cannot use the server through its reader's
// browser.
func TestOtherOriginsAreRefused(t *testing.T) {
	url := start(t, Pictures("colours", colours(t, infer.PoolOptions{}), Config{}))
	for origin, want := range map[string]int{"http://elsewhere.example": 403, url: 200} {
		r, err := http.NewRequest(http.MethodPost, url+"/predict", bytes.NewReader(red(t)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", origin)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("origin %s: status %d, want %d", origin, res.StatusCode, want)
		}
	}
}

// A client that sends its request a byte at a time is cut off, one that sends an
// endless header too; others are answered meanwhile.
func TestSlowClientsAreCutOff(t *testing.T) {
	url := start(t, Pictures("colours", colours(t, infer.PoolOptions{}), Config{ReadTimeout: 300 * time.Millisecond}))
	addr := strings.TrimPrefix(url, "http://")
	for name, begin := range map[string]string{
		"header": "POST /predict HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"body":   "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, begin)
		if status, _ := post(t, url+"/predict", "image/png", red(t)); status != 200 {
			t.Errorf("%s: another client got %d", name, status)
		}
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		for began := time.Now(); ; {
			if _, err := c.Write([]byte("a")); err != nil || time.Since(began) > 400*time.Millisecond {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: the connection is still open", name)
		}
		c.Close()
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("a", 4*maxHeader))
	if b, _ := io.ReadAll(c); !bytes.Contains(b, []byte(" 431 ")) {
		t.Errorf("an endless header got %.60q, want status 431", b)
	}
}

// More callers than may wait are sent away with 503 and Retry-After; the others
// are answered.
func TestAFullQueueSendsCallersAway(t *testing.T) {
	pool := colours(t, infer.PoolOptions{Sessions: 1, Queue: 1})
	url := start(t, Pictures("colours", pool, Config{}))
	size := 1
	for _, d := range pool.Model().InputShape() {
		size *= d
	}
	body := make([]byte, 4*size*maxExamples)
	counts := map[int]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 24 {
		all.Go(func() {
			r, err := http.Post(url+"/predict", "application/octet-stream", bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			counts[r.StatusCode]++
			if r.StatusCode == 503 && r.Header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
		})
	}
	all.Wait()
	if counts[200] == 0 || counts[200]+counts[503] != 24 {
		t.Errorf("statuses %v, want 200 and 503 alone", counts)
	}
}

func stories(t *testing.T, c Config) string {
	t.Helper()
	l, err := load.OpenLanguage(testenv.Shared(t, "models", "llm", "stories260K", "stories260K.bin"))
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(1)
	t.Cleanup(e.Close)
	g, err := generate.New(e, generate.Model{Build: l.Graph, Store: l.Store, Tokenizer: l.Tokenizer, Context: l.Config.Context}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, Language("stories", g, c))
}

func TestTextIsWrittenWholeAndAsAStream(t *testing.T) {
	url := stories(t, Config{MaxTokens: 30})
	status, whole := post(t, url+"/v1/completions", "application/json", []byte(`{"prompt":"Once upon a time","max_tokens":12,"temperature":0}`))
	var c struct {
		Choices []struct {
			Text   string
			Finish string `json:"finish_reason"`
		}
		Usage usage
	}
	if err := json.Unmarshal([]byte(whole), &c); err != nil || status != 200 || len(c.Choices) != 1 || c.Usage.Completion != 12 || c.Choices[0].Finish != "length" {
		t.Fatalf("%d %s", status, whole)
	}
	status, stream := post(t, url+"/v1/completions", "application/json", []byte(`{"prompt":"Once upon a time","max_tokens":12,"temperature":0,"stream":true}`))
	var text strings.Builder
	for _, event := range strings.Split(strings.TrimSpace(stream), "\n\n") {
		data := strings.TrimPrefix(event, "data: ")
		if data == "[DONE]" {
			continue
		}
		var piece struct{ Choices []struct{ Text string } }
		if err := json.Unmarshal([]byte(data), &piece); err != nil {
			t.Fatalf("event %q: %v", event, err)
		}
		text.WriteString(piece.Choices[0].Text)
	}
	if status != 200 || text.String() != c.Choices[0].Text || !strings.HasSuffix(stream, "data: [DONE]\n\n") {
		t.Errorf("stream %d %q, whole %q", status, text.String(), c.Choices[0].Text)
	}
	if _, body := post(t, url+"/v1/completions", "application/json", []byte(`{"prompt":"Once","max_tokens":5000}`)); !strings.Contains(body, `"completion_tokens":30`) {
		t.Errorf("%s, want the server's bound of 30 tokens", body)
	}
	for body, word := range map[string]string{
		`{"prompt":""}`:                   "prompt",
		`{"prompt":"a","temperature":-1}`: "temperature",
		`{"prompt":"a","n":3}`:            "n is 3",
		`{"prompt":"a","stop":[1]}`:       "stop",
		`{"prompt":`:                      "json",
		`{"prompt":"` + strings.Repeat("Once upon a time ", 300) + `"}`:       "context_full",
		`{"messages":[{"role":"user","content":"hi"}],"prompt":"a","n":"no"}`: "json",
	} {
		if status, got := post(t, url+"/v1/completions", "application/json", []byte(body)); status != 400 || !strings.Contains(got, word) {
			t.Errorf("%.60s: %d %s, want 400 with %q", body, status, got, word)
		}
	}
	if status, got := post(t, url+"/v1/chat/completions", "application/json", []byte(`{"messages":[{"role":"user","content":"hi"}]}`)); status != 400 || !strings.Contains(got, "chat template") {
		t.Errorf("chat without a template: %d %s", status, got)
	}
	if _, got := get(t, url+"/v1/models"); !strings.Contains(got, `"id":"stories"`) {
		t.Error(got)
	}
	if _, got := get(t, url+"/metrics"); !strings.Contains(got, `lowbit_tokens_total{kind="written"}`) {
		t.Error(got)
	}
}

// A client that goes away in the middle of a stream gives its turn back.
func TestAClientThatLeavesGivesItsTurnBack(t *testing.T) {
	url := stories(t, Config{MaxTokens: 400})
	for range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/completions", strings.NewReader(`{"prompt":"Once upon a time","stream":true}`))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Read(make([]byte, 10))
		cancel()
		res.Body.Close()
	}
	if status, body := post(t, url+"/v1/completions", "application/json", []byte(`{"prompt":"Once","max_tokens":3}`)); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

// While it stops, health says so and answers in progress end.
func TestStoppingLetsAnswersEnd(t *testing.T) {
	s := Pictures("colours", colours(t, infer.PoolOptions{}), Config{Log: io.Discard})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	picture := red(t)
	fmt.Fprintf(c, "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n", len(picture))
	c.Write(picture[:20])
	time.Sleep(100 * time.Millisecond) // the request is being read
	stop()
	time.Sleep(100 * time.Millisecond)
	c.Write(picture[20:])
	if b, err := io.ReadAll(c); err != nil || !bytes.Contains(b, []byte("200 OK")) {
		t.Errorf("the answer in progress: %q, %v", b, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !s.stopping.Load() {
		t.Error("health does not know that the server stops")
	}
}
