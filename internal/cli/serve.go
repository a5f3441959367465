package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lowbit/app/serve"
	"lowbit/engine"
	"lowbit/generate"
	"lowbit/infer"
	"lowbit/load"
)

const serveHelp = `Answers over HTTP with a packed network or a language model, until Ctrl-C; then
answers in progress end, for up to ten seconds.

Pictures:  POST /predict takes a picture as the body, pictures as a form's files, or
           {"inputs": [[...], ...]}, or float32 octets; ?top=N
Language:  POST /v1/chat/completions and /v1/completions as OpenAI's API has
           them, "stream" too; GET /v1/models
Both:      GET / is a page to try it, /model, /healthz, /metrics (Prometheus)

It listens on this machine alone unless --addr says otherwise: it has no
passwords and no encryption; posts from web pages of other origins are refused.
Connections, bodies, pixels, waiting callers and times are bounded. Each request is a line of JSON on stderr; --quiet leaves them out.`

const serveExample = `  lowbit serve --model r20-w4.lowbit.safetensors
  curl --data-binary @cat.png http://127.0.0.1:8080/predict
  curl -F a=@cat.png -F b=@dog.png http://127.0.0.1:8080/predict
  lowbit serve --model smollm2.gguf --addr 127.0.0.1:9000
  curl http://127.0.0.1:9000/v1/chat/completions -d '{"messages":[{"role":"user","content":"Hello!"}],"max_tokens":50}'`

type serveFlags struct {
	model    modelFlags
	addr     string
	sessions int
	queue    int
	context  int
	c        serve.Config
}

func (a *app) serve() *cobra.Command {
	var v serveFlags
	cmd := &cobra.Command{
		Use: "serve --model FILE", Short: "answer over HTTP with a network or a language model",
		Long: serveHelp, Example: serveExample, Args: none,
		RunE: func(*cobra.Command, []string) error { return v.run(a) },
	}
	f := cmd.Flags()
	f.StringVar(&v.model.model, "model", "", "packed file, or language model")
	f.StringVar(&v.addr, "addr", "127.0.0.1:8080", "host and port to listen on")
	f.IntVar(&v.sessions, "sessions", 0, "pictures: calls that run at once; 0: one a thread")
	f.IntVar(&v.queue, "queue", 0, "callers that wait at a time; 0: 64 a session, for language models 16")
	f.IntVar(&v.context, "context", 2048, "language models: room for prompt and answer in tokens")
	f.IntVar(&v.c.MaxTokens, "max-tokens", 1024, "language models: most tokens of an answer")
	f.Int64Var(&v.c.MaxBody, "max-body", 16<<20, "bytes of a request")
	f.Int64Var(&v.c.MaxPixels, "max-pixels", 25_000_000, "pixels of a picture")
	f.IntVar(&v.c.Connections, "connections", 256, "connections open at a time; further clients wait")
	f.DurationVar(&v.c.Timeout, "timeout", time.Minute, "for an answer, and for each piece of a stream")
	return cmd
}

func (v *serveFlags) run(a *app) error {
	switch {
	case v.sessions < 0 || v.queue < 0 || v.context < 2 || v.c.MaxTokens < 1:
		return usagef("--sessions %d, --queue %d, --context %d, --max-tokens %d: want none negative, room for 2 tokens", v.sessions, v.queue, v.context, v.c.MaxTokens)
	case v.c.MaxBody < 1 || v.c.Timeout <= 0 || v.c.MaxPixels < 1 || v.c.Connections < 1:
		return usagef("--max-body %d, --timeout %v, --max-pixels %d, --connections %d: want them positive", v.c.MaxBody, v.c.Timeout, v.c.MaxPixels, v.c.Connections)
	}
	host, _, err := net.SplitHostPort(v.addr)
	if err != nil {
		return usagef("--addr %q: %v", v.addr, err)
	}
	if err := v.model.check(); err != nil {
		return err
	}
	if !a.quiet {
		v.c.Log = a.stderr
	}
	v.c.Queue = v.queue
	s, end, err := v.server(a)
	if err != nil {
		return err
	}
	defer end()
	l, err := net.Listen("tcp", v.addr)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		a.warn(fmt.Sprintf("%s can be reached from other machines: there are no passwords and no encryption", l.Addr()))
	}
	fmt.Fprintf(a.stdout, "%s on http://%s/\n", v.model.model, l.Addr())
	return s.Run(a.ctx, l)
}

// server opens the model.
func (v *serveFlags) server(a *app) (s *serve.Server, end func(), err error) {
	if load.IsLanguage(v.model.model) {
		l, err := openTokenized(v.model.model)
		if err != nil {
			return nil, nil, err
		}
		e := engine.New(a.threads)
		g, err := generate.New(e, generate.Model{Build: l.Graph, Store: l.Store, Tokenizer: l.Tokenizer, Context: l.Config.Context}, v.context)
		if err != nil {
			e.Close()
			return nil, nil, err
		}
		return serve.Language(shortName(v.model.model), g, v.c), e.Close, nil
	}
	if stat, err := os.Stat(v.model.model); err != nil || stat.IsDir() || !strings.HasSuffix(v.model.model, ".safetensors") {
		return nil, nil, fmt.Errorf("%s is no packed file and no language model\nMake one of a quantized run: lowbit export --model %s --to packed --out FILE%s", v.model.model, v.model.model, packedExt)
	}
	m, err := infer.Load(v.model.model)
	if err != nil {
		return nil, nil, err
	}
	sessions := v.sessions
	if sessions == 0 {
		sessions = a.threads
	}
	pool := m.NewPool(infer.PoolOptions{Sessions: sessions, Queue: v.queue})
	end = func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		pool.Close(ctx)
		m.Close()
	}
	return serve.Pictures(shortName(v.model.model), pool, v.c), end, nil
}
