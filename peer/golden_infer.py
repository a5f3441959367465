"""Golden of package infer: the deploy form of a small quantized network. Writes
infer/testdata/deploy.json.

    python peer/golden_infer.py

Codes come from torch.round (ties to even) in float32, sums from torch's
convolution in float64 (exact), the folding from numpy in float64. Channels with
a negative, a zero and a tiny gamma are among them.
"""

import datetime
import json
import os

import numpy as np
import torch
import torch.nn.functional as F

SEED = 20
f32 = np.float32


def codes(v, step, lo, hi):
    """round(clip(v/step, lo, hi)) in float32; step broadcasts."""
    z = torch.as_tensor(v, dtype=torch.float32) / torch.as_tensor(step, dtype=torch.float32)
    return torch.round(torch.clamp(z, lo, hi)).to(torch.int64)


def fine(bits, acc_max):
    """k: weights of few bits are codes times 2^k, 7 bits and sums of 2^22 at most."""
    k = 0
    while bits + k < 7 and acc_max * 2 ** (k + 1) <= 2**22:
        k += 1
    return k


def fold(scale, shift, step_in, step_w, step_out, acc_max):
    """M (float32), bias (int), constant of one channel, in float64."""
    weight = f32(float(step_w) * float(scale))
    unit = float(step_in) * float(weight)
    m = f32(f32(step_in) * weight) / f32(step_out)
    bias = np.rint(shift / unit) if unit != 0 else np.inf
    if m == 0 or not np.isfinite(m) or not abs(bias) + acc_max <= 2**31 - 1:
        return f32(shift / float(step_out)), 1, True
    return m, int(bias), False


def exact(acc, scale, shift, step_in, step_w, step_out):
    """values in units of step_out with nothing rounded but at the end, float64: what
    codes of few bits are made of."""
    s = np.array([float(a) * float(b) * float(step_in) / float(step_out) for a, b in zip(scale, step_w)])
    return acc * s.reshape(-1, 1, 1) + (np.asarray(shift, np.float64) / float(step_out)).reshape(-1, 1, 1)


def real(acc, shift, step_in, step_w, bits, acc_max):
    """values that stay in floats: one product and one sum in float32."""
    k = fine(bits, acc_max)
    w = f32(f32(step_w) / f32(2**k))
    return (acc * 2**k).astype(f32) * f32(f32(step_in) * w) + np.asarray(shift, f32)


def deploy(acc, scale, shift, step_in, step_w, step_out, acc_max, bits=8):
    """real values in units of step_out, float32 [channels, ...]."""
    k = fine(bits, acc_max)
    acc, acc_max, step_w = acc * 2**k, acc_max * 2**k, [f32(s) / f32(2**k) for s in step_w]
    out = np.empty(acc.shape, f32)
    for c in range(acc.shape[0]):
        m, bias, constant = fold(scale[c], shift[c], step_in, step_w[c], step_out, acc_max)
        a = np.zeros_like(acc[c]) if constant else acc[c]
        out[c] = (a + bias).astype(np.int64).astype(f32) * m
    return out


def norm(gamma, beta, mean, var, eps):
    g, b, m, v = (np.asarray(x, np.float64) for x in (gamma, beta, mean, var))
    s = g / np.sqrt(v + eps)
    return s, b - m * s


def clamp_codes(real, lo, hi):
    return np.rint(np.clip(real, f32(lo), f32(hi))).astype(np.int64)


def main():
    r = np.random.default_rng(SEED)
    arr = lambda *s, scale=1.0: (r.standard_normal(s) * scale).astype(f32)
    p = {
        "input": arr(1, 3, 8, 8),
        "conv1.weight": arr(6, 3, 3, 3, scale=0.3), "conv2.weight": arr(6, 1, 3, 3, scale=0.5),
        "fc.weight": arr(5, 6, scale=0.4), "fc.bias": arr(5),
        "conv1.input_step": np.array([0.02], f32), "conv1.weight_step": np.array([0.008], f32),
        "conv2.input_step": np.array([0.21], f32), "conv2.weight_step": (0.1 + 0.05 * r.random(6)).astype(f32),
        "pool.input_step": np.array([0.013], f32),
        "fc.input_step": np.array([0.011], f32), "fc.weight_step": np.array([0.2], f32),
    }
    for bn in ("bn1", "bn2"):
        p[bn + ".weight"] = (arr(6) + f32(1)).astype(f32)
        p[bn + ".bias"] = arr(6)
        p[bn + ".running_mean"] = arr(6, scale=0.3)
        p[bn + ".running_var"] = (0.3 + r.random(6)).astype(f32)
    p["bn1.weight"][:3] = [-0.8, 0, 1e-30]
    p["bn2.weight"][5] = -1.3
    eps = 1e-5

    x = codes(p["input"], p["conv1.input_step"], -128, 127)
    w = codes(p["conv1.weight"], p["conv1.weight_step"], -128, 127)
    acc = F.conv2d(x.double(), w.double(), padding=1)[0].numpy().astype(np.int64)
    s, b = norm(p["bn1.weight"], p["bn1.bias"], p["bn1.running_mean"], p["bn1.running_var"], eps)
    c1 = np.rint(np.clip(exact(acc, s, b, p["conv1.input_step"][0], [p["conv1.weight_step"][0]] * 6, p["conv2.input_step"][0]), 0, 15)).astype(np.int64)  # relu and u4

    w = codes(p["conv2.weight"], p["conv2.weight_step"].reshape(6, 1, 1, 1), -8, 7)
    acc = F.conv2d(torch.from_numpy(c1)[None].double(), w.double(), padding=1, stride=2, groups=6)[0].numpy().astype(np.int64)
    s, b = norm(p["bn2.weight"], p["bn2.bias"], p["bn2.running_mean"], p["bn2.running_var"], eps)
    value = deploy(acc, s, b, p["conv2.input_step"][0], p["conv2.weight_step"], p["pool.input_step"][0], 9 * 8 * 15, 4)
    six = int(codes(np.array([6], f32), p["pool.input_step"], 0, 255)[0])
    c2 = clamp_codes(value, 0, six)  # relu6 and u8

    acc = c2.sum(axis=(1, 2))
    n = c2.shape[1] * c2.shape[2]
    value = deploy(acc, [1 / n] * 6, [0] * 6, p["pool.input_step"][0], [f32(1)] * 6, p["fc.input_step"][0], n * 255)
    c3 = clamp_codes(value, 0, 255)

    w = codes(p["fc.weight"], p["fc.weight_step"], -4, 3).numpy()
    acc = w @ c3
    logits = real(acc, p["fc.bias"], p["fc.input_step"][0], p["fc.weight_step"][0], 3, 6 * 4 * 255)

    out = {
        "tool": "torch %s, numpy %s" % (torch.__version__, np.__version__), "seed": SEED,
        "date": datetime.date.today().isoformat(), "command": "python peer/golden_infer.py",
        "eps": eps,
        "params": {k: {"shape": list(v.shape), "values": [float(a) for a in v.reshape(-1)]} for k, v in p.items()},
        "codes": {"input": x.reshape(-1).tolist(), "bn1": c1.reshape(-1).tolist(), "bn2": c2.reshape(-1).tolist(), "pool": c3.tolist()},
        "logits": [float(a) for a in logits],
    }
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "infer", "testdata", "deploy.json")
    with open(path, "w") as f:
        json.dump(out, f)
        f.write("\n")


main()
