package rl

// Freeway. A chicken walks from the lowest row (y = 9) up to row 0 across
// eight lanes of cars (y = 1 .. 8) in column 4.
//
//   - Start: one car a lane at x = 0 with a drawn slowness 1 .. 5 (eight
//     draws; a car of slowness s moves one cell every s+1 steps) and then a drawn direction (left with chance 1/2; eight draws).
//   - The chicken moves one row (up, down) at most every third step.
//   - Row 0 gives reward 1, puts the chicken back to the lowest row and
//     draws the cars' slownesses and directions anew; the cars stay where they are.
//   - A car at the chicken's cell, before or after the car's own move, puts it
//     back to the lowest row. Cars wrap around at the edges.
//   - The episode ends after 2,500 steps.
//
// Channels: chicken, car, and speed1 .. speed5: the cell behind a car of
// slowness 1 .. 5. There is no difficulty ramp.

var freewayInfo = gameInfo{
	name: "freeway", version: 1,
	channels: []string{"chicken", "car", "speed1", "speed2", "speed3", "speed4", "speed5"},
	minimal:  []int32{actNone, actUp, actDown},
	open:     func() game { return &freeway{} },
}

const (
	freewaySteps  = 2500
	chickenGap    = 3 // steps between two moves of the chicken
	chickenColumn = 4
	slowestCar    = 5 // the greatest slowness
)

type car struct{ x, dx, slowness, timer int8 }

type freewayState struct {
	cars      [lanes]car
	y         int8
	moveTimer int8
	left      int16 // steps until the end
}

type freeway struct{ boards []freewayState }

func (g *freeway) make(n int, _ bool) { g.boards = make([]freewayState, n) }

func (g *freeway) reset(i int, d *dice) {
	s := &g.boards[i]
	*s = freewayState{y: side - 1, moveTimer: chickenGap, left: freewaySteps}
	s.draw(d)
}

// draw gives all cars a new slowness and directions.
func (s *freewayState) draw(d *dice) {
	for k := range s.cars {
		s.cars[k].slowness = int8(1 + d.below(slowestCar))
		s.cars[k].timer = s.cars[k].slowness
	}
	for k := range s.cars {
		s.cars[k].dx = 1
		if d.unit() < 0.5 {
			s.cars[k].dx = -1
		}
	}
}

func (g *freeway) step(i int, action int32, d *dice) (reward float32, done bool) {
	s := &g.boards[i]
	if s.moveTimer == 0 {
		switch action {
		case actUp:
			s.moveTimer = chickenGap
			s.y = max(0, s.y-1)
		case actDown:
			s.moveTimer = chickenGap
			s.y = min(side-1, s.y+1)
		}
	}
	if s.y == 0 {
		reward = 1
		s.y = side - 1
		s.draw(d)
	}
	s.drive()
	if s.moveTimer > 0 {
		s.moveTimer--
	}
	s.left--
	return reward, s.left < 0
}

// drive moves the cars and settles hits.
func (s *freewayState) drive() {
	for k := range s.cars {
		c := &s.cars[k]
		here := int8(k + 1)
		if c.x == chickenColumn && s.y == here {
			s.y = side - 1
		}
		if c.timer > 0 {
			c.timer--
			continue
		}
		c.timer = c.slowness
		switch c.x += c.dx; {
		case c.x < 0:
			c.x = side - 1
		case c.x >= side:
			c.x = 0
		}
		if c.x == chickenColumn && s.y == here {
			s.y = side - 1
		}
	}
}

func (g *freeway) observe(i int, p *planes) {
	s := &g.boards[i]
	p.set(0, int(s.y), chickenColumn)
	for k, c := range s.cars {
		p.set(1, k+1, int(c.x))
		back := c.x - c.dx
		switch {
		case back < 0:
			back = side - 1
		case back >= side:
			back = 0
		}
		p.set(1+int(c.slowness), k+1, int(back))
	}
}
