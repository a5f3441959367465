"""GPTQ (Frantar et al., arXiv 2210.17323) of one layer in numpy, float64: the
inverse Hessian's Cholesky factor, column by column, inputs with the largest
diagonal first. Writes method/silq/testdata/gptq.json. Seeds are tried until no
weight stands near a tie when it is rounded.

    python peer/golden_gptq.py
"""
import json
import os

import numpy as np

ROWS, IN, SAMPLES, BITS, DAMPING = 20, 12, 40, 3, 0.01


def gptq(w, h, steps, bits):
    h = h + DAMPING * np.mean(np.diag(h)) * np.eye(len(h))
    order = np.argsort(-np.diag(h), kind="stable")
    u = np.linalg.cholesky(np.linalg.inv(h[order][:, order])).T
    w, codes, margin = w[:, order].copy(), np.empty(w.shape, int), 1.0
    for j in range(w.shape[1]):
        z = w[:, j] / steps
        margin = min(margin, np.abs(np.abs(z - np.floor(z)) - 0.5).min())
        codes[:, j] = np.clip(np.round(z), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        e = (w[:, j] - codes[:, j] * steps) / u[j, j]
        w[:, j + 1:] -= np.outer(e, u[j, j + 1:])
    out = np.empty_like(codes)
    out[:, order] = codes
    return out, margin


for seed in range(1, 1000):
    gen = np.random.default_rng(seed)
    w = gen.normal(size=(ROWS, IN)).astype(np.float32)
    x = gen.normal(size=(SAMPLES, IN)) @ gen.normal(size=(IN, IN))
    h = x.T @ x
    steps = (np.abs(w).max(1) / 3.5).astype(np.float32)
    codes, margin = gptq(w.astype(np.float64), h, steps.astype(np.float64), BITS)
    if margin > 1e-3:
        break
rounded = np.clip(np.round(w / steps[:, None]), -4, 3)
assert (codes != rounded).any()
path = os.path.join(os.path.dirname(__file__), "..", "method", "silq", "testdata", "gptq.json")
with open(path, "w") as f:
    json.dump({"command": "python peer/golden_gptq.py", "tool": "numpy " + np.__version__, "seed": seed, "bits": BITS, "w": w.ravel().tolist(),
               "hessian": h.ravel().tolist(), "steps": steps.tolist(), "codes": codes.ravel().tolist()}, f)
print("seed", seed, "margin", margin)
