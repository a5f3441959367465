package rl

import "math/bits"

// Space Invaders. A cannon on the lowest row (y = 9) shoots at a block of
// aliens that marches sideways and down and shoots back.
//
//   - Start: cannon at x = 5; aliens at x = 2 .. 7, y = 0 .. 3, marching left.
//   - A step first takes the action: move by one cell, or fire, at most every
//     fifth step. A shot starts in the cannon's cell.
//   - Then the cannon's shots rise and the aliens' shots fall by one cell.
//     A falling shot at the cannon ends the episode, as does an alien.
//   - When the march timer is at 0 the aliens march: one cell sideways or, at an
//     edge, one cell down and the direction turns; an alien on the lowest row that
//     should go down ends the episode. The timer is then set to the number of
//     aliens left, at most the march interval (12 at first).
//   - Every tenth step the alien nearest to the cannon fires: the lowest of the
//     nearest column, the left one of two equally near.
//   - An alien and a rising shot in one cell destroy each other: reward 1.
//   - A new block appears once all aliens are gone; with the ramp on, each
//     lowers the march interval by 1, down to 6.
//
// Channels: cannon, alien, alien_left and alien_right (the aliens again, by
// marching direction), friendly_bullet, enemy_bullet. Nothing is drawn at random.

var spaceInvadersInfo = gameInfo{
	name: "space_invaders", version: 1,
	channels: []string{"cannon", "alien", "alien_left", "alien_right", "friendly_bullet", "enemy_bullet"},
	minimal:  []int32{actNone, actLeft, actRight, actFire},
	open:     func() game { return &spaceInvaders{} },
}

const (
	marchSlowest = 12 // march interval at the start
	marchFastest = 6
	cannonGap    = 5 // steps between two shots of the cannon
	alienShotGap = 10
	alienRows    = 4
	alienBlock   = 0b0011111100 // columns 2 .. 7
	leftEdge     = 1
	rightEdge    = 1 << (side - 1)
	wholeRow     = 1<<side - 1
	cannonStart  = 5
)

// rows is a board of bits: bit x of row y.
type rows [side]uint16

type invadersState struct {
	aliens, up, down rows // up: the cannon's shots, down: the aliens'
	x                int8
	marchLeft        bool
	marchGap         int8
	marchTimer       int8
	shotTimer        int8 // of the cannon
	alienTimer       int8
}

type spaceInvaders struct {
	boards []invadersState
	ramp   bool
}

func (g *spaceInvaders) make(n int, ramp bool) { g.boards, g.ramp = make([]invadersState, n), ramp }

func (g *spaceInvaders) reset(i int, _ *dice) {
	s := &g.boards[i]
	*s = invadersState{x: cannonStart, marchLeft: true, marchGap: marchSlowest, marchTimer: marchSlowest, alienTimer: alienShotGap}
	s.land()
}

// land puts a new block of aliens on the board.
func (s *invadersState) land() {
	for y := range alienRows {
		s.aliens[y] = alienBlock
	}
}

func (g *spaceInvaders) step(i int, action int32, _ *dice) (reward float32, over bool) {
	s := &g.boards[i]
	switch action {
	case actFire:
		if s.shotTimer == 0 {
			s.up[floorRow] |= 1 << s.x
			s.shotTimer = cannonGap
		}
	case actLeft:
		s.x = max(0, s.x-1)
	case actRight:
		s.x = min(side-1, s.x+1)
	}
	cannon := uint16(1) << s.x
	copy(s.up[:], s.up[1:])
	s.up[floorRow] = 0
	copy(s.down[1:], s.down[:])
	s.down[0] = 0
	over = (s.down[floorRow]|s.aliens[floorRow])&cannon != 0
	if s.marchTimer == 0 && s.march() {
		over = true
	}
	over = over || s.aliens[floorRow]&cannon != 0
	if s.alienTimer == 0 {
		s.alienTimer = alienShotGap
		s.shootBack()
	}
	reward, alive := s.hits()
	if s.shotTimer > 0 {
		s.shotTimer--
	}
	s.marchTimer--
	s.alienTimer--
	if alive == 0 {
		if g.ramp && s.marchGap > marchFastest {
			s.marchGap--
		}
		s.land()
	}
	return reward, over
}

// hits removes aliens and shots that meet; alive is not 0 while aliens are left.
func (s *invadersState) hits() (reward float32, alive uint16) {
	n := 0
	for y := range s.aliens {
		hit := s.aliens[y] & s.up[y]
		n += bits.OnesCount16(hit)
		s.aliens[y] &^= hit
		s.up[y] &^= hit
		alive |= s.aliens[y]
	}
	return float32(n), alive
}

// march moves the aliens and says whether they have landed.
func (s *invadersState) march() (landed bool) {
	n, columns := 0, uint16(0)
	for _, r := range s.aliens {
		n += bits.OnesCount16(r)
		columns |= r
	}
	s.marchTimer = min(int8(n), s.marchGap)
	edge := uint16(rightEdge)
	if s.marchLeft {
		edge = leftEdge
	}
	if columns&edge != 0 {
		s.marchLeft = !s.marchLeft
		landed = s.aliens[floorRow] != 0
		bottom := s.aliens[floorRow]
		copy(s.aliens[1:], s.aliens[:])
		s.aliens[0] = bottom
		return landed
	}
	for y, r := range s.aliens {
		if s.marchLeft {
			s.aliens[y] = r >> 1
		} else {
			s.aliens[y] = r << 1 & wholeRow
		}
	}
	return false
}

// shootBack lets the alien nearest to the cannon fire.
func (s *invadersState) shootBack() {
	columns := uint16(0)
	for _, r := range s.aliens {
		columns |= r
	}
	for far := range int8(side) {
		for _, x := range [2]int8{s.x - far, s.x + far} {
			if x < 0 || x >= side || columns>>x&1 == 0 {
				continue
			}
			for y := floorRow; y >= 0; y-- {
				if s.aliens[y]>>x&1 == 1 {
					s.down[y] |= 1 << x
					return
				}
			}
		}
	}
}

func (g *spaceInvaders) observe(i int, p *planes) {
	s := &g.boards[i]
	p.set(0, floorRow, int(s.x))
	marching := 3
	if s.marchLeft {
		marching = 2
	}
	for y := range side {
		p.setRange(1, y*side, uint64(s.aliens[y]))
		p.setRange(marching, y*side, uint64(s.aliens[y]))
		p.setRange(4, y*side, uint64(s.up[y]))
		p.setRange(5, y*side, uint64(s.down[y]))
	}
}
