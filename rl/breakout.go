package rl

// Breakout. A paddle on the lowest row (y = 9) keeps a ball in play that
// breaks three rows of ten bricks (y = 1, 2, 3).
//
//   - Start: paddle at x = 4; ball at y = 3 at the left edge moving right and
//     down, or at the right edge moving left and down, with equal chance.
//   - A step first moves the paddle by one cell (left, right), then the ball by
//     one cell diagonally.
//   - A side wall reverses the ball's x direction, the top wall its y
//     direction; the ball then lies in the cell next to the wall.
//   - A ball that would enter a brick breaks it (reward 1), keeps its row and
//     reverses its y direction. After a break the ball passes through bricks
//     for as long as each next step again enters one: a second break needs a
//     step outside bricks in between.
//   - A ball that would enter the lowest row bounces off the paddle if the
//     paddle is under the cell it comes from (y direction reversed) or at the
//     cell it would enter (both directions reversed); it keeps its row. Else
//     the episode is over.
//   - When the ball would enter the lowest row and no brick is left, all bricks
//     come back first.
//
// Channels: paddle, ball, trail (where the ball was one step before), brick.
// There is no difficulty ramp.

var breakoutInfo = gameInfo{
	name: "breakout", version: 1,
	channels: []string{"paddle", "ball", "trail", "brick"},
	minimal:  []int32{actNone, actLeft, actRight},
	open:     func() game { return &breakout{} },
}

const (
	allBricks   = 1<<30 - 1 // bit (y-1)*10 + x is the brick at (x, y)
	brickTop    = 1
	brickBottom = 3
	floorRow    = side - 1
)

// ballState is one board: 12 bytes, so that a batch of boards stays in the
// first-level cache.
type ballState struct {
	bricks       uint32
	x, y, dx, dy int8
	lastX, lastY int8
	paddle       int8
	piercing     bool // the last step entered a brick
}

type breakout struct{ boards []ballState }

func (g *breakout) make(n int, _ bool) { g.boards = make([]ballState, n) }

func (g *breakout) reset(i int, d *dice) {
	s := ballState{bricks: allBricks, y: 3, dx: 1, dy: 1, paddle: 4}
	if d.below(2) == 1 {
		s.x, s.dx = side-1, -1
	}
	s.lastX, s.lastY = s.x, s.y
	g.boards[i] = s
}

func (g *breakout) step(i int, action int32, _ *dice) (float32, bool) {
	s := &g.boards[i]
	switch action {
	case actLeft:
		s.paddle = max(0, s.paddle-1)
	case actRight:
		s.paddle = min(side-1, s.paddle+1)
	}
	return s.fly()
}

// fly moves the ball by one step.
func (s *ballState) fly() (reward float32, over bool) {
	s.lastX, s.lastY = s.x, s.y
	x, y := s.x+s.dx, s.y+s.dy
	if uint8(x) >= side {
		x = between(0, x, side-1)
		s.dx = -s.dx
	}
	inBrick := false
	switch {
	case y < 0:
		y, s.dy = 0, -s.dy
	case y >= brickTop && y <= brickBottom:
		if brick := uint32(1) << uint((y-brickTop)*side+x); s.bricks&brick != 0 {
			inBrick = true
			if !s.piercing {
				s.bricks &^= brick
				reward = 1
				y, s.dy = s.lastY, -s.dy
			}
		}
	case y == floorRow:
		if s.bricks == 0 {
			s.bricks = allBricks
		}
		switch s.paddle {
		case s.x:
			y, s.dy = s.lastY, -s.dy
		case x:
			y, s.dx, s.dy = s.lastY, -s.dx, -s.dy
		default:
			over = true
		}
	}
	s.piercing = inBrick
	s.x, s.y = x, y
	return reward, over
}

func (g *breakout) observe(i int, p *planes) {
	s := &g.boards[i]
	p.set(0, floorRow, int(s.paddle))
	p.set(1, int(s.y), int(s.x))
	p.set(2, int(s.lastY), int(s.lastX))
	p.setRange(3, brickTop*side, uint64(s.bricks))
}
