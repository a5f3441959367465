#!/usr/bin/env python3
"""Goldens of the ops of transformers, forward and backward, from PyTorch.

python3 peer/golden_transformer.py > engine/testdata/transformer.json

Each case: the op's kind and attributes as in graph's JSON form, operands
(integers marked), the gradient dy of the result, PyTorch's result and its
gradients (null: none). The rotary embeddings are written out here, in both
layouts; attention is F.scaled_dot_product_attention with an explicit mask.
"""
import datetime, json, sys
import torch, torch.nn.functional as F

SEED = 12
torch.manual_seed(SEED)
cases = []


def flat(t):
    return None if t is None else {"shape": list(t.shape), "data": [float("%.9g" % v) for v in t.detach().flatten().tolist()]}


def case(name, kind, attrs, f, *xs, still=()):
    xs = [x.clone().requires_grad_(x.is_floating_point() and i not in still) for i, x in enumerate(xs)]
    y = f(*xs)
    dy = torch.randn_like(y)
    y.backward(dy)
    cases.append({"name": name, "kind": kind, "attrs": attrs, "operands": [flat(x) for x in xs], "dy": flat(dy),
                  "result": flat(y), "grads": [flat(x.grad) for x in xs],
                  "integers": [int(not x.is_floating_point()) for x in xs]})


ints = lambda *v: torch.tensor(v, dtype=torch.int32)
r = torch.randn

case("embedding", "embedding", {}, lambda t, i: F.embedding(i, t), r(7, 5), ints(3, 0, 3, 6, 3, 1))
for d in (6, 33):
    case("layer norm %d" % d, "layer_norm", {"f": "layer_norm", "eps": 1e-5}, lambda x, g, b: F.layer_norm(x, (x.shape[-1],), g, b, 1e-5), 2 * r(5, d) + 1, r(d), r(d))
    case("rms norm %d" % d, "rms_norm", {"f": "rms_norm", "eps": 1e-6}, lambda x, g: F.rms_norm(x, (x.shape[-1],), g, 1e-6), 2 * r(2, 5, d) + 1, r(d))
for kind, f in (("gelu", F.gelu), ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")), ("silu", F.silu), ("elu", F.elu)):
    case(kind, kind, {"f": kind}, f, 3 * r(60))


def turn(x, pos, d, theta, adjacent, freq=lambda f: f):
    t = x.view(x.shape[0], -1, d)
    f = freq(1 / theta ** (torch.arange(0, d, 2, dtype=torch.float64) / d))
    a = torch.outer(pos.double(), f)
    c, s = a.cos().float()[:, None], a.sin().float()[:, None]
    if adjacent:
        p, q = t[..., 0::2], t[..., 1::2]
        return torch.stack((p * c - q * s, q * c + p * s), -1).reshape(x.shape)
    p, q = t[..., : d // 2], t[..., d // 2:]
    return torch.cat((p * c - q * s, q * c + p * s), -1).reshape(x.shape)


def llama3(f):  # transformers' _compute_llama3_parameters
    factor, low, high, original = 8.0, 1.0, 4.0, 64.0
    wave = 2 * torch.pi / f
    g = torch.where(wave > original / low, f / factor, f)
    blend = (original / wave - low) / (high - low)
    mid = (1 - blend) * g / factor + blend * g
    return torch.where(~(wave < original / high) & ~(wave > original / low), mid, g)


local = torch.arange(4).repeat(2)
base = {"head_dim": 8, "seq": 4, "context": 32, "theta": 1e4}
case("rope halves", "rope", base, lambda x: turn(x, local, 8, 1e4, False), r(8, 16))
case("rope adjacent", "rope", {**base, "adjacent": True}, lambda x: turn(x, local, 8, 1e4, True), r(8, 16))
case("rope from a position", "rope", base, lambda x, p: turn(x, local + p, 8, 1e4, False), r(8, 16), ints(7))
case("rope at positions", "rope", base, lambda x, p: turn(x, p, 8, 1e4, False), r(8, 16), ints(5, 4, 0, 1, 31, 2, 9, 9))
case("rope of llama 3.1", "rope", {**base, "scaling": {"factor": 8, "low": 1, "high": 4, "original": 64}},
     lambda x, p: turn(x, local + p, 8, 1e4, False, llama3), r(8, 16), ints(20))


def attention(heads, kv, seq, causal, lengths=None, starts=None):
    def f(q, k, v, *ints):
        batch = q.shape[0] // seq
        split = lambda x, h: x.view(batch, seq, h, -1).transpose(1, 2)
        i, j = torch.arange(seq)[:, None], torch.arange(seq)[None]
        see = torch.ones(batch, seq, seq, dtype=torch.bool)
        if causal:
            see = see & (j <= i)
        if lengths:
            see = see & (j < torch.tensor(lengths)[:, None, None])
        if starts:
            see = see & (j >= torch.tensor(starts).view(batch, seq, 1))
        y = F.scaled_dot_product_attention(split(q, heads), split(k, kv), split(v, kv), attn_mask=see[:, None], enable_gqa=True)
        return y.transpose(1, 2).reshape(q.shape)
    return f


def attend(name, batch, seq, heads, kv, d, causal, lengths=None, starts=None):
    attrs = {"seq": seq, "causal": causal, "lengths": bool(lengths), "starts": bool(starts), "heads": heads, "kv_heads": kv}
    extra = ([ints(*lengths)] if lengths else []) + ([ints(*starts)] if starts else [])
    case(name, "attention", attrs, attention(heads, kv, seq, causal, lengths, starts),
         r(batch * seq, heads * d), r(batch * seq, kv * d), r(batch * seq, kv * d), *extra)


attend("attention", 2, 5, 2, 2, 8, False)
attend("attention causal", 2, 17, 2, 2, 8, True)
attend("attention grouped", 1, 9, 6, 2, 4, True)
attend("attention of long sequences", 1, 80, 1, 1, 6, True)
attend("attention over lengths", 3, 18, 2, 1, 6, False, lengths=(18, 1, 7))
attend("attention of packed sequences", 1, 20, 2, 2, 4, True, starts=(0,) * 8 + (8,) * 5 + (13,) * 7)
case("cross entropy of many classes", "cross_entropy", {}, lambda x, y: F.cross_entropy(x, y.long(), reduction="none", ignore_index=-100),
     5 * r(3, 1100), ints(7, -100, 1099))
case("kl of many classes", "kl_divergence", {"t": 1.0},
     lambda s, t: F.kl_div(s.log_softmax(-1), t.log_softmax(-1), reduction="none", log_target=True).sum(-1), 4 * r(1, 1100), 4 * r(1, 1100), still=(1,))
case("dynamic step", "dynamic_step", {"spec": {"bits": 8, "signed": True, "granularity": 3}},
     lambda x: (x.abs().amax(-1, keepdim=True) / 127).clamp(min=1e-8) + 0 * x[..., :1], torch.cat((r(3, 9), torch.zeros(1, 9))))
cases[-1]["grads"] = [None]

json.dump({"tool": "torch " + torch.__version__, "seed": SEED, "command": "python3 peer/golden_transformer.py",
           "date": datetime.date.today().isoformat(), "cases": cases}, sys.stdout, separators=(",", ":"))
