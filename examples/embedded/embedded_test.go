package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"lowbit/graph"
	"lowbit/infer"
	"lowbit/nn"
	"lowbit/quant"
	"lowbit/tensor"
)

var update = flag.Bool("update", false, "write colours.lowbit.safetensors anew")

func picture(c color.Color) []byte {
	img := image.NewRGBA(image.Rect(0, 0, 30, 20))
	for i := range 600 {
		img.Set(i%30, i/30, c)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func Example() {
	m, err := infer.Decode(packed)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler(m.NewPool(infer.PoolOptions{Sessions: 2})))
	defer server.Close()
	r, err := http.Post(server.URL, "image/png", bytes.NewReader(picture(color.RGBA{G: 200, A: 255})))
	if err != nil {
		log.Fatal(err)
	}
	defer r.Body.Close()
	var top []infer.Prediction
	if err := json.NewDecoder(r.Body).Decode(&top); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %.2f\n", top[0].Label, top[0].Probability)
	// Output: green 0.95
}

func TestHandlerRefusesWhatIsNoPicture(t *testing.T) {
	m, err := infer.Decode(packed)
	if err != nil {
		t.Fatal(err)
	}
	h := handler(m.NewPool(infer.PoolOptions{Sessions: 1}))
	for body, want := range map[string]int{
		"no picture":                    http.StatusUnsupportedMediaType,
		"":                              http.StatusUnsupportedMediaType,
		strings.Repeat("x", maxBody+10): http.StatusRequestEntityTooLarge,
		string(picture(color.White)):    http.StatusOK,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
		if w.Code != want {
			t.Errorf("%d bytes: status %d, want %d", len(body), w.Code, want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", w.Code)
	}
}

func TestServeStopsInOrder(t *testing.T) {
	m, err := infer.Decode(packed)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := serve(ctx, "127.0.0.1:0", m.NewPool(infer.PoolOptions{Sessions: 1})); err != nil {
		t.Error(err)
	}
	if err := serve(context.Background(), "256.0.0.1:0", m.NewPool(infer.PoolOptions{Sessions: 1})); err == nil {
		t.Error("an address that does not exist was listened to")
	}
}

// network is a 3 x 3 convolution that lets each colour pass on a channel of its
// own, relu, the mean and a linear layer, with weights of 2 bits.
func network(t *testing.T) (*graph.Graph, *tensor.Store) {
	g := graph.New()
	q := func(x *graph.Node, name string, bits int, signed bool) *graph.Node {
		step := g.Param(graph.Param{Name: name + "_step", Shape: []int{1}, Role: graph.Step})
		return g.FakeQuant(x, step, graph.FakeQuant{Spec: quant.Spec{Bits: bits, Signed: signed}, StepGrad: graph.StepLSQ})
	}
	param := func(name string, shape ...int) *graph.Node {
		return g.Param(graph.Param{Name: name, Shape: shape, Role: graph.Weight})
	}
	x := q(nn.Input(g, 1, 3, 16, 16), "conv.input", 8, true)
	w := q(param("conv.weight", 3, 3, 3, 3), "conv.weight", 2, true)
	x = g.Relu(g.Conv2D(x, w, graph.Conv2D{Stride: [2]int{2, 2}, Pad: [4]int{1, 1, 1, 1}, Dilation: [2]int{1, 1}, Groups: 1}).Named("conv"))
	x = g.GlobalAvgPool(q(x, "pool.input", 4, false)).Named("pool")
	x = g.Linear(q(x, "fc.input", 8, false), q(param("fc.weight", 3, 3), "fc.weight", 2, true)).Named("fc")
	nn.Logits(g, x)

	conv, fc := tensor.New(tensor.F32, 3, 3, 3, 3), tensor.New(tensor.F32, 3, 3)
	for o := range 3 {
		fc.Float32s()[4*o] = 1
		for c := range 3 {
			v := float32(-1)
			if c == o {
				v = 1
			}
			conv.Float32s()[(o*3+c)*9+4] = v // the window's centre
		}
	}
	store := tensor.NewStore()
	for name, v := range map[string]*tensor.Tensor{
		"conv.weight": conv, "fc.weight": fc,
		"conv.input_step": tensor.FromFloat32s([]float32{1. / 64}, 1), "conv.weight_step": tensor.FromFloat32s([]float32{1}, 1),
		"pool.input_step": tensor.FromFloat32s([]float32{.2}, 1),
		"fc.input_step":   tensor.FromFloat32s([]float32{1. / 64}, 1), "fc.weight_step": tensor.FromFloat32s([]float32{1.4}, 1),
	} {
		if err := store.Put(name, v); err != nil {
			t.Fatal(err)
		}
	}
	return g, store
}

// The embedded file is what this network is packed to; -update writes it.
func TestMakeFile(t *testing.T) {
	g, store := network(t)
	half := []float32{.5, .5, .5}
	var b bytes.Buffer
	err := infer.Encode(&b, g, store, infer.Info{
		Name: "colours", Labels: []string{"red", "green", "blue"},
		Preprocess: &infer.Preprocess{Channels: 3, Height: 16, Width: 16, Mean: half, Std: half},
	})
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("colours.lowbit.safetensors", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(b.Bytes(), packed) && !*update {
		t.Error("colours.lowbit.safetensors is not this network's file: run go test -update")
	}
}
