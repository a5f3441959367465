package distill

import (
	"context"
	"fmt"
	"regexp"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/optim"
	"lowbit/rl"
	"lowbit/tensor"
	"lowbit/train"
)

// Job is where a distillation runs.
type Job struct {
	rl.Job
	Teacher Source
	// From, if not nil, is an agent of the same layers, a student or the teacher
	// itself, whose weights the student starts with; steps of quantizers begin
	// anew.
	From *rl.Agent
	// Atari says how Atari games are started; its preset is Config.Preset's.
	Atari *rl.AtariOptions
}

// Result is what a distillation ends with. Student, Teacher and Random are
// measured on the same seeds, which nothing was chosen by.
type Result struct {
	rl.Result
	Student, Teacher, Random rl.Stats
	// HeldOut are the returns of the kept weights on the seeds that chose them; of
	// BestMode with each way to act, else only with the student's own.
	HeldOut []Acting
	// Share is (Student-Random)/(Teacher-Random), of the mean returns.
	Share float64
	// Agreement with the teacher on held-out episodes at the end.
	Agreement float64
}

// distiller is one run.
type distiller struct {
	Config
	job     Job
	run     *rl.Run
	at      rl.Progress
	student *rl.Agent
	best    *tensor.Store
	env     rl.VecEnv
	spec    rl.EnvSpec
	teacher Teacher
	tau     float64
	acts    rl.ActMode // how the student acts while it learns

	actor      *rl.Actor
	stepper    *train.Stepper
	shadows    [][]float32
	train, out *ring
	quantized  bool

	obs         []byte
	fresh       []bool
	held        []bool // games whose episode is held out
	act         []int32
	rew         []float32
	done, trunc []bool
	q           []float32
	choices     rng.Stream
	losses      float64
	count       int
}

// Run distils job.Teacher into a student; the result depends on the
// configuration alone, for any number of threads. It ends with
// rl.ErrInterrupted when ctx does; the last segment's checkpoint stands then.
func Run(ctx context.Context, c Config, job Job) (*Result, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	d := &distiller{Config: c, job: job}
	if err := d.open(); err != nil {
		return nil, err
	}
	defer d.env.Close()
	settings := struct {
		Teacher string `json:"teacher"`
		Config
	}{job.Teacher.Name, d.Config}
	var err error
	if d.run, d.at, err = job.Open("distill", settings, d.student); err != nil {
		return nil, err
	}
	defer d.run.Close()
	if err := d.compile(); err != nil {
		return nil, err
	}
	for d.at.Total < d.Updates {
		if err := d.segment(ctx); err != nil {
			return nil, err
		}
	}
	return d.finish(ctx)
}

// envOptions are those of the training and of the test games.
func (d *distiller) envOptions(envs, maxSteps int) rl.Options {
	o := rl.Options{Envs: envs, MaxSteps: maxSteps}
	if len(d.Env) > 8 && d.Env[:8] == "minatar/" {
		o.Format = rl.Bits
		return o
	}
	a := rl.DefaultAtari()
	if d.job.Atari != nil {
		a = *d.job.Atari
	}
	if d.Preset != "" {
		a.Preset = d.Preset
	}
	o.Atari = &a
	return o
}

// open makes environment, teacher, student and rings.
func (d *distiller) open() error {
	if t := d.job.Teacher.Agent; t != nil && d.Preset == "" {
		d.Preset = t.Info.Preset
	}
	env, err := rl.New(d.Env, d.envOptions(d.Envs, d.MaxSteps))
	if err != nil {
		return err
	}
	d.env, d.spec = env, env.Spec()
	if d.teacher, err = d.job.Teacher.Open(d.job.Engine, env, d.Seed); err == nil {
		err = d.build()
	}
	if err != nil {
		env.Close()
	}
	return err
}

func (d *distiller) build() error {
	n := d.Envs
	d.View = d.view(d.spec)
	if d.tau = d.Tau; d.tau == 0 {
		d.tau = d.teacher.Tau()
	}
	d.Tau = d.tau
	if d.acts = d.Mode; d.Mode == "" || d.Mode == BestMode {
		d.acts = d.teacher.Mode()
	}
	actions := d.teacher.Actions()
	g, err := d.Config.Student.Build(d.View, len(actions))
	if err != nil {
		return err
	}
	info := rl.AgentInfo{Kind: "distill", Env: d.Env, Preset: d.Preset, View: d.View, Mode: d.acts, Temperature: 1}
	for _, a := range actions {
		info.Actions = append(info.Actions, d.spec.Actions[a])
	}
	d.student = &rl.Agent{Info: info, Graph: g, Store: tensor.NewStore()}
	if err := d.student.Check(); err != nil {
		return err
	}
	if err := graph.InitParams(g, d.student.Store, d.Seed); err != nil {
		return fmt.Errorf("distill: %w", err)
	}
	if err := d.start(); err != nil {
		return err
	}
	if d.train, err = newRing(d.student.Store, "ring", d.Ring, n, d.View, len(actions)); err != nil {
		return err
	}
	held := max(256, d.Ring/16)
	if d.View.Screens() > 1 {
		held = max(held, 2*n*d.View.Screens())
	}
	if d.out, err = newRing(d.student.Store, "held", held, n, d.View, len(actions)); err != nil {
		return err
	}
	d.obs = make([]byte, n*d.spec.ObsBytes())
	d.fresh, d.held, d.done, d.trunc = make([]bool, n), make([]bool, n), make([]bool, n), make([]bool, n)
	d.act, d.rew = make([]int32, n), make([]float32, n)
	d.q = make([]float32, n*len(actions))
	return nil
}

// optimizer is Adam; the scales of batch norms stay 1, and the step of the
// network's input as it starts: what can come is known then, and with a step that
// learns a gradient of the screens would be wanted, a third of an update's time.
func (d *distiller) optimizer() optim.Config {
	c := optim.DefaultConfig(optim.Adam, 0)
	fixed := []optim.Group{{Name: "scales", Roles: []graph.Role{graph.Norm}, Pattern: gammaPattern.String(), Frozen: true}}
	for _, l := range graph.Layers(d.student.Graph) {
		if q := l.InputQuant; q != nil && q.In()[0] == d.student.Graph.InputNode(rl.InputName) {
			pattern := "^" + regexp.QuoteMeta(q.In()[1].Name()) + "$"
			fixed = append(fixed, optim.Group{Name: "input", Roles: []graph.Role{graph.Step}, Pattern: pattern, Frozen: true})
		}
	}
	c.Groups = append(fixed, c.Groups...)
	return c
}

// due reports whether the quantizers are to be put in.
func (d *distiller) due() bool {
	return d.learnsSteps() && !d.quantized && d.at.Total >= d.floatUpdates() && d.train.len() >= d.Start
}

// compile makes the plans of the present phase; a run that is resumed behind
// its float updates gets its quantizers first.
func (d *distiller) compile() error {
	if d.due() {
		if err := d.quantize(d.student.Store.Get(stepMark) == nil); err != nil {
			return err
		}
	}
	s := d.student
	g, err := lossGraph(s.Graph, d.Batch, d.Loss)
	if err != nil {
		return err
	}
	if d.stepper, err = train.NewStepper(d.job.Engine, g, s.Store, d.optimizer()); err != nil {
		return err
	}
	d.shadows = d.shadows[:0]
	for _, n := range s.Graph.Nodes() {
		if _, ok := n.Op().(graph.Ternary); ok {
			d.shadows = append(d.shadows, s.Store.Get(n.In()[0].Name()).Float32s())
		}
	}
	d.actor, err = rl.NewActor(d.job.Engine, s, d.spec, d.Seed)
	return err
}

// Domains that keep the uses of the seed apart.
const (
	calibrateDomain = 0x63616c69
	segmentDomain   = 0x64697374
	chooseDomain    = 0x63686f6f
	batchDomain     = 0x62617463
	settleDomain    = 0x73657474
	evalDomain      = 0x6576616c
	testDomain      = 0x74657374
)

// segment plays and learns Segment updates, then evaluates and saves.
func (d *distiller) segment(ctx context.Context) error {
	if err := d.begin(); err != nil {
		return err
	}
	end := min(d.at.Total+d.Segment, d.Updates)
	for d.at.Total < end {
		if ctx.Err() != nil {
			return fmt.Errorf("distill: %w", rl.ErrInterrupted)
		}
		for range d.Collect {
			if err := d.collect(); err != nil {
				return err
			}
		}
		if d.train.len() < d.Start {
			continue
		}
		if d.due() { // no updates in full precision
			if err := d.compile(); err != nil {
				return err
			}
			if err := d.begin(); err != nil { // the actor's screens are new
				return err
			}
		}
		if err := d.learn(); err != nil {
			return err
		}
	}
	d.at.Epoch++
	if d.due() {
		if err := d.compile(); err != nil { // with quantizers from here
			return err
		}
	}
	if err := d.settle(); err != nil {
		return err
	}
	if err := d.evaluate(); err != nil {
		return err
	}
	return d.run.Checkpoint(d.at)
}

// begin starts all games anew.
func (d *distiller) begin() error {
	d.choices = rng.New(d.Seed, chooseDomain, uint64(d.at.Epoch))
	for i := range d.fresh {
		d.fresh[i] = true
	}
	return d.env.Reset(rng.Uint64(d.Seed, segmentDomain, uint64(d.at.Epoch)), d.obs)
}

// collect labels the states of all games and makes one decision of each.
func (d *distiller) collect() error {
	if err := d.teacher.Label(d.obs, d.fresh, d.q); err != nil {
		return err
	}
	z, err := d.actor.Logits(d.obs, d.fresh)
	if err != nil {
		return err
	}
	views, nb, a := d.actor.Views(), d.View.Bytes(), d.train.out
	driven := d.Envs - int(d.Mix*float64(d.Envs)+0.5) // first game of the student
	for i := range d.act {
		if d.fresh[i] {
			d.held[i] = d.choices.Float64() < d.HoldOut
		}
		q := d.q[i*a : (i+1)*a]
		r := d.train
		if d.held[i] {
			r = d.out
		}
		if err := r.push(i, views[i*nb:(i+1)*nb], q); err != nil {
			return err
		}
		d.act[i] = d.teacher.Actions()[d.choose(i >= driven, q, z[i*a:(i+1)*a])]
	}
	if err := d.env.Step(d.act, d.obs, d.rew, d.done, d.trunc); err != nil {
		return err
	}
	for i := range d.fresh {
		d.fresh[i] = d.done[i] || d.trunc[i]
	}
	d.at.Steps += int64(d.Envs)
	return nil
}

// choose returns the column of the action to play.
func (d *distiller) choose(student bool, q, z []float32) int {
	if d.choices.Float64() < d.Epsilon {
		return d.choices.Intn(len(q))
	}
	if student {
		return rl.Choose(z, d.acts, 1, &d.choices)
	}
	return rl.Choose(q, d.teacher.Mode(), d.teacher.Tau(), &d.choices)
}

// settlePasses is the number of batches from which the running statistics are
// taken anew before an evaluation: with a momentum of 0.1 they keep an eighth of
// the old ones.
const settlePasses = 20

// settle lets the running statistics of batch norms catch up with the weights,
// which stay: ternary ones flip until the end of a segment, and statistics that
// lag behind move every threshold.
func (d *distiller) settle() error {
	if _, spiking, _ := d.Config.Student.plan(); !spiking {
		return nil
	}
	for i := range settlePasses {
		d.fill(d.stepper.Forward, rng.New(d.Seed, settleDomain, uint64(d.at.Total), uint64(i)))
		if _, err := d.stepper.Gradient(); err != nil {
			return fmt.Errorf("distill: statistics: %w", err)
		}
	}
	return nil
}

// fill sets the inputs of a plan of the loss to states of the ring.
func (d *distiller) fill(f *engine.Plan, s rng.Stream) {
	target := f.Input(targetName).Float32s()
	d.train.pick(d.View, f.Input(rl.InputName).Float32s(), target, &s)
	switch d.Loss {
	case MSE:
	case NLL:
		oneHot(target, f.Input(entropyName).Float32s())
	default:
		Targets(target, target, f.Input(entropyName).Float32s(), d.tau)
	}
}

// learn makes one update; shadow weights are then held within -1..1.
func (d *distiller) learn() error {
	d.fill(d.stepper.Forward, rng.New(d.Seed, batchDomain, uint64(d.at.Total)))
	loss, err := d.stepper.Gradient()
	if err != nil {
		return fmt.Errorf("distill: update %d: %w", d.at.Total+1, err)
	}
	lr := d.rate(d.at.Total)
	d.at.Total++
	d.losses += loss
	d.count++
	if err := d.stepper.Apply(lr, d.at.Total); err != nil {
		return fmt.Errorf("distill: update %d: %w", d.at.Total, err)
	}
	for _, w := range d.shadows {
		for i, v := range w {
			w[i] = max(-1, min(1, v))
		}
	}
	return nil
}
