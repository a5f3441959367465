package infer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"log"
	"os"
	"path/filepath"
	"sync"

	"lowbit/graph"
	"lowbit/infer"
	"lowbit/quant"
	"lowbit/tensor"
)

// colours is a quantized network of one layer that tells red, green and blue
// pictures apart: the means of the channels, then the identity.
func colours() (*graph.Graph, *tensor.Store) {
	g := graph.New()
	x := g.GlobalAvgPool(g.Input("input", tensor.F32, 1, 3, 8, 8))
	param := func(name string, role graph.Role, shape ...int) *graph.Node {
		return g.Param(graph.Param{Name: name, Shape: shape, Role: role})
	}
	x = g.FakeQuant(x, param("fc.input_step", graph.Step, 1), graph.FakeQuant{Spec: quant.Spec{Bits: 8, Signed: true}, StepGrad: graph.StepLSQ})
	w := g.FakeQuant(param("fc.weight", graph.Weight, 3, 3), param("fc.weight_step", graph.Step, 1),
		graph.FakeQuant{Spec: quant.Spec{Bits: 2, Signed: true}, StepGrad: graph.StepLSQ})
	g.Output("logits", g.Linear(x, w).Named("fc"))

	store := tensor.NewStore()
	for name, t := range map[string]*tensor.Tensor{
		"fc.input_step":  tensor.FromFloat32s([]float32{0.02}, 1),
		"fc.weight_step": tensor.FromFloat32s([]float32{4}, 1),
		"fc.weight":      tensor.FromFloat32s([]float32{4, 0, 0, 0, 4, 0, 0, 0, 4}, 3, 3),
	} {
		if err := store.Put(name, t); err != nil {
			log.Fatal(err)
		}
	}
	return g, store
}

func Example() {
	dir, err := os.MkdirTemp("", "infer")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "colours.lowbit.safetensors")

	g, store := colours()
	half := []float32{.5, .5, .5}
	err = infer.Write(path, g, store, infer.Info{
		Name:       "colours",
		Labels:     []string{"red", "green", "blue"},
		Preprocess: &infer.Preprocess{Channels: 3, Height: 8, Width: 8, Mean: half, Std: half},
	})
	if err != nil {
		log.Fatal(err)
	}

	m, err := infer.Load(path)
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	s := m.NewSession(infer.Options{Threads: 1})
	defer s.Close()

	picture := image.NewRGBA(image.Rect(0, 0, 40, 30))
	for i := range 40 * 30 {
		picture.Set(i%40, i/40, color.RGBA{R: 20, G: 60, B: 240, A: 255})
	}
	top, err := s.Classify(context.Background(), picture, 2)
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range top {
		fmt.Printf("%s %.3f\n", p.Label, p.Probability)
	}
	// Output:
	// blue 0.995
	// green 0.004
}

func ExampleSession_Run() {
	g, store := colours()
	m, err := infer.Lower(g, store)
	if err != nil {
		log.Fatal(err)
	}
	s := m.NewSession(infer.Options{Threads: 1})
	in := make([]float32, 2*3*8*8) // two pictures: the second one green
	for i := range 64 {
		in[3*64+64+i] = 1
	}
	out := make([]float32, 2*3)
	if err := s.Run(in, out); err != nil {
		log.Fatal(err)
	}
	fmt.Println(out)
	// Output: [0 0 0 0 4 0]
}

func ExampleSession_ClassifyAll() {
	g, store := colours()
	var file bytes.Buffer
	half := []float32{.5, .5, .5}
	err := infer.Encode(&file, g, store, infer.Info{
		Labels:     []string{"red", "green", "blue"},
		Preprocess: &infer.Preprocess{Channels: 3, Height: 8, Width: 8, Mean: half, Std: half},
	})
	if err != nil {
		log.Fatal(err)
	}
	m, err := infer.Decode(file.Bytes())
	if err != nil {
		log.Fatal(err)
	}
	s := m.NewSession(infer.Options{})
	defer s.Close()
	var pictures []image.Image
	for _, c := range []color.Color{color.RGBA{R: 250, A: 255}, color.RGBA{G: 250, A: 255}} {
		p := image.NewRGBA(image.Rect(0, 0, 10, 10))
		draw.Draw(p, p.Rect, image.NewUniform(c), image.Point{}, draw.Src)
		pictures = append(pictures, p)
	}
	all, err := s.ClassifyAll(context.Background(), pictures, 1)
	if err != nil {
		log.Fatal(err)
	}
	for _, top := range all {
		fmt.Println(top[0].Label)
	}
	// Output:
	// red
	// green
}

func ExampleSession_RunContext() {
	g, store := colours()
	m, err := infer.Lower(g, store)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // the caller has gone away
	s := m.NewSession(infer.Options{Threads: 1})
	err = s.RunContext(ctx, make([]float32, 3*8*8), make([]float32, 3))
	fmt.Println(errors.Is(err, context.Canceled))
	// Output: true
}

func ExampleModel_Compare() {
	g, store := colours()
	m, err := infer.Lower(g, store)
	if err != nil {
		log.Fatal(err)
	}
	r, err := infer.NewReference(g, store)
	if err != nil {
		log.Fatal(err)
	}
	c, err := m.Compare(r, make([]float32, 3*8*8))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Equal(), c.Layers, "layers")
	// Output: true 4 layers
}

func ExampleModel_Explain() {
	g, store := colours()
	m, err := infer.Lower(g, store)
	if err != nil {
		log.Fatal(err)
	}
	for _, i := range m.Explain() {
		fmt.Println(i.Kind, i.Inputs, "to", i.Outputs, i.Integer)
	}
	// Output:
	// input [float] to [float] true
	// reduce_mean [float] to [float] false
	// quantize [float] to [s8] false
	// matmul [s8] to [float] true
}

func ExampleModel_NewPool() {
	g, store := colours()
	m, err := infer.Lower(g, store)
	if err != nil {
		log.Fatal(err)
	}
	pool := m.NewPool(infer.PoolOptions{Sessions: 2, Queue: 100})
	var all sync.WaitGroup
	for range 8 { // more callers than sessions: the others wait their turn
		all.Go(func() {
			out := make([]float32, 3)
			if err := pool.Run(context.Background(), make([]float32, 3*8*8), out); err != nil {
				log.Print(err)
			}
		})
	}
	all.Wait()
	fmt.Println(pool.Stats().Done, "done")
	if err := pool.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output: 8 done
}
