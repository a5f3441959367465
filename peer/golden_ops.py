#!/usr/bin/env python3
"""Goldens of single ops, forward and backward, from PyTorch.

python3 peer/golden_ops.py > engine/testdata/ops.json

Each case: the op's kind and attributes as in graph's JSON form, operands, the
gradient dy of the result, PyTorch's result and its gradients (null: none).
"""
import datetime, json, sys
import torch, torch.nn.functional as F

SEED = 11
torch.manual_seed(SEED)
cases = []


def flat(t):
    return None if t is None else {"shape": list(t.shape), "data": [float("%.9g" % v) for v in t.detach().flatten().tolist()]}


def case(name, kind, attrs, f, *xs, ints=()):
    xs = [x.clone().requires_grad_(x.is_floating_point()) for x in xs]
    y = f(*xs)
    dy = torch.randn_like(y)
    y.backward(dy)
    cases.append({"name": name, "kind": kind, "attrs": attrs, "operands": [flat(x) for x in xs], "dy": flat(dy),
                  "result": flat(y), "grads": [flat(x.grad) if x.is_floating_point() else None for x in xs],
                  "labels": [int(not x.is_floating_point()) for x in xs]})


def conv(name, x, w, stride, pad, dilation=(1, 1), groups=1):
    t, l, b, r = pad
    case(name, "conv2d", {"stride": list(stride), "pad": list(pad), "dilation": list(dilation), "groups": groups},
         lambda x, w: F.conv2d(F.pad(x, (l, r, t, b)), w, None, stride, 0, dilation, groups), torch.randn(*x), torch.randn(*w))


def pool(name, f, kind, x, k, s, p, count_pad=False):
    case(name, kind, {"f": kind, "kernel": [k, k], "stride": [s, s], "pad": [p, p, p, p], "count_pad": count_pad}, f, torch.randn(*x))


conv("conv 3x3", (2, 3, 7, 6), (5, 3, 3, 3), (1, 1), (1, 1, 1, 1))
conv("conv 3x3 channels of 16", (2, 16, 6, 6), (16, 16, 3, 3), (1, 1), (1, 1, 1, 1))
conv("conv stride 2", (2, 4, 7, 8), (6, 4, 3, 3), (2, 2), (1, 1, 1, 1))
conv("conv 1x1 stride 2", (2, 8, 6, 6), (4, 8, 1, 1), (2, 2), (0, 0, 0, 0))
conv("conv 7x7 stride 2", (1, 3, 13, 13), (4, 3, 7, 7), (2, 2), (3, 3, 3, 3))
conv("conv uneven pads", (2, 4, 7, 8), (6, 4, 3, 2), (2, 1), (0, 1, 2, 0))
conv("conv dilated groups", (2, 4, 8, 8), (6, 2, 3, 3), (1, 1), (2, 2, 2, 2), (2, 2), 2)
conv("conv depthwise", (2, 6, 6, 6), (6, 1, 3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 6)
pool("max pool", lambda x: F.max_pool2d(x, 3, 2, 1), "max_pool", (2, 3, 7, 7), 3, 2, 1)
pool("avg pool", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), "avg_pool", (2, 3, 7, 7), 3, 2, 1)
pool("avg pool counting pads", lambda x: F.avg_pool2d(x, 2, 2, 1), "avg_pool", (2, 3, 6, 6), 2, 2, 1, True)
case("linear", "matmul", {"trans_b": True}, lambda x, w: x @ w.T, torch.randn(4, 7), torch.randn(5, 7))
case("matmul batched", "matmul", {}, lambda a, b: a @ b, torch.randn(2, 3, 4, 5), torch.randn(2, 3, 5, 6))
case("softmax", "softmax", {}, lambda x: x.softmax(-1), torch.randn(3, 8))
case("log softmax", "log_softmax", {"log": True}, lambda x: x.log_softmax(-1), torch.randn(3, 8))
case("cross entropy", "cross_entropy", {}, lambda x, y: F.cross_entropy(x, y, reduction="none"), torch.randn(5, 8), torch.randint(0, 8, (5,)))
case("cross entropy smoothed", "cross_entropy", {"smooth": 0.1},
     lambda x, y: F.cross_entropy(x, y, reduction="none", label_smoothing=0.1), torch.randn(5, 8), torch.randint(0, 8, (5,)))
teacher = torch.randn(5, 8)
case("kl divergence", "kl_divergence", {"t": 3.0},
     lambda s, t: 9 * F.kl_div((s / 3).log_softmax(-1), (t.detach() / 3).log_softmax(-1), reduction="none", log_target=True).sum(-1),
     torch.randn(5, 8), teacher)
cases[-1]["grads"][1] = None
case("batch norm frozen", "batch_norm", {"eps": 1e-5, "momentum": 0.1},
     lambda x, g, b, m, v: F.batch_norm(x, m.detach(), v.detach(), g, b, False, 0.1, 1e-5),
     torch.randn(3, 4, 5, 5), torch.randn(4), torch.randn(4), torch.randn(4), torch.rand(4) + 0.5)
cases[-1]["grads"][3:] = [None, None]
for shape in ((4, 3, 5, 5), (16, 6)):
    c = shape[1]
    case("batch norm train rank %d" % len(shape), "batch_norm_train", {"eps": 1e-5},
         lambda x, g, b: F.batch_norm(x, None, None, g, b, True, 0.1, 1e-5), 2 * torch.randn(*shape) + 1, torch.randn(c), torch.randn(c))
for kind, f, x in (("relu", F.relu, torch.randn(40)), ("relu6", F.relu6, 8 * torch.rand(40)), ("sigmoid", torch.sigmoid, torch.randn(40)),
                   ("tanh", torch.tanh, torch.randn(40)), ("exp", torch.exp, torch.randn(40)), ("log", torch.log, torch.rand(40) + 0.1),
                   ("sqrt", torch.sqrt, torch.rand(40) + 0.1), ("erf", torch.erf, torch.randn(40)), ("abs", torch.abs, torch.randn(40))):
    case(kind, kind, {"f": kind}, f, x)
for kind, f in (("add", torch.add), ("sub", torch.sub), ("mul", torch.mul), ("div", torch.div), ("max", torch.maximum), ("min", torch.minimum)):
    case(kind + " broadcast", kind, {"f": kind}, f, torch.randn(2, 3, 4, 5), torch.rand(3, 1, 1) + 0.5)
case("mean", "reduce_mean", {"f": "mean", "axes": [2, 3]}, lambda x: x.mean((2, 3)), torch.randn(2, 3, 4, 5))
case("sum", "reduce_sum", {"f": "sum", "axes": [0, 2]}, lambda x: x.sum((0, 2)), torch.randn(2, 3, 4))
case("slice", "slice", {"axis": 2, "start": 1, "end": 6, "step": 2}, lambda x: x[:, :, 1:6:2], torch.randn(2, 3, 7))
case("pad", "pad", {"before": [0, 1, 2], "after": [1, 0, 3], "value": 0.5}, lambda x: F.pad(x, (2, 3, 1, 0, 0, 1), value=0.5), torch.randn(2, 3, 4))
case("concat", "concat", {"axis": 1}, lambda a, b: torch.cat((a, b), 1), torch.randn(2, 3, 4), torch.randn(2, 2, 4))
case("transpose", "transpose", {"perm": [2, 0, 1]}, lambda x: x.permute(2, 0, 1), torch.randn(2, 3, 4))
case("reshape", "reshape", {"dims": [0, -1]}, lambda x: x.flatten(1), torch.randn(2, 3, 4))

json.dump({"tool": "torch " + torch.__version__, "seed": SEED, "command": "python3 peer/golden_ops.py",
           "date": datetime.date.today().isoformat(), "cases": cases}, sys.stdout, separators=(",", ":"))
