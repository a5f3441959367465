"""One whole training step of LSQ, and one of FAQ, on a small residual network:
initial steps, loss, logits, all gradients, all parameters and running
statistics after SGD with momentum, and the loss of the next step. Writes
method/lsq/testdata/step.safetensors and method/faq/testdata/step.safetensors.

The network is a CIFAR-type ResNet of width 4 with one block a stage, on 8x8
images, 4-bit weights and activations, 8 bits in the first and last layer. The
quantizer's backward pass is the paper's open interval (arXiv 1902.08153v3, eq.
3 and 5), not torch.clamp's. Seeds are tried until no value stands near a tie or
a clip border, where the last bit of a sum would decide.

    python peer/golden_lsq_step.py
"""
import datetime
import json
import os
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

BATCH, SIZE, CLASSES, WIDTH = 4, 8, 10, 4
RECIPES = {"lsq": (0.01, 1e-4), "faq": (0.0015, 0.5e-4)}  # learning rate, decay
SIGMAS = 2.37  # FAQ's 4-bit weights are clipped at so many standard deviations
MARGIN = 2e-5  # of z = v/step; sums of 150 float32 products differ by less


class FakeQuant(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v, step, qn, qp, gscale):
        z = v / step
        ctx.save_for_backward(z)
        ctx.rest = (qn, qp, gscale)
        return torch.round(torch.clamp(z, -qn, qp)) * step

    @staticmethod
    def backward(ctx, dy):
        (z,) = ctx.saved_tensors
        qn, qp, gscale = ctx.rest
        inside = (z > -qn) & (z < qp)
        d = torch.where(inside, torch.round(z) - z, torch.clamp(z, -qn, qp))
        ds = ((dy * d).double().sum() * gscale).float().reshape(1)
        return dy * inside, ds, None, None, None


class Net:
    def __init__(self, method, seed):
        gen = torch.Generator().manual_seed(seed)
        self.method = method
        self.p, self.stat, self.margin = {}, {}, np.inf
        self.starting = True  # steps are set from what is seen
        self.training = False

        def conv(name, o, i, k):
            self.p[name + ".weight"] = torch.randn((o, i, k, k), generator=gen) * (2 / (i * k * k)) ** 0.5

        def bn(name, c):
            self.p[name + ".weight"] = 1 + 0.2 * torch.randn(c, generator=gen)
            self.p[name + ".bias"] = 0.1 * torch.randn(c, generator=gen)
            self.stat[name + ".running_mean"] = 0.1 * torch.randn(c, generator=gen)
            self.stat[name + ".running_var"] = 0.5 + torch.rand(c, generator=gen)

        conv("conv1", WIDTH, 3, 3)
        bn("bn1", WIDTH)
        c = WIDTH
        for stage in (1, 2, 3):
            o = WIDTH << (stage - 1)
            n = "layer%d.0" % stage
            conv(n + ".conv1", o, c, 3)
            bn(n + ".bn1", o)
            conv(n + ".conv2", o, o, 3)
            bn(n + ".bn2", o)
            if o != c:
                conv(n + ".downsample.0", o, c, 1)
                bn(n + ".downsample.1", o)
            c = o
        self.p["fc.weight"] = torch.randn((CLASSES, c), generator=gen) * c**-0.5
        self.p["fc.bias"] = 0.1 * torch.randn(CLASSES, generator=gen)
        self.x = torch.randn((BATCH, 3, SIZE, SIZE), generator=gen)
        self.y = torch.randint(CLASSES, (BATCH,), generator=gen)

    def quant(self, v, step, bits, signed, n):
        qn, qp = (2 ** (bits - 1), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        if step not in self.p:
            if not self.starting:
                raise KeyError(step)
            self.p[step] = torch.tensor([self.start(v, step, bits, qp)], dtype=torch.float32)
        if self.starting and self.method == "faq":
            return v  # calibrated without quantizers
        z = (v / self.p[step]).detach()
        inner = z[(z > -qn - 1) & (z < qp + 1) & (z != 0)].double().abs()
        if len(inner):
            half = (inner - inner.floor() - 0.5).abs().min().item()
            ends = [abs(inner - qp).min().item()] + ([abs(inner - qn).min().item()] if qn else [])
            self.margin = min(self.margin, half, *ends)
        return FakeQuant.apply(v, self.p[step], qn, qp, 1 / (n * qp) ** 0.5)

    def start(self, v, step, bits, qp):
        """The first step: LSQ's section 2.1, or FAQ's calibration."""
        v = v.double().numpy()
        if self.method == "lsq":
            return 2 * np.abs(v).mean() / qp**0.5
        up = lambda x: 2.0 ** np.ceil(np.log2(x))
        if step.endswith(".input_step"):
            y_max = np.percentile(np.abs(v), 99.99 if bits == 8 else 99.9)
            return up(y_max) / (qp + 1)
        return up(np.abs(v).max() / qp) if bits == 8 else SIGMAS * v.std() / qp

    def weight(self, name, bits):
        w = self.p[name + ".weight"]
        return self.quant(w, name + ".weight_step", bits, True, w.numel())

    def act(self, x, name, bits, signed=False):
        return self.quant(x, name + ".input_step", bits, signed, x[0].numel())

    def bn(self, x, name):
        return F.batch_norm(x, self.stat[name + ".running_mean"], self.stat[name + ".running_var"],
                            self.p[name + ".weight"], self.p[name + ".bias"], self.training, 0.1, 1e-5)

    def relu(self, x):
        self.margin = min(self.margin, x.detach().abs().min().item())
        return torch.relu(x)

    def forward(self):
        x = self.act(self.x, "conv1", 8, True)
        x = self.relu(self.bn(F.conv2d(x, self.weight("conv1", 8), padding=1), "bn1"))
        c = WIDTH
        for stage in (1, 2, 3):
            o, n = WIDTH << (stage - 1), "layer%d.0" % stage
            stride = 2 if stage > 1 else 1
            q = self.act(x, n + ".conv1", 4)
            y = self.relu(self.bn(F.conv2d(q, self.weight(n + ".conv1", 4), stride=stride, padding=1), n + ".bn1"))
            y = self.act(y, n + ".conv2", 4)
            y = self.bn(F.conv2d(y, self.weight(n + ".conv2", 4), padding=1), n + ".bn2")
            if o != c:
                x = self.bn(F.conv2d(q, self.weight(n + ".downsample.0", 4), stride=stride), n + ".downsample.1")
            x = self.relu(y + x)
            c = o
        x = self.act(x.mean(dim=(2, 3)), "fc", 8)
        logits = F.linear(x, self.weight("fc", 8)) + self.p["fc.bias"]
        return logits, F.cross_entropy(logits, self.y)


def attempt(method, seed):
    lr, decay = RECIPES[method]
    net = Net(method, seed)
    with torch.no_grad():
        net.forward()  # sets the steps, in inference form
    net.starting, net.training, net.margin = False, True, np.inf
    out = {"input": net.x, "labels": net.y.int()}
    for k, v in {**net.p, **net.stat}.items():
        out["before." + k] = v.clone()
    for k, v in net.p.items():
        v.requires_grad_(method == "lsq" or not k.endswith("_step"))
    logits, loss = net.forward()
    loss.backward()
    out["logits"], out["loss"] = logits.detach(), loss.detach()
    with torch.no_grad():
        for k, v in net.p.items():
            if v.grad is None:
                continue
            g = v.grad.clone()
            out["grad." + k] = g.clone()
            if v.dim() > 1:  # decay of convolution and linear weights only
                g = g + decay * v
            v -= lr * g  # the first momentum buffer is the gradient itself
            out["after." + k] = v.clone()
        for k, v in net.stat.items():
            out["after." + k] = v.clone()
        _, loss = net.forward()
    out["loss2"] = loss
    return net.margin, out


def write(path, tensors, metadata):
    header, at = {"__metadata__": metadata}, 0
    data = []
    for k in sorted(tensors):
        a = tensors[k].numpy()
        kind = {"float32": "F32", "int32": "I32"}[str(a.dtype)]
        b = np.ascontiguousarray(a).tobytes()
        header[k] = {"dtype": kind, "shape": list(a.shape), "data_offsets": [at, at + len(b)]}
        data.append(b)
        at += len(b)
    h = json.dumps(header, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(h)) + h + b"".join(data))


def make(method):
    for seed in range(1, 5000):
        margin, out = attempt(method, seed)
        if margin > MARGIN:
            break
    else:
        sys.exit("no seed keeps clear of ties")
    folder = os.path.join(os.path.dirname(__file__), "..", "method", method, "testdata")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "step.safetensors")
    write(path, {k: v.contiguous() for k, v in out.items()}, {
        "tool": "torch " + torch.__version__, "seed": str(seed), "margin": "%g" % margin,
        "command": "python peer/golden_lsq_step.py", "date": datetime.date.today().isoformat(),
    })
    print(method, "seed", seed, "margin", margin, "loss", out["loss"].item(), out["loss2"].item(), os.path.getsize(path), "bytes", file=sys.stderr)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in RECIPES:
        make(name)
