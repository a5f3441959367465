"""Goldens of optim and train: what PyTorch's optimizers and schedules compute,
and a few training steps of a tiny network.

Writes optim/testdata/optim.json and train/testdata/steps.json. Run from the root of the repository:
    python peer/golden_optim.py
"""
import datetime
import json
import sys

import torch

SEED = 7
STEPS = 6


def gradients(generator, shapes):
    return [[torch.randn(s, generator=generator) for s in shapes] for _ in range(STEPS)]


def flat(t):
    return [float(v) for v in t.detach().reshape(-1)]


def run(name, make, rates, clip=0.0):
    """Some steps on two parameters with given gradients; make gets groups."""
    g = torch.Generator().manual_seed(SEED)
    shapes = [(3, 4), (5,)]
    params = [torch.nn.Parameter(torch.randn(s, generator=g)) for s in shapes]
    start = [flat(p) for p in params]
    optimizer = make(params)
    base = [group["lr"] for group in optimizer.param_groups]
    steps = []
    for rate, grads in zip(rates, gradients(g, shapes)):
        for group, b in zip(optimizer.param_groups, base):
            group["lr"] = b * rate
        for p, d in zip(params, grads):
            p.grad = d.clone()
        norm = 0.0
        if clip:
            norm = float(torch.nn.utils.clip_grad_norm_(params, clip))
        optimizer.step()
        steps.append({"rate": rate, "norm": norm, "grads": [flat(d) for d in grads],
                      "params": [flat(p) for p in params]})
    return {"name": name, "start": start, "steps": steps}


def schedule(name, make, total, base):
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=base)
    scheduler = make(optimizer)
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return {"name": name, "rates": rates}


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.bn = torch.nn.BatchNorm2d(6)
        self.fc = torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.bn(self.conv(x))).mean((2, 3)))


def training(frozen):
    """Steps on given batches: smoothed cross entropy and distillation, SGD
    with momentum and decay of the weights; batch norm by the batch's or by the
    running statistics."""
    torch.manual_seed(SEED)
    net = Tiny()
    net.bn.running_mean.normal_(std=0.1)
    net.bn.running_var.uniform_(0.5, 1.5)
    net.train()
    if frozen:
        net.bn.eval()
    kept = lambda: {k: flat(v) for k, v in net.state_dict().items() if "num_batches" not in k}
    start = kept()
    weights = [net.conv.weight, net.fc.weight]
    others = [net.bn.weight, net.bn.bias, net.fc.bias]
    optimizer = torch.optim.SGD([{"params": weights, "weight_decay": 0.01},
                                 {"params": others}], lr=0.1, momentum=0.9)
    steps = []
    for _ in range(3):
        x = torch.round(torch.randn(4, 3, 8, 8), decimals=3)
        y, teacher = torch.randint(0, 3, (4,)), torch.randn(4, 3)
        z = net(x)
        t = 2.0
        kl = torch.nn.functional.kl_div(torch.log_softmax(z / t, 1), torch.softmax(teacher / t, 1),
                                        reduction="batchmean") * t * t
        loss = torch.nn.functional.cross_entropy(z, y, label_smoothing=0.1) + 0.5 * kl
        optimizer.zero_grad()
        loss.backward()
        grads = {k: flat(p.grad) for k, p in net.named_parameters()}
        optimizer.step()
        steps.append({"images": [round(v, 3) for v in flat(x)], "labels": y.tolist(), "teacher": flat(teacher),
                      "loss": float(loss.detach()), "grads": grads})
    return {"frozen": frozen, "start": start, "steps": steps, "end": kept()}


def write(path, content):
    content["header"] = {"tool": "torch", "version": torch.__version__, "seed": SEED,
                         "command": "python peer/golden_optim.py", "date": str(datetime.date.today())}
    with open(path, "w") as f:
        json.dump(content, f)
        f.write("\n")


def main():
    flat_rates = [1.0] * STEPS
    falling = [1.0, 0.9, 0.7, 0.5, 0.25, 0.1]
    o = torch.optim
    groups = lambda p: [{"params": [p[0]], "weight_decay": 0.05},
                        {"params": [p[1]], "weight_decay": 0.0, "lr": 0.02}]
    runs = [
        run("sgd", lambda p: o.SGD(p, lr=0.1), flat_rates),
        run("momentum", lambda p: o.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01), falling),
        run("nesterov", lambda p: o.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True), falling),
        run("groups", lambda p: o.SGD(groups(p), lr=0.1, momentum=0.9), falling),
        run("clip", lambda p: o.SGD(p, lr=0.1, momentum=0.9), falling, clip=1.5),
        run("adam", lambda p: o.Adam(p, lr=0.01, weight_decay=0.01), falling),
        run("adamw", lambda p: o.AdamW(p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1), falling),
    ]
    s = o.lr_scheduler
    schedules = [
        schedule("cosine", lambda q: s.CosineAnnealingLR(q, T_max=30), 30, 0.1),
        schedule("cosine_final", lambda q: s.CosineAnnealingLR(q, T_max=30, eta_min=0.01), 30, 0.1),
        schedule("onecycle", lambda q: s.OneCycleLR(q, max_lr=0.4, total_steps=30), 30, 0.1),
        schedule("onecycle_shape", lambda q: s.OneCycleLR(
            q, max_lr=0.4, total_steps=30, pct_start=0.2, div_factor=10, final_div_factor=100), 30, 0.1),
        schedule("step", lambda q: s.MultiStepLR(q, milestones=[10, 20], gamma=0.1), 30, 0.1),
        schedule("exponential", lambda q: s.ExponentialLR(q, gamma=0.936), 30, 0.0015),
    ]
    write("optim/testdata/optim.json", {"runs": runs, "schedules": schedules})
    write("train/testdata/steps.json", {"runs": [training(False), training(True)]})


if __name__ == "__main__":
    sys.exit(main())
