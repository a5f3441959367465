"""Golden vectors of the quantizers: forward, both gradients, steps, entropy,
percentiles. Writes quant/testdata/golden.json.

The backward pass is a custom autograd function with the paper's open interval
(LSQ, arXiv 1902.08153v3, eq. 3 and 5) in float32: torch.clamp would pass the
gradient at the border, where every zero after a relu stands.

    python peer/golden_quant.py
"""
import datetime
import json
import os
import sys

import numpy as np
import torch

SEED = 20260801


class FakeQuant(torch.autograd.Function):
    """step*round(clip(v/step, -qn, qp)); mode is lsq, pact or frozen."""

    @staticmethod
    def forward(ctx, v, step, qn, qp, gscale, mode):
        z = v / step
        ctx.save_for_backward(z, step)
        ctx.rest = (qn, qp, gscale, mode)
        return torch.round(torch.clamp(z, -qn, qp)) * step

    @staticmethod
    def backward(ctx, dy):
        z, step = ctx.saved_tensors
        qn, qp, gscale, mode = ctx.rest
        inside = (z > -qn) & (z < qp)
        dv = dy * inside
        if mode == "frozen":
            return dv, None, None, None, None, None
        d = torch.clamp(z, -qn, qp)
        d = torch.where(inside, torch.round(z) - z if mode == "lsq" else torch.zeros_like(z), d)
        g = dy * d
        axes = [i for i in range(g.dim()) if step.dim() != g.dim() or step.shape[i] == 1]
        ds = g.double().sum(dim=axes, keepdim=True).reshape(step.shape) * gscale
        return dv, ds.float(), None, None, None, None


def bounds(bits, signed):
    return (2 ** (bits - 1), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def away_from_ties(v, step):
    """Move values whose quotient is within 1e-3 of a half or of an integer."""
    z = v / step
    f = z - np.floor(z)
    bad = (np.abs(f - 0.5) < 1e-3) | (f < 1e-3) | (f > 1 - 1e-3)
    return np.where(bad, (v + np.float32(0.01) * step), v).astype(np.float32)


def case(rng, bits, signed, axis, mode):
    shape = (4, 3, 2, 5)
    qn, qp = bounds(bits, signed)
    v = rng.standard_normal(shape).astype(np.float32)
    count = shape[axis] if axis is not None else 1
    step = (2 * np.abs(v).mean() / np.sqrt(qp) * rng.uniform(0.4, 1.2, count)).astype(np.float32)
    view = [1, 1, 1, 1]
    if axis is not None:
        view[axis] = count
    wide = step.reshape(view)
    v = away_from_ties(v, wide)
    if not signed:
        v = np.where(rng.uniform(size=shape) < 0.4, np.float32(0), v)  # a relu's zeros: the border
    dy = rng.standard_normal(shape).astype(np.float32)
    gscale = float(np.float32(1 / np.sqrt(v.size / count * qp)))
    tv = torch.tensor(v, requires_grad=True)
    ts = torch.tensor(wide, requires_grad=mode != "frozen")
    y = FakeQuant.apply(tv, ts, qn, qp, gscale, mode)
    y.backward(torch.tensor(dy))
    out = {
        "bits": bits, "signed": signed, "axis": -1 if axis is None else axis, "mode": mode,
        "shape": shape, "v": v, "step": step, "dy": dy, "scale": gscale,
        "y": y.detach().numpy(), "dv": tv.grad.numpy(),
        "codes": np.clip(np.rint(v / wide), -qn, qp).astype(int),
    }
    if mode != "frozen":
        out["dstep"] = ts.grad.numpy().reshape(-1)
    return {k: a.reshape(-1).tolist() if isinstance(a, np.ndarray) else a for k, a in out.items()}


def borders():
    """Quotients that stand exactly on a border or a tie: steps of 2^-2."""
    out = []
    for bits, signed in [(2, True), (2, False), (4, True), (8, False)]:
        qn, qp = bounds(bits, signed)
        q = np.array([-qn - 1, -qn - 0.5, -qn, -qn + 0.5, -0.5, 0, 0.5, 1.5, 2.5, qp - 0.5, qp, qp + 0.5, qp + 1])
        v = torch.tensor((q * 0.25).astype(np.float32), requires_grad=True)
        s = torch.tensor([0.25], requires_grad=True)
        y = FakeQuant.apply(v, s, qn, qp, 1.0, "lsq")
        y.backward(torch.ones_like(v))
        out.append({
            "bits": bits, "signed": signed, "axis": -1, "mode": "lsq", "shape": [len(q)],
            "v": v.tolist(), "step": [0.25], "dy": [1.0] * len(q), "scale": 1.0, "y": y.tolist(),
            "dv": v.grad.tolist(), "dstep": s.grad.tolist(),
            "codes": (y / 0.25).int().tolist(),
        })
    return out


def statistics(rng):
    v = rng.standard_normal(1001).astype(np.float32)
    codes = np.clip(np.rint(v / np.float32(0.6)), -8, 7).astype(int)
    n = np.bincount(codes + 8, minlength=16)
    p = n[n > 0] / n.sum()
    return {
        "v": v.tolist(), "step": 0.6, "counts": n.tolist(), "entropy": float(-(p * np.log2(p)).sum()),
        "percentiles": {str(q): float(np.percentile(v, q)) for q in (50, 99, 99.9, 99.99)},
        "lsq_step4": float(2 * np.abs(v.astype(np.float64)).mean() / np.sqrt(7)),
        "sigma_step4": float(3 * v.astype(np.float64).std() / 7),
    }


def main():
    rng = np.random.default_rng(SEED)
    cases = []
    for bits in (2, 3, 4, 8):
        for signed in (True, False):
            for axis in (None, 0, 1):
                for mode in ("lsq", "pact", "frozen"):
                    if axis is None or mode == "lsq":
                        cases.append(case(rng, bits, signed, axis, mode))
    doc = {
        "tool": "torch " + torch.__version__ + ", numpy " + np.__version__,
        "seed": SEED, "command": "python peer/golden_quant.py",
        "date": datetime.date.today().isoformat(),
        "cases": cases + borders(), "statistics": statistics(rng),
    }
    path = os.path.join(os.path.dirname(__file__), "..", "quant", "testdata", "golden.json")
    with open(path, "w") as f:
        # Nine digits identify a float32.
        json.dump(json.loads(json.dumps(doc), parse_float=lambda x: float("%.9g" % float(x))), f, separators=(",", ":"))
        f.write("\n")
    print(os.path.getsize(path), "bytes", file=sys.stderr)


main()
