#!/usr/bin/env python3
"""Records games of the Python package minatar for rl/testdata.

It drives the package through its public interface alone (seed, reset, act,
state). A case keeps the seed, the settings, the actions and, every EVERY
steps, the running CRC-32 of everything that was seen so far, the sum of
rewards and the number of finished episodes:

    crc = crc32(packed observation, int8 reward, uint8 terminal), continued

The packed observation is channel, row, column; bit e%8 of byte e/8. After a
terminal the game is reset, and the observation is the one after the reset.
All random numbers come from one numpy RandomState(seed), whose stream the Go
test makes itself (MT19937), so that no draw needs to be stored.

Actions are either drawn by a small linear congruential generator that the Go
test repeats, or found by looking ahead in copies of the environment (so that
late stages of the games are reached) and stored, packed by zlib.

    pip install numpy minatar
    python peer/golden_minatar.py rl/testdata
"""

import base64
import copy
import json
import random
import sys
import zlib

import logging

logging.disable(logging.WARNING)
import numpy as np
from minatar import Environment

EVERY = 500
GAMES = ["breakout", "asterix", "freeway", "seaquest", "space_invaders"]


def lcg_actions(seed, steps, weights):
    """Actions of the generator x = 1664525 x + 1013904223 mod 2^32: entry
    (x >> 16) % len of weights."""
    x = seed
    for _ in range(steps):
        x = (1664525 * x + 1013904223) & 0xFFFFFFFF
        yield weights[(x >> 16) % len(weights)]


def bonus(game, state):
    """How promising a state looks to the search, beside the rewards."""
    if game == "seaquest":
        return 0.3 * state[9, :, 8].sum() + 0.05 * state[9, :, 7].sum()
    if game == "freeway":
        return 0.1 * (9 - int(np.argmax(state[:, 4, 0])))
    return 0.0


class Search:
    """Looks ahead in copies of the environment with random plans."""

    def __init__(self, game, seed, plans, length, again, blunder):
        self.game, self.plans, self.length, self.again = game, plans, length, again
        self.blunder = blunder
        self.rand = random.Random(seed)
        self.plan, self.used = [], 0

    def fresh(self):
        plan = []
        while len(plan) < self.length:
            plan += [self.rand.randrange(6)] * self.rand.choice([1, 1, 2, 3, 5])
        return plan[: self.length]

    def value(self, env, plan):
        sim, total = copy.deepcopy(env), 0.0
        for t, a in enumerate(plan):
            r, over = sim.act(a)
            total += float(r) * 0.99**t
            if over:
                return total - 20 + 0.1 * t
        return total + bonus(self.game, sim.state())

    def act(self, env):
        if self.rand.random() < self.blunder:
            self.plan = []
            return self.rand.randrange(6)
        if self.used >= self.again or not self.plan:
            keep = self.plan + [self.rand.randrange(6) for _ in range(self.length - len(self.plan))]
            best = max([keep] + [self.fresh() for _ in range(self.plans)], key=lambda p: self.value(env, p))
            self.plan, self.used = best, 0
        self.used += 1
        return self.plan.pop(0)


def pack(state):
    return np.packbits(np.moveaxis(state, 2, 0).reshape(-1).astype(np.uint8), bitorder="little").tobytes()


def record(case, chooser):
    env = Environment(case["game"], sticky_action_prob=case["sticky"], difficulty_ramping=case["ramp"])
    env.seed(case["seed"])
    env.reset()
    crc = zlib.crc32(pack(env.state()))
    total, episodes, actions, marks, best, ret = 0, 0, bytearray(), [], 0, 0
    for t in range(1, case["steps"] + 1):
        a = chooser(env)
        actions.append(a)
        r, over = env.act(a)
        total += int(r)
        ret += int(r)
        if over:
            env.reset()
            episodes += 1
            best, ret = max(best, ret), 0
        crc = zlib.crc32(pack(env.state()) + bytes([int(r) & 255, int(over)]), crc)
        if t % EVERY == 0:
            marks.append("%08x %d %d" % (crc, total, episodes))
    case["best_return"] = max(best, ret)
    case["marks"] = marks
    return actions


def cases(game):
    weights = [0, 1, 2, 3, 4, 5]
    if game == "freeway":
        weights = [2, 2, 2, 2, 0, 4, 2, 2, 1]
    for seed, sticky, ramp, steps in [(1, 0.1, True, 50000), (2, 0.0, False, 25000), (4294967295, 1.0, True, 500)]:
        case = dict(game=game, seed=seed, sticky=sticky, ramp=ramp, steps=steps, lcg=7 * seed & 0xFFFFFFFF, weights=weights)
        source = lcg_actions(case["lcg"], steps, weights)
        record(case, lambda env: next(source))
        yield case
    for seed, sticky, ramp, steps in [(3, 0.1, True, 20000), (4, 0.0, True, 15000), (5, 0.1, False, 5000)]:
        case = dict(game=game, seed=seed, sticky=sticky, ramp=ramp, steps=steps)
        search = Search(game, seed, plans=30 if game == "breakout" else 12, length=30 if game == "seaquest" else 20, again=3, blunder=0.001)
        actions = record(case, search.act)
        case["actions"] = base64.b64encode(zlib.compress(bytes(actions), 9)).decode()
        yield case


def main():
    out = sys.argv[1]
    for game in sys.argv[2:] or GAMES:
        doc = dict(
            tool="minatar 1.0.15",
            numpy=np.__version__,
            command="python peer/golden_minatar.py rl/testdata " + game,
            date="2026-11-23",
            every=EVERY,
            cases=[],
        )
        for case in cases(game):
            print(game, case["seed"], case["steps"], case["best_return"], case["marks"][-1], flush=True)
            doc["cases"].append(case)
        with open("%s/minatar_%s.json" % (out, game), "w") as f:
            json.dump(doc, f, indent=1)
            f.write("\n")


main()
