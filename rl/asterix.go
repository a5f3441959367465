package rl

// Asterix. The player walks on eight lanes (y = 1 .. 8) and collects gold while
// enemies cross.
//
//   - Start: player at (5, 5), all lanes empty.
//   - Every spawn interval (10 steps at first) something enters: drawn are its
//     side (left with chance 1/2), whether it is gold (chance 1/3) and one of
//     the lanes that are empty, counted from the top. Nothing enters when all
//     lanes are taken.
//   - Then the player moves by one cell inside the lanes; then everything in the
//     lanes moves by one cell each move interval (5 steps at first) and leaves at the
//     far edge.
//   - Touching gold, after the player's move or after the lanes' move, gives
//     reward 1 and removes it; touching an enemy ends the episode.
//   - With the ramp on, every 101st step lowers the spawn interval by 1, and
//     every second time the move interval too, each down to 1.
//
// Channels: player, enemy, trail (the cell behind each thing, if on the
// board), gold.

var asterixInfo = gameInfo{
	name: "asterix", version: 1,
	channels: []string{"player", "enemy", "trail", "gold"},
	minimal:  []int32{actNone, actLeft, actUp, actRight, actDown},
	open:     func() game { return &asterix{} },
}

const (
	lanes          = 8
	asterixSpawn   = 10  // steps between entries at the start
	asterixMove    = 5   // steps between moves at the start
	asterixRampGap = 100 // steps between two rises of the difficulty
)

// lane is what crosses one lane; dx is 0 where it is empty.
type lane struct {
	x, dx int8
	gold  bool
}

type asterixState struct {
	lane                 [lanes]lane
	x, y                 int8
	spawnGap, moveGap    int8
	spawnTimer, moveTime int8
	rampTimer            int8
	ramps                int8 // rises so far
	over                 bool
}

type asterix struct {
	boards []asterixState
	ramp   bool
}

func (g *asterix) make(n int, ramp bool) { g.boards, g.ramp = make([]asterixState, n), ramp }

func (g *asterix) reset(i int, _ *dice) {
	g.boards[i] = asterixState{
		x: 5, y: 5,
		spawnGap: asterixSpawn, spawnTimer: asterixSpawn,
		moveGap: asterixMove, moveTime: asterixMove,
		rampTimer: asterixRampGap,
	}
}

func (g *asterix) step(i int, action int32, d *dice) (float32, bool) {
	s := &g.boards[i]
	if s.spawnTimer == 0 {
		s.spawn(d)
		s.spawnTimer = s.spawnGap
	}
	switch action {
	case actLeft:
		s.x = max(0, s.x-1)
	case actRight:
		s.x = min(side-1, s.x+1)
	case actUp:
		s.y = max(1, s.y-1)
	case actDown:
		s.y = min(lanes, s.y+1)
	}
	reward := s.touch()
	if s.moveTime == 0 {
		s.moveTime = s.moveGap
		for k := range s.lane {
			l := &s.lane[k]
			if l.x += l.dx; l.x < 0 || l.x >= side {
				*l = lane{}
			}
		}
		reward += s.touch()
	}
	s.spawnTimer--
	s.moveTime--
	if g.ramp && (s.spawnGap > 1 || s.moveGap > 1) {
		s.harden()
	}
	return reward, s.over
}

// spawn lets one thing enter an empty lane.
func (s *asterixState) spawn(d *dice) {
	in := lane{x: side - 1, dx: -1}
	if d.unit() < 0.5 {
		in.x, in.dx = 0, 1
	}
	in.gold = d.unit() < 1.0/3
	free := 0
	for _, l := range s.lane {
		if l.dx == 0 {
			free++
		}
	}
	if free == 0 {
		return
	}
	pick := d.below(free)
	for k := range s.lane {
		if s.lane[k].dx != 0 {
			continue
		}
		if pick == 0 {
			s.lane[k] = in
			return
		}
		pick--
	}
}

// touch settles what lies at the player's cell.
func (s *asterixState) touch() (reward float32) {
	l := &s.lane[s.y-1]
	if l.dx == 0 || l.x != s.x {
		return 0
	}
	if !l.gold {
		s.over = true
		return 0
	}
	*l = lane{}
	return 1
}

// harden counts towards the next rise of the difficulty.
func (s *asterixState) harden() {
	if s.rampTimer >= 0 {
		s.rampTimer--
		return
	}
	if s.moveGap > 1 && s.ramps&1 == 1 {
		s.moveGap--
	}
	if s.spawnGap > 1 {
		s.spawnGap--
	}
	s.ramps++
	s.rampTimer = asterixRampGap
}

func (g *asterix) observe(i int, p *planes) {
	s := &g.boards[i]
	p.set(0, int(s.y), int(s.x))
	for k, l := range s.lane {
		if l.dx == 0 {
			continue
		}
		c := 1
		if l.gold {
			c = 3
		}
		p.set(c, k+1, int(l.x))
		if back := l.x - l.dx; back >= 0 && back < side {
			p.set(2, k+1, int(back))
		}
	}
}
