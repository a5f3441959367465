package rl

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"lowbit/internal/rng"
)

// AtariInfo tells what is behind an Atari environment.
type AtariInfo struct {
	Preset   AtariPreset
	Emulator string // version of the emulator package
	ROM      string // MD5 of the cartridge
}

// atari is N games behind one or more worker processes.
type atari struct {
	spec     EnvSpec
	info     AtariInfo
	maxSteps int
	workers  []*worker
	first    []int // first game of each worker, and N
	legal    []uint8
	fire     int // index of FIRE among the emulator's actions, or -1
	view     *screenView
	squares  []*square // of each game, if screens are codes
	screens  int       // that an answer holds: the last, or the last two
	size     int       // bytes of a screen
	err      error
	started  bool

	commands []uint8 // [N, 2]
	reply    []byte  // of one game
	streams  []rng.Stream
	ret      []float64
	length   []int
	frames   []int
	fresh    []bool
	rests    []bool // games that are left alone
	stacks   []byte // [N, ObsBytes]
	final    []byte
	finished []Episode
}

// atariDomain keeps the numbers that choose no-ops and skips apart from the
// emulator's seeds.
const (
	atariDomain     = 0x6174617269
	atariSeedDomain = 0x726f6d
	answerHead      = 8 // bytes before a game's screens in an OBS message
)

func newAtari(game string, o Options) (VecEnv, error) {
	opt := DefaultAtari()
	if o.Atari != nil {
		opt = *o.Atari
	}
	if opt.Preset == "" {
		opt.Preset = "dqn2015"
	}
	if opt.Workers == 0 {
		opt.Workers = 1
	}
	if opt.Timeout == 0 {
		opt.Timeout = time.Minute
	}
	preset, err := findPreset(opt.Preset)
	switch {
	case err != nil:
		return nil, err
	case o.Format != Bytes:
		return nil, fmt.Errorf("rl: ale/%s: gray frames come as Bytes only", game)
	case opt.Workers < 0 || opt.Workers > o.Envs:
		return nil, fmt.Errorf("rl: ale/%s: %d workers for %d games, want 1..%d", game, opt.Workers, o.Envs, o.Envs)
	case opt.Timeout < 0:
		return nil, fmt.Errorf("rl: ale/%s: timeout %v, want more than 0", game, opt.Timeout)
	case game == "":
		return nil, fmt.Errorf("rl: ale/: no game named, want e.g. ale/pong")
	}
	e := &atari{maxSteps: o.MaxSteps, info: AtariInfo{Preset: preset}, screens: 1}
	if preset.Max {
		e.screens = 2
	}
	e.spec = EnvSpec{Name: "ale/" + game, Envs: o.Envs, C: preset.Stack, H: preset.Size, W: preset.Size}
	if err := e.connect(game, opt); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// connect starts the workers and shares the games among them.
func (e *atari) connect(game string, opt AtariOptions) error {
	command := opt.command
	if command == nil {
		command = pythonCommand(opt.Python)
	}
	n := e.spec.Envs
	var ready workerReady
	for k := range opt.Workers {
		w, err := startWorker(e.spec.Name, command, opt.Timeout)
		if err != nil {
			return err
		}
		e.workers = append(e.workers, w)
		e.first = append(e.first, k*n/opt.Workers)
		mine := (k+1)*n/opt.Workers - k*n/opt.Workers
		ready, err = w.hello(workerHello{
			Version: workerVersion, Game: game, N: mine, Seeds: make([]uint32, mine),
			Sticky: e.info.Preset.Sticky, Colour: e.info.Preset.view.colour(), Codes: !opt.plain, Screens: e.screens,
		})
		if err != nil {
			return err
		}
	}
	e.first = append(e.first, n)
	return e.prepare(ready)
}

// prepare makes the buffers once the screen and the actions are known.
func (e *atari) prepare(ready workerReady) error {
	p, n := e.info.Preset, e.spec.Envs
	if p.view == viewBaby && ready.Height < babyTop+babyRows || ready.Height < p.Size || ready.Width < p.Size {
		return fmt.Errorf("rl: %s: screen of %d x %d is too small for preset %s", e.spec.Name, ready.Height, ready.Width, p.Name)
	}
	e.info.Emulator, e.info.ROM = ready.ALE, ready.MD5
	e.spec.Version = fmt.Sprintf("%s-ale%s-%s-1", e.spec.Name, ready.ALE, p.Name)
	e.fire = -1
	ids := ready.Minimal
	if p.FullActions {
		ids = ready.Legal
	}
	for k, id := range ids {
		at := slices.Index(ready.Legal, id)
		if id < 0 || id >= restartAction || at < 0 {
			return fmt.Errorf("rl: %s: %w: action %d", e.spec.Name, ErrProtocol, id)
		}
		name := strings.ToLower(ready.Names[at])
		if name == "fire" {
			e.fire = id
		}
		e.legal = append(e.legal, uint8(id))
		e.spec.Actions = append(e.spec.Actions, name)
		if slices.Contains(ready.Minimal, id) {
			e.spec.Minimal = append(e.spec.Minimal, int32(k))
		}
	}
	if err := e.prepareView(ready); err != nil {
		return err
	}
	e.commands = make([]uint8, 2*n)
	e.reply = make([]byte, answerHead+e.screens*e.size)
	e.streams = make([]rng.Stream, n)
	e.ret, e.length, e.frames = make([]float64, n), make([]int, n), make([]int, n)
	e.fresh, e.rests = make([]bool, n), make([]bool, n)
	e.stacks, e.final = make([]byte, n*e.spec.ObsBytes()), make([]byte, n*e.spec.ObsBytes())
	e.finished = make([]Episode, 0, n)
	return nil
}

// prepareView makes what turns screens into squares.
func (e *atari) prepareView(ready workerReady) error {
	p := e.info.Preset
	e.view = newScreenView(p, ready.Height, ready.Width)
	e.size = ready.Height * ready.Width
	if len(ready.Palette) == 0 {
		if p.view.colour() == "rgb" {
			e.size *= 3
		}
		return nil
	}
	if err := e.view.setPalette(ready.Palette); err != nil {
		return fmt.Errorf("rl: %s: %w: %v", e.spec.Name, ErrProtocol, err)
	}
	for range e.spec.Envs {
		e.squares = append(e.squares, e.view.newSquare())
	}
	return nil
}

func (e *atari) Spec() EnvSpec       { return e.spec }
func (e *atari) Finished() []Episode { return e.finished }

// AtariInfoOf returns preset, emulator version and cartridge of an "ale/" environment;
// ok is false for others.
func AtariInfoOf(env VecEnv) (info AtariInfo, ok bool) {
	if e, is := env.(*atari); is {
		return e.info, true
	}
	return AtariInfo{}, false
}

func (e *atari) Close() error {
	for _, w := range e.workers {
		w.close()
	}
	e.workers = nil
	if e.err == nil {
		e.err = fmt.Errorf("rl: %s: closed", e.spec.Name)
	}
	return nil
}

func (e *atari) Reset(seed uint64, obs []byte) error {
	if e.err != nil {
		return e.err
	}
	if err := checkObs(&e.spec, obs); err != nil {
		return err
	}
	e.finished = e.finished[:0]
	for k, w := range e.workers {
		seeds := make([]byte, 0, 4*(e.first[k+1]-e.first[k]))
		for i := e.first[k]; i < e.first[k+1]; i++ {
			s := uint32(rng.Uint64(seed, uint64(i), atariSeedDomain)) >> 1
			seeds = binary.LittleEndian.AppendUint32(seeds, s)
		}
		if e.err = w.send(msgReset, seeds); e.err != nil {
			return e.err
		}
	}
	for _, w := range e.workers {
		if e.err = w.receive(msgDone, nil); e.err != nil {
			return e.err
		}
	}
	for i := range e.streams {
		e.streams[i] = rng.New(seed, uint64(i), atariDomain)
		e.fresh[i], e.rests[i] = true, false
	}
	if e.err = e.begin(); e.err != nil {
		return e.err
	}
	e.started = true
	copy(obs, e.stacks)
	return nil
}

func (e *atari) Step(act []int32, obs []byte, rew []float32, done, trunc []bool) error {
	if e.err != nil {
		return e.err
	}
	if !e.started {
		return fmt.Errorf("rl: %s: Step before Reset", e.spec.Name)
	}
	if err := checkStep(&e.spec, act, obs, rew, done, trunc); err != nil {
		return err
	}
	p := &e.info.Preset
	e.finished = e.finished[:0]
	for i, a := range act {
		if e.rests[i] {
			e.commands[2*i+1] = 0
			rew[i], done[i], trunc[i] = 0, false, false
			continue
		}
		repeat := p.SkipMin
		if p.SkipMax > p.SkipMin {
			repeat += e.streams[i].Intn(p.SkipMax - p.SkipMin + 1)
		}
		e.commands[2*i], e.commands[2*i+1] = e.legal[a], uint8(repeat)
	}
	ended := false
	e.err = e.exchange(func(i int, a []byte) error {
		rew[i] = math.Float32frombits(binary.LittleEndian.Uint32(a))
		done[i] = a[4] != 0
		e.frames[i] += int(binary.LittleEndian.Uint16(a[6:]))
		e.length[i]++
		e.ret[i] += float64(rew[i])
		trunc[i] = !done[i] && (e.length[i] == e.maxSteps || p.MaxFrames > 0 && e.frames[i] >= p.MaxFrames)
		err := e.push(i, a)
		if done[i] || trunc[i] {
			e.end(i)
			ended = true
		}
		return err
	})
	if e.err != nil {
		return e.err
	}
	if ended {
		if e.err = e.begin(); e.err != nil {
			return e.err
		}
	}
	copy(obs, e.stacks)
	return nil
}

// Rest implements Rester.
func (e *atari) Rest(game int) { e.rests[game] = true }

// exchange sends the commands and calls take with the answer of each game, in
// order, as it comes: a screen is made small while the emulator plays the next
// game. A game whose repeat is 0 has no answer.
func (e *atari) exchange(take func(i int, answer []byte) error) error {
	for k, w := range e.workers {
		if err := w.send(msgStep, e.commands[2*e.first[k]:2*e.first[k+1]]); err != nil {
			return err
		}
	}
	for k, w := range e.workers {
		answers := 0
		for i := e.first[k]; i < e.first[k+1]; i++ {
			if e.commands[2*i+1] != 0 {
				answers++
			}
		}
		if err := w.expect(msgObs, answers*len(e.reply)); err != nil {
			return err
		}
		for i := e.first[k]; i < e.first[k+1]; i++ {
			if e.commands[2*i+1] == 0 {
				continue
			}
			if err := w.read(e.reply); err != nil {
				return err
			}
			if err := take(i, e.reply); err != nil {
				return w.fail(err)
			}
		}
		w.dog.Stop()
	}
	return nil
}

// push puts the screen of an answer at the end of game i's stack.
func (e *atari) push(i int, answer []byte) error {
	stack := e.stacks[i*e.spec.ObsBytes():][:e.spec.ObsBytes()]
	frame := e.spec.H * e.spec.W
	copy(stack, stack[frame:])
	screens, newest := answer[answerHead:], stack[len(stack)-frame:]
	before, last := screens[:e.size], screens[len(screens)-e.size:]
	if e.squares == nil {
		e.view.show(before, last, newest)
		return nil
	}
	if err := e.view.update(e.squares[i], before, last); err != nil {
		return fmt.Errorf("%w: %v", ErrProtocol, err)
	}
	copy(newest, e.squares[i].out)
	return nil
}

// end records the episode of game i.
func (e *atari) end(i int) {
	n := e.spec.ObsBytes()
	final := e.final[i*n:][:n]
	copy(final, e.stacks[i*n:])
	e.finished = append(e.finished, Episode{Env: i, Return: e.ret[i], Length: e.length[i], Final: final})
	e.fresh[i] = true
}

// begin starts an episode in every fresh game: restart, no-ops, FIRE.
func (e *atari) begin() error {
	p := &e.info.Preset
	fire := p.Fire && e.fire >= 0
	err := e.startPhase(func(int) (uint8, int) { return restartAction, 1 })
	if err == nil && p.NoopMax > 0 {
		err = e.startPhase(func(i int) (uint8, int) { return 0, 1 + e.streams[i].Intn(p.NoopMax) })
	}
	if err == nil && fire {
		err = e.startPhase(func(int) (uint8, int) { return uint8(e.fire), 1 })
	}
	if err != nil {
		return err
	}
	for i, fresh := range e.fresh {
		if fresh {
			e.ret[i], e.length[i], e.frames[i], e.fresh[i] = 0, 0, 0, false
		}
	}
	return nil
}

// startPhase plays one command in every fresh game and begins its stack with
// the screen after it. A game that is over so soon is restarted as it is.
func (e *atari) startPhase(command func(i int) (action uint8, repeat int)) error {
	clear(e.commands)
	for i, fresh := range e.fresh {
		if fresh {
			a, repeat := command(i)
			e.commands[2*i], e.commands[2*i+1] = a, uint8(repeat)
		}
	}
	for again := true; again; {
		again = false
		restarts := make([]bool, len(e.fresh))
		err := e.exchange(func(i int, a []byte) error {
			clear(e.stacks[i*e.spec.ObsBytes():][:e.spec.ObsBytes()])
			restarts[i] = a[4] != 0 && e.commands[2*i] != restartAction
			again = again || restarts[i]
			return e.push(i, a)
		})
		if err != nil {
			return err
		}
		clear(e.commands)
		for i, restart := range restarts {
			if restart {
				e.commands[2*i], e.commands[2*i+1] = restartAction, 1
			}
		}
	}
	return nil
}
