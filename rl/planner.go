package rl

import "fmt"

// Planner plays minatar/breakout by exact look-ahead in the game's own state:
// the teacher that costs no training. Between two paddle contacts the ball does
// not depend on the paddle, so the next contact is known exactly, and with it the
// two ways to return the ball: from under it (it keeps its x direction) or
// from where it would land (it goes back). The planner follows both ways over
// Depth contacts, values broken bricks with a discount per step, and walks to
// the cell of the better way.
//
// It reads the environment it was made for, not the observations, and so can
// label the states that any other policy reaches in it.
type Planner struct {
	game *breakout
	// Depth is the number of contacts looked ahead, 1..12; cost doubles with each.
	Depth int
}

const (
	plannerDepth    = 5
	plannerMaxDepth = 12
	plannerDiscount = 0.98 // a step
	lostBall        = -10  // bricks that a lost ball is worth
	// longestFlight is more steps than any flight takes: 20 up and down, and
	// two for each row of bricks that turns the ball around in between.
	longestFlight = 64
)

// NewPlanner returns the planner of env, which must be minatar/breakout.
func NewPlanner(env VecEnv) (*Planner, error) {
	if m, ok := env.(*minatar); ok {
		if g, ok := m.rules.(*breakout); ok {
			return &Planner{game: g, Depth: plannerDepth}, nil
		}
	}
	return nil, fmt.Errorf("rl: the planner plays minatar/breakout, not %s", env.Spec().Name)
}

// Act implements Policy; the environment must be the planner's.
func (p *Planner) Act(_ []byte, _ []bool, act []int32) error {
	if len(act) != len(p.game.boards) {
		return fmt.Errorf("rl: planner: %d actions for %d games", len(act), len(p.game.boards))
	}
	if p.Depth < 1 || p.Depth > plannerMaxDepth {
		return fmt.Errorf("rl: planner: depth %d outside 1..%d", p.Depth, plannerMaxDepth)
	}
	for i, s := range p.game.boards {
		_, target := s.plan(p.Depth)
		switch {
		case target < s.paddle:
			act[i] = actLeft
		case target > s.paddle:
			act[i] = actRight
		default:
			act[i] = actNone
		}
	}
	return nil
}

// plan returns the discounted number of bricks that the next contacts break,
// and the cell where the paddle should wait for the first of them.
func (s ballState) plan(contacts int) (value float64, target int8) {
	weight := 1.0
	moves := int8(1) // of the paddle before the contact, which it may still use
	for s.y+s.dy != floorRow {
		r, _ := s.fly()
		value += weight * float64(r)
		weight *= plannerDiscount
		if moves++; moves > longestFlight {
			return value, s.paddle
		}
	}
	best := float64(lostBall)
	land := between(0, s.x+s.dx, side-1)
	target = s.x
	for _, cell := range [2]int8{s.x, land} {
		if far := distance(cell, s.paddle); far > moves {
			continue
		}
		v := s.afterContact(cell, contacts)
		if v > best || v == best && distance(cell, s.paddle) < distance(target, s.paddle) {
			best, target = v, cell
		}
	}
	return value + weight*best, target
}

// afterContact returns the value of the game once the paddle has returned the
// ball at the given cell.
func (s ballState) afterContact(cell int8, contacts int) float64 {
	s.paddle = cell
	s.fly()
	if contacts == 1 {
		return 0
	}
	v, _ := s.plan(contacts - 1)
	return plannerDiscount * v
}

func distance(a, b int8) int8 { return max(a-b, b-a) }
