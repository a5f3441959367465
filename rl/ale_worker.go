package rl

import (
	"bufio"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Reasons why an Atari environment fails; test with errors.Is.
var (
	// ErrNoPython: the interpreter cannot be started.
	ErrNoPython = errors.New("no Python interpreter")
	// ErrNoEmulator: the interpreter lacks the packages ale-py or numpy.
	ErrNoEmulator = errors.New("no emulator package")
	// ErrUnknownGame: the emulator has no game of this name.
	ErrUnknownGame = errors.New("unknown game")
	// ErrWorkerTimeout: the worker process did not answer in time and was ended.
	ErrWorkerTimeout = errors.New("worker timed out")
	// ErrWorkerExit: the worker process ended by itself.
	ErrWorkerExit = errors.New("worker ended")
	// ErrProtocol: the worker does not speak this program's protocol.
	ErrProtocol = errors.New("worker protocol mismatch")
)

//go:embed ale_worker.py
var workerScript string

// The protocol is described at the top of ale_worker.py.
const (
	workerVersion = 3

	msgHello = 1
	msgReset = 2
	msgStep  = 3
	msgClose = 4

	msgReady = 16
	msgObs   = 17
	msgDone  = 18
	msgError = 19

	restartAction = 255

	// maxHandshake bounds READY and ERROR, of some kilobytes.
	maxHandshake = 1 << 20
	// stderrTail is how much of the worker's log an error quotes.
	stderrTail = 2048
)

const installHint = `Atari games need Python 3 with two packages: run "python3 -m pip install ale-py numpy", ` +
	`and name another interpreter than python3 in LOWBIT_PYTHON`

type workerHello struct {
	Version int      `json:"version"`
	Game    string   `json:"game"`
	N       int      `json:"n"`
	Seeds   []uint32 `json:"seeds"`
	Sticky  float64  `json:"sticky"`
	Colour  string   `json:"colour"`
	Codes   bool     `json:"codes"`
	Screens int      `json:"screens"`
}

type workerReady struct {
	Version int      `json:"version"`
	Height  int      `json:"height"`
	Width   int      `json:"width"`
	Minimal []int    `json:"minimal"`
	Legal   []int    `json:"legal"`
	Names   []string `json:"names"`
	MD5     string   `json:"md5"`
	ALE     string   `json:"ale"`
	Palette [][5]int `json:"palette"`
}

type workerRefusal struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// worker is one emulator process. A watchdog ends it when an answer is late.
type worker struct {
	name    string // for errors
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	log     *tail
	timeout time.Duration
	dog     *time.Timer
	late    atomic.Bool
	waited  sync.Once
	exit    error // of the process, after waited
	head    [5]byte
	message []byte // the last one sent
}

// startWorker runs command, which shall speak the protocol on its standard
// streams.
func startWorker(name string, command []string, timeout time.Duration) (*worker, error) {
	if _, err := exec.LookPath(command[0]); err != nil {
		return nil, fmt.Errorf("rl: %s: %w: %q not found. %s", name, ErrNoPython, command[0], installHint)
	}
	w := &worker{name: name, cmd: exec.Command(command[0], command[1:]...), log: &tail{}, timeout: timeout}
	w.cmd.Stderr = w.log
	w.cmd.WaitDelay = time.Second
	var err error
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("rl: %s: %w", name, err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("rl: %s: %w", name, err)
	}
	w.out = bufio.NewReaderSize(out, 4096)
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("rl: %s: %w: %v. %s", name, ErrNoPython, err, installHint)
	}
	w.dog = time.AfterFunc(time.Hour, func() {
		w.late.Store(true)
		w.cmd.Process.Kill()
	})
	w.dog.Stop()
	return w, nil
}

// hello introduces the two sides.
func (w *worker) hello(h workerHello) (workerReady, error) {
	var ready workerReady
	body, err := json.Marshal(h)
	if err != nil {
		return ready, err
	}
	if err := w.send(msgHello, body); err != nil {
		return ready, err
	}
	answer, err := w.receiveNew(msgReady)
	if err != nil {
		return ready, err
	}
	if err := json.Unmarshal(answer, &ready); err != nil {
		return ready, w.fail(fmt.Errorf("%w: READY: %v", ErrProtocol, err))
	}
	if ready.Version != workerVersion {
		return ready, w.fail(fmt.Errorf("%w: it speaks version %d, this program %d", ErrProtocol, ready.Version, workerVersion))
	}
	if ready.Height < 1 || ready.Width < 1 || ready.Height > 1024 || ready.Width > 1024 ||
		len(ready.Minimal) == 0 || len(ready.Names) != len(ready.Legal) {
		return ready, w.fail(fmt.Errorf("%w: READY with screen %d x %d, %d actions, %d names",
			ErrProtocol, ready.Height, ready.Width, len(ready.Legal), len(ready.Names)))
	}
	return ready, nil
}

// send writes one message; the watchdog runs until receive has its answer.
func (w *worker) send(kind byte, body []byte) error {
	w.dog.Reset(w.timeout)
	w.message = append(binary.LittleEndian.AppendUint32(w.message[:0], uint32(len(body)+1)), kind)
	w.message = append(w.message, body...)
	_, err := w.in.Write(w.message) // at once: the worker wakes once
	if err == nil {
		return nil
	}
	// A worker that gave up may have said why.
	if _, why := w.receiveNew(0); why != nil {
		return why
	}
	return w.fail(err)
}

// receive reads a message of the wanted type that fills body exactly.
func (w *worker) receive(want byte, body []byte) error {
	err := w.expect(want, len(body))
	if err == nil {
		err = w.read(body)
	}
	if err == nil {
		w.dog.Stop()
	}
	return err
}

// expect reads the head of a message of the wanted type and size.
func (w *worker) expect(want byte, bytes int) error {
	size, err := w.header(want)
	if err == nil && size != bytes {
		err = w.fail(fmt.Errorf("%w: message of %d bytes, want %d", ErrProtocol, size, bytes))
	}
	return err
}

// read fills body with the next bytes of a message.
func (w *worker) read(body []byte) error {
	if _, err := io.ReadFull(w.out, body); err != nil {
		return w.fail(err)
	}
	return nil
}

// receiveNew reads a handshake message of unknown length.
func (w *worker) receiveNew(want byte) ([]byte, error) {
	size, err := w.header(want)
	if err != nil {
		return nil, err
	}
	if size > maxHandshake {
		return nil, w.fail(fmt.Errorf("%w: message of %d bytes, want at most %d", ErrProtocol, size, maxHandshake))
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(w.out, body); err != nil {
		return nil, w.fail(err)
	}
	w.dog.Stop()
	return body, nil
}

// header reads a message's head and returns the payload's size.
func (w *worker) header(want byte) (int, error) {
	if _, err := io.ReadFull(w.out, w.head[:]); err != nil {
		return 0, w.fail(err)
	}
	size, kind := binary.LittleEndian.Uint32(w.head[:]), w.head[4]
	if kind == msgError && size >= 1 && size <= maxHandshake {
		return 0, w.refused(int(size) - 1)
	}
	if kind != want || size < 1 || size > 1<<30 {
		return 0, w.fail(fmt.Errorf("%w: message of type %d and %d bytes, want type %d", ErrProtocol, kind, size, want))
	}
	return int(size) - 1, nil
}

// refused reads an ERROR message and names its reason.
func (w *worker) refused(size int) error {
	body := make([]byte, size)
	var r workerRefusal
	if _, err := io.ReadFull(w.out, body); err != nil {
		return w.fail(err)
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return w.fail(fmt.Errorf("%w: ERROR: %v", ErrProtocol, err))
	}
	w.end()
	switch r.Kind {
	case "package":
		return fmt.Errorf("rl: %s: %w: %s. %s", w.name, ErrNoEmulator, r.Text, installHint)
	case "game":
		return fmt.Errorf("rl: %s: %w, %s", w.name, ErrUnknownGame, r.Text)
	}
	return fmt.Errorf("rl: %s: %w: %s", w.name, ErrProtocol, r.Text)
}

// fail ends the worker and says what happened, with the end of its log.
func (w *worker) fail(err error) error {
	if errors.Is(err, ErrProtocol) {
		w.cmd.Process.Kill()
	}
	w.end()
	switch {
	case w.late.Load():
		err = fmt.Errorf("%w: no answer in %v", ErrWorkerTimeout, w.timeout)
	case errors.Is(err, ErrProtocol):
	default:
		err = fmt.Errorf("%w: %v", ErrWorkerExit, w.exitState(err))
	}
	if said := w.log.String(); said != "" {
		return fmt.Errorf("rl: %s: %w; it said: %s", w.name, err, said)
	}
	return fmt.Errorf("rl: %s: %w", w.name, err)
}

// exitState prefers the process's own state to the broken pipe's error.
func (w *worker) exitState(err error) error {
	if w.exit != nil {
		return w.exit
	}
	return err
}

// end collects the process, and kills it if it does not end with its input.
func (w *worker) end() {
	w.waited.Do(func() {
		w.dog.Stop()
		w.in.Close()
		grace := time.AfterFunc(endGrace, func() { w.cmd.Process.Kill() })
		w.exit = w.cmd.Wait()
		grace.Stop()
	})
}

// endGrace is how long a worker may take to end once its input is closed.
const endGrace = 500 * time.Millisecond

// close asks the worker to end.
func (w *worker) close() {
	w.dog.Stop()
	w.head = [5]byte{1, 0, 0, 0, msgClose}
	w.in.Write(w.head[:])
	w.end()
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if cut := len(t.data) - stderrTail; cut > 0 {
		t.data = append(t.data[:0], t.data[cut:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.data))
}

// pythonCommand is the command line of a worker.
func pythonCommand(python string) []string {
	if python == "" {
		python = os.Getenv("LOWBIT_PYTHON")
	}
	if python == "" {
		python = "python3"
	}
	return []string{python, "-u", "-c", workerScript}
}
