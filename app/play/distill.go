package play

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"lowbit/internal/atomicfile"
	"lowbit/method/distill"
	"lowbit/rl"
)

// DistillConfig is a distillation by names.
type DistillConfig struct {
	// Teacher is "planner", "ppo" or "dqn" (trained first, in the run's folder
	// "teacher"), or an agent (see rl.OpenAgent).
	Teacher string
	// TeacherSteps are the decisions of a teacher that is trained; 0: the
	// recipe's.
	TeacherSteps int64
	// From is an agent of the same layers, a student or the teacher, whose weights
	// the student starts with, or "".
	From string
	// Distill is the student's part; distill.DefaultConfig fills it.
	Distill distill.Config
	// Atari says how Atari games are started.
	Atari *rl.AtariOptions
}

// DistillReport is the result of the verb.
type DistillReport struct {
	Teacher       string  `json:"teacher"`
	Env           string  `json:"env"`
	Student       string  `json:"student"`
	From          string  `json:"from,omitempty"`
	Bits          string  `json:"bits"`
	TeacherReturn float64 `json:"teacher_return"`
	TeacherSE     float64 `json:"teacher_se"`
	StudentReturn float64 `json:"student_return"`
	ReturnSE      float64 `json:"return_se"`
	RandomReturn  float64 `json:"random_return"`
	// Share is (student-random)/(teacher-random).
	Share     float64 `json:"share"`
	Agreement float64 `json:"agreement"`
	Episodes  int     `json:"episodes"`
	// MaxSteps are the decisions after which these episodes were cut; 0: the
	// game's own limit.
	MaxSteps int `json:"max_steps,omitempty"`
	// Mode is how the student acts, Temperature divides the outputs that it draws
	// from; HeldOut has the ways to act that were tried, with the returns on the
	// seeds that chose the weights.
	Mode        string           `json:"mode"`
	Temperature float64          `json:"temperature,omitempty"`
	HeldOut     []distill.Acting `json:"held_out"`
	// BestUpdates is when the weights that are reported were reached.
	BestUpdates int     `json:"best_updates"`
	Updates     int     `json:"updates"`
	Steps       int64   `json:"steps"`
	Seconds     float64 `json:"seconds"`
	Run         string  `json:"run"`
	// Curve has the returns on held-out seeds after each segment, of the student
	// as it then was.
	Curve []CurvePoint `json:"curve,omitempty"`
}

// CurvePoint is a measurement on the way.
type CurvePoint struct {
	Updates  int     `json:"updates"`
	Return   float64 `json:"return"`
	ReturnSE float64 `json:"return_se"`
}

// Distill runs a distillation; job says where.
func Distill(ctx context.Context, c DistillConfig, job rl.Job) (*DistillReport, error) {
	if err := c.Distill.Validate(); err != nil {
		return nil, err
	}
	teacher, err := c.teacher(ctx, job)
	if err != nil {
		return nil, err
	}
	d := distill.Job{Job: job, Teacher: teacher, Atari: c.Atari}
	if c.From != "" {
		if d.From, err = OpenModel(c.From, c.Distill.Env, c.Atari); err != nil {
			return nil, err
		}
		c.Distill.From = filepath.Base(c.From)
	}
	r, err := distill.Run(ctx, c.Distill, d)
	if err != nil {
		return nil, err
	}
	report := &DistillReport{
		Teacher: c.Teacher, Env: c.Distill.Env, Student: c.Distill.Student.Arch, From: c.Distill.From, Bits: c.Distill.Student.Bits,
		TeacherReturn: r.Teacher.Mean, TeacherSE: r.Teacher.SE, StudentReturn: r.Student.Mean, ReturnSE: r.Student.SE,
		RandomReturn: r.Random.Mean, Share: r.Share, Agreement: r.Agreement, Episodes: r.Student.Episodes, MaxSteps: c.Distill.TestSteps,
		Mode: string(r.Agent.Info.Mode), HeldOut: r.HeldOut,
		BestUpdates: r.Best.Updates, Updates: r.Updates, Steps: r.Steps, Seconds: r.Seconds, Run: r.Dir,
	}
	if r.Agent.Info.Mode == rl.Sample {
		report.Temperature = r.Agent.Info.Tau()
	}
	if report.Curve, err = curve(r.Dir); err != nil {
		return nil, err
	}
	return report, report.write()
}

// curve reads the evaluations of a run directory; none without one.
func curve(dir string) (points []CurvePoint, err error) {
	if dir == "" {
		return nil, nil
	}
	lines, err := rl.ReadMetrics(dir)
	if err != nil {
		return nil, err
	}
	for _, m := range lines {
		if m.Kind == "eval" && m.Return != nil {
			points = append(points, CurvePoint{m.Updates, *m.Return, m.ReturnSE})
		}
	}
	return points, nil
}

// ReportFile is the name of a run directory's file with the DistillReport.
const ReportFile = "distill.json"

func (r *DistillReport) write() error {
	if r.Run == "" {
		return nil
	}
	if err := atomicfile.WriteJSON(filepath.Join(r.Run, ReportFile), r); err != nil {
		return fmt.Errorf("distill: report: %w", err)
	}
	return nil
}

// ReadReport reads a run directory's distill.json.
func ReadReport(dir string) (*DistillReport, error) {
	path := filepath.Join(dir, ReportFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("distill: report: %w", err)
	}
	r := &DistillReport{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("distill: report %s: %w", path, err)
	}
	return r, nil
}

// teacher opens or trains the teacher.
func (c DistillConfig) teacher(ctx context.Context, job rl.Job) (distill.Source, error) {
	env := c.Distill.Env
	switch c.Teacher {
	case "":
		return distill.Source{}, fmt.Errorf("distill: want a teacher: planner, ppo, dqn or an agent")
	case "planner":
		return distill.Planner(), nil
	case "ppo", "dqn":
		return c.train(ctx, env, job)
	}
	a, err := OpenModel(c.Teacher, env, c.Atari)
	if err != nil {
		return distill.Source{}, err
	}
	return distill.Source{Name: filepath.Base(c.Teacher), Agent: a}, nil
}

// train trains a teacher, or goes on with one that was interrupted.
func (c DistillConfig) train(ctx context.Context, env string, job rl.Job) (distill.Source, error) {
	if job.Dir != "" {
		job.Dir = filepath.Join(job.Dir, "teacher")
	}
	var r rl.Result
	var err error
	if c.Teacher == "ppo" {
		p := rl.DefaultPPO(env)
		p.Seed = c.Distill.Seed
		if c.TeacherSteps > 0 {
			p.Steps = c.TeacherSteps
		}
		r, err = rl.TrainPPO(ctx, p, job)
	} else {
		p := rl.DefaultDQN(env)
		p.Seed = c.Distill.Seed
		if c.TeacherSteps > 0 {
			p.Steps = c.TeacherSteps
		}
		r, err = rl.TrainDQN(ctx, p, job)
	}
	if err != nil {
		return distill.Source{}, fmt.Errorf("distill: teacher: %w", err)
	}
	return distill.Source{Name: c.Teacher, Agent: r.Agent}, nil
}
