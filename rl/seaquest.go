package rl

// Seaquest. A submarine collects divers, shoots enemies and must come up for
// air.
//
//   - Start: submarine at (5, 0), facing left, 200 units of oxygen, no divers.
//   - An enemy enters every spawn interval (20 steps at first): drawn are its
//     side (left with chance 1/2), whether it is a submarine (chance 1/3) or a
//     fish, and its row 1 .. 8; it does not enter a row where an enemy moves
//     the other way. A diver enters every 30 steps: side and row are drawn.
//   - Then the action: move by one cell (x 0 .. 9, y 0 .. 8; left and right turn the
//     submarine) or fire, at most every fifth step, from its own cell.
//   - Then in this order move: its shots (one cell a step), divers (one cell
//     every fifth step), enemy submarines, enemy shots (one cell a step), fish. Enemies
//     move every fifth step at first; enemy submarines shoot every tenth.
//   - A shot of the player that meets an enemy destroys it, reward 1, and is spent.
//     Touching an enemy or its shot ends the episode. A diver is picked up if there
//     are fewer than six on board.
//   - Under water oxygen falls by 1 a step; below 0 the episode ends. At the
//     surface (y = 0) the submarine needs a diver on board, else the episode ends.
//     With six divers coming up gives the filled cells of the oxygen gauge as reward
//     and all leave. In any case one more leaves, so that after six have left the count
//     is -1: one diver then has to be picked up before any shows, but the surface
//     is safe, since only a count of 0 ends the episode there. Oxygen is full again.
//   - With the ramp on, each time at the surface lowers the spawn interval by 1,
//     down to 1, and every second time the move interval, down to 2.
//
// Channels: sub_front, sub_back, friendly_bullet, trail (the cell behind each
// moving thing), enemy_bullet, enemy_fish, enemy_sub, oxygen_gauge (row 9, from the
// left, one cell for 20 units), diver_gauge (row 9, cells 9 - n .. 8), diver.

var seaquestInfo = gameInfo{
	name: "seaquest", version: 1,
	channels: []string{"sub_front", "sub_back", "friendly_bullet", "trail", "enemy_bullet",
		"enemy_fish", "enemy_sub", "oxygen_gauge", "diver_gauge", "diver"},
	minimal: []int32{actNone, actLeft, actUp, actRight, actDown, actFire},
	open:    func() game { return &seaquest{} },
}

const (
	fullOxygen       = 200
	fullDivers       = 6
	torpedoGap       = 5 // steps between two shots of the player
	enemyShotGap     = 10
	enemySpawnGap    = 20 // at the start
	enemyMoveGap     = 5  // at the start
	enemyFastestMove = 2
	diverSpawnGap    = 30
	diverMoveGap     = 5
	deepestRow       = 8
)

// swimmer is anything that crosses the water: dx is -1 or 1.
type swimmer struct {
	x, y, dx    int8
	moveTimer   int8
	weaponTimer int8
}

type seaquestState struct {
	torpedoes, shots, fish, subs, divers []swimmer

	x, y, dx            int8
	shotTimer           int8
	onBoard             int16 // divers; see the header about numbers below 0
	oxygen              int16
	surfaced, over      bool
	spawnGap, moveGap   int8
	enemyTimer, diverIn int8 // steps until the next one enters
	ramps               int8
}

type seaquest struct {
	boards []seaquestState
	ramp   bool
}

func (g *seaquest) make(n int, ramp bool) {
	g.boards, g.ramp = make([]seaquestState, n), ramp
	for i := range g.boards {
		s := &g.boards[i]
		for _, list := range []*[]swimmer{&s.torpedoes, &s.shots, &s.fish, &s.subs, &s.divers} {
			*list = make([]swimmer, 0, swimmers)
		}
	}
}

// swimmers is the room made ahead for each kind: more never live at once at
// the fastest spawning (one enemy a step, each for some 30 steps).
const swimmers = 48

func (g *seaquest) reset(i int, _ *dice) {
	s := &g.boards[i]
	*s = seaquestState{
		torpedoes: s.torpedoes[:0], shots: s.shots[:0], fish: s.fish[:0], subs: s.subs[:0], divers: s.divers[:0],
		x: 5, dx: -1, oxygen: fullOxygen, surfaced: true,
		spawnGap: enemySpawnGap, moveGap: enemyMoveGap, enemyTimer: enemySpawnGap, diverIn: diverSpawnGap,
	}
}

func (g *seaquest) step(i int, action int32, d *dice) (reward float32, over bool) {
	s := &g.boards[i]
	s.enter(d)
	s.control(action)
	reward = s.moveTorpedoes()
	s.moveDivers()
	reward += s.moveSubs()
	s.moveShots()
	reward += s.moveFish()
	reward += s.breathe(g.ramp)
	s.enemyTimer--
	s.diverIn--
	if s.shotTimer > 0 {
		s.shotTimer--
	}
	return reward, s.over
}

// enter lets enemies and divers into the water.
func (s *seaquestState) enter(d *dice) {
	if s.enemyTimer == 0 {
		s.enemyTimer = s.spawnGap
		fromLeft, isSub := d.unit() < 0.5, d.unit() < 1.0/3
		e := swimmer{x: side - 1, dx: -1, y: int8(1 + d.below(deepestRow)), moveTimer: s.moveGap, weaponTimer: enemyShotGap}
		if fromLeft {
			e.x, e.dx = 0, 1
		}
		switch {
		case against(s.subs, e) || against(s.fish, e):
		case isSub:
			s.subs = append(s.subs, e)
		default:
			s.fish = append(s.fish, e)
		}
	}
	if s.diverIn == 0 {
		s.diverIn = diverSpawnGap
		e := swimmer{x: side - 1, dx: -1, moveTimer: diverMoveGap}
		if d.unit() < 0.5 {
			e.x, e.dx = 0, 1
		}
		e.y = int8(1 + d.below(deepestRow))
		s.divers = append(s.divers, e)
	}
}

// against says whether something in list moves against e in e's row.
func against(list []swimmer, e swimmer) bool {
	for _, o := range list {
		if o.y == e.y && o.dx != e.dx {
			return true
		}
	}
	return false
}

func (s *seaquestState) control(action int32) {
	switch action {
	case actFire:
		if s.shotTimer == 0 {
			s.torpedoes = append(s.torpedoes, swimmer{x: s.x, y: s.y, dx: s.dx})
			s.shotTimer = torpedoGap
		}
	case actLeft:
		s.x, s.dx = max(0, s.x-1), -1
	case actRight:
		s.x, s.dx = min(side-1, s.x+1), 1
	case actUp:
		s.y = max(0, s.y-1)
	case actDown:
		s.y = min(deepestRow, s.y+1)
	}
}

func (w *swimmer) outside() bool { return uint8(w.x) >= side }

// at says whether w is in the submarine's front cell.
func (s *seaquestState) at(w *swimmer) bool { return w.x == s.x && w.y == s.y }

func (s *seaquestState) moveTorpedoes() (reward float32) {
	keep := s.torpedoes[:0]
	for _, t := range s.torpedoes {
		if t.x += t.dx; t.outside() {
			continue
		}
		if strike(&s.fish, t) || strike(&s.subs, t) {
			reward++
			continue
		}
		keep = append(keep, t)
	}
	s.torpedoes = keep
	return reward
}

// strike removes the first of list in t's cell and says whether there was one.
func strike(list *[]swimmer, t swimmer) bool {
	for k, o := range *list {
		if o.x == t.x && o.y == t.y {
			*list = append((*list)[:k], (*list)[k+1:]...)
			return true
		}
	}
	return false
}

func (s *seaquestState) moveDivers() {
	keep := s.divers[:0]
	for _, w := range s.divers {
		if s.pick(&w) {
			continue
		}
		if w.moveTimer == 0 {
			w.moveTimer = diverMoveGap
			if w.x += w.dx; w.outside() || s.pick(&w) {
				continue
			}
		} else {
			w.moveTimer--
		}
		keep = append(keep, w)
	}
	s.divers = keep
}

// pick takes a diver on board if it is here and there is room.
func (s *seaquestState) pick(w *swimmer) bool {
	if s.at(w) && s.onBoard < fullDivers {
		s.onBoard++
		return true
	}
	return false
}

// swim moves one enemy and settles what it meets; gone says that it leaves the
// water.
func (s *seaquestState) swim(w *swimmer) (reward float32, gone bool) {
	if s.at(w) {
		s.over = true
	}
	if w.moveTimer > 0 {
		w.moveTimer--
		return 0, false
	}
	w.moveTimer = s.moveGap
	if w.x += w.dx; w.outside() {
		return 0, true
	}
	if s.at(w) {
		s.over = true
		return 0, false
	}
	if strike(&s.torpedoes, *w) {
		return 1, true
	}
	return 0, false
}

func (s *seaquestState) moveSubs() (reward float32) {
	keep := s.subs[:0]
	for _, w := range s.subs {
		r, gone := s.swim(&w)
		reward += r
		if gone {
			continue
		}
		if w.weaponTimer == 0 {
			w.weaponTimer = enemyShotGap
			s.shots = append(s.shots, swimmer{x: w.x, y: w.y, dx: w.dx})
		} else {
			w.weaponTimer--
		}
		keep = append(keep, w)
	}
	s.subs = keep
	return reward
}

func (s *seaquestState) moveFish() (reward float32) {
	keep := s.fish[:0]
	for _, w := range s.fish {
		r, gone := s.swim(&w)
		reward += r
		if !gone {
			keep = append(keep, w)
		}
	}
	s.fish = keep
	return reward
}

func (s *seaquestState) moveShots() {
	keep := s.shots[:0]
	for _, w := range s.shots {
		if s.at(&w) {
			s.over = true
		}
		if w.x += w.dx; w.outside() {
			continue
		}
		if s.at(&w) {
			s.over = true
		}
		keep = append(keep, w)
	}
	s.shots = keep
}

// breathe settles oxygen and the surface.
func (s *seaquestState) breathe(ramp bool) (reward float32) {
	if s.y > 0 {
		if s.oxygen--; s.oxygen < 0 {
			s.over = true
		}
		s.surfaced = false
		return 0
	}
	if s.surfaced {
		return 0
	}
	if s.onBoard == 0 {
		s.over = true
		return 0
	}
	s.surfaced = true
	if s.onBoard == fullDivers {
		s.onBoard = 0
		reward = float32(s.oxygen * side / fullOxygen)
	}
	s.onBoard--
	s.oxygen = fullOxygen
	if ramp && (s.spawnGap > 1 || s.moveGap > enemyFastestMove) {
		if s.moveGap > enemyFastestMove && s.ramps&1 == 1 {
			s.moveGap--
		}
		if s.spawnGap > 1 {
			s.spawnGap--
		}
		s.ramps++
	}
	return reward
}

func (g *seaquest) observe(i int, p *planes) {
	s := &g.boards[i]
	p.set(0, int(s.y), int(s.x))
	if back := s.x - s.dx; back >= 0 && back < side {
		p.set(1, int(s.y), int(back))
	}
	if s.oxygen > 0 {
		n := uint(s.oxygen) * side / fullOxygen
		p.setRange(7, floorRow*side, 1<<n-1)
	}
	if s.onBoard > 0 {
		p.setRange(8, floorRow*side+floorRow-int(s.onBoard), 1<<uint(s.onBoard)-1)
	}
	show(p, 2, s.torpedoes, false)
	show(p, 4, s.shots, false)
	show(p, 5, s.fish, true)
	show(p, 6, s.subs, true)
	show(p, 9, s.divers, true)
}

// show draws list into channel c, and the cells behind into the trail.
func show(p *planes, c int, list []swimmer, trail bool) {
	for _, w := range list {
		p.set(c, int(w.y), int(w.x))
		if back := w.x - w.dx; trail && back >= 0 && back < side {
			p.set(3, int(w.y), int(back))
		}
	}
}
