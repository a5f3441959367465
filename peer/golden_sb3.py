"""Writes rl/testdata/sb3_*.zip and sb3.json: small policies of
Stable-Baselines3, as saved by it, and their outputs on given observations.

    python peer/golden_sb3.py

Needs stable-baselines3 (2.9.2 made the committed files) and torch.
"""
import datetime
import json
import os
import zipfile

import gymnasium
import numpy as np
import stable_baselines3 as sb3
import torch

SEED = 7
OUT = os.path.join(os.path.dirname(__file__), "..", "rl", "testdata")


class Board(gymnasium.Env):
    """An environment of the right spaces; nothing is learned."""

    observation_space = gymnasium.spaces.Box(0, 1, (4, 10, 10), np.float32)

    def __init__(self, actions):
        self.action_space = gymnasium.spaces.Discrete(actions)

    def reset(self, seed=None, options=None):
        return np.zeros((4, 10, 10), np.float32), {}

    def step(self, action):
        return np.zeros((4, 10, 10), np.float32), 0.0, True, False, {}


def keep(path, names):
    """Leaves only some entries: the others hold pickles of this machine."""
    with zipfile.ZipFile(path) as z:
        entries = {n: z.read(n) for n in names}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for n, b in entries.items():
            z.writestr(n, b)


def main():
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    obs = (rng.random((2, 4, 10, 10)) < 0.3).astype(np.float32)
    x = torch.from_numpy(obs)
    dqn = sb3.DQN("MlpPolicy", Board(3), policy_kwargs={"net_arch": [6, 5]}, buffer_size=10, seed=SEED)
    ppo = sb3.PPO("MlpPolicy", Board(6), policy_kwargs={"net_arch": {"pi": [7], "vf": [4]}}, n_steps=8, batch_size=8, seed=SEED)
    cases = []
    for name, model in (("dqn", dqn), ("ppo", ppo)):
        with torch.no_grad():
            for p in model.policy.parameters():  # no zeros in biases
                p.add_(0.05 * torch.randn_like(p))
            if name == "dqn":
                out = model.q_net(x)
            else:
                out = model.policy.get_distribution(x).distribution.logits
        path = os.path.join(OUT, f"sb3_{name}.zip")
        model.save(path)
        keep(path, ("policy.pth", "_stable_baselines3_version"))
        cases.append({"file": os.path.basename(path), "outputs": out.tolist()})
    golden = {
        "tool": "stable-baselines3 " + sb3.__version__ + ", torch " + torch.__version__,
        "seed": SEED, "command": "python peer/golden_sb3.py", "date": datetime.date.today().isoformat(),
        "observations": obs.reshape(2, -1).astype(int).tolist(), "cases": cases,
    }
    with open(os.path.join(OUT, "sb3.json"), "w") as f:
        json.dump(golden, f)
        f.write("\n")


main()
