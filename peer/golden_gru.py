#!/usr/bin/env python3
"""Golden of one step of a GRU cell, forward and backward, from PyTorch.

python3 peer/golden_gru.py > nn/testdata/gru.json
"""
import datetime, json, sys
import torch

SEED = 13
torch.manual_seed(SEED)
cell = torch.nn.GRUCell(5, 4)
x, h, dy = torch.randn(3, 5, requires_grad=True), torch.randn(3, 4, requires_grad=True), torch.randn(3, 4)
y = cell(x, h)
y.backward(dy)
flat = lambda t: {"shape": list(t.shape), "data": [float("%.9g" % v) for v in t.detach().flatten().tolist()]}
values = {"x": x, "h": h, **{"gru." + n: p for n, p in cell.named_parameters()}}
json.dump({"tool": "torch " + torch.__version__, "seed": SEED, "command": "python3 peer/golden_gru.py", "date": datetime.date.today().isoformat(),
           "values": {n: flat(v) for n, v in values.items()}, "grads": {n: flat(v.grad) for n, v in values.items()},
           "dy": flat(dy), "result": flat(y)}, sys.stdout, separators=(",", ":"))
