"""Makes format/onnx/testdata/nncf: small networks that NNCF quantized, and what ONNX
Runtime computes with them.

NNCF's ONNX backend (nncf.quantize on an ONNX model, which is what OpenVINO's users
run) calibrates on noise and inserts QuantizeLinear and DequantizeLinear; in front of a
depthwise convolution activations have a scale a channel. A residual
network with a depthwise and a strided convolution, pooling and a linear layer is
quantized with both presets: performance (symmetric activations) and mixed (signed
activations get a zero point). Kept are the files, an input, ONNX Runtime's results
of each file as it stands and with its nodes fused to integer kernels, those of the
network in floats, and the kinds of nodes. Run in
the module's root, where NNCF is installed: python peer/golden_nncf.py
"""

import datetime
import json
import os

import nncf
import numpy as np
import onnx
import onnxruntime as ort
import torch

SEED = 11
OUT = "format/onnx/testdata/nncf"
SIDE, EXAMPLES = 16, 4


class Block(torch.nn.Module):
    """A convolution, a depthwise one without relu behind it, a residual sum."""

    def __init__(self, c):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(c, c, 3, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(c)
        self.conv2 = torch.nn.Conv2d(c, c, 3, padding=1, groups=c, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(c)

    def forward(self, x):
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.block = Block(8)
        self.down = torch.nn.Conv2d(8, 12, 1)
        self.pool = torch.nn.MaxPool2d(2)
        self.fc = torch.nn.Linear(12, 5)

    def forward(self, x):
        x = self.block(torch.nn.functional.relu6(self.stem(x)))
        x = self.pool(self.down(x))
        return self.fc(x.mean((2, 3)))


def trained(net):
    """Running statistics and weights that differ between channels."""
    net.train()
    for _ in range(20):
        net(torch.randn(16, 3, SIDE, SIDE))
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.weight.uniform_(0.5, 1.5)
                m.bias.normal_(0, 0.3)
    return net.eval()


def run(path, x, fused=True):
    """Results, and the nodes that ONNX Runtime makes of the file; without fusion, what
    the file's own nodes compute."""
    o = ort.SessionOptions()
    if not fused:
        o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    o.optimized_model_filepath = "/tmp/golden_nncf_optimised.onnx"
    s = ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])
    nodes = {}
    for n in onnx.load(o.optimized_model_filepath).graph.node:
        nodes[n.op_type] = nodes.get(n.op_type, 0) + 1
    return s.run(None, {s.get_inputs()[0].name: x})[0], nodes


def main():
    torch.manual_seed(SEED)
    r = np.random.default_rng(SEED)
    os.makedirs(OUT, exist_ok=True)
    net = trained(Net())
    plain = "/tmp/golden_nncf.onnx"
    torch.onnx.export(net, torch.randn(1, 3, SIDE, SIDE), plain, opset_version=13, input_names=["image"],
                      dynamic_axes={"image": {0: "N"}}, dynamo=False)
    model = onnx.load(plain)
    data = nncf.Dataset([{"image": r.standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)} for _ in range(64)])
    x = np.round(r.standard_normal((EXAMPLES, 3, SIDE, SIDE)), 4).astype(np.float32)
    out = {"tool": "nncf %s, onnx %s, onnxruntime %s" % (nncf.__version__, onnx.__version__, ort.__version__), "seed": SEED,
           "date": datetime.date.today().isoformat(), "command": "python peer/golden_nncf.py",
           "input": [round(float(v), 4) for v in x.reshape(-1)], "shape": list(x.shape),
           "float": run(plain, x)[0].tolist(), "nets": {}}
    for name, preset in (("performance", nncf.QuantizationPreset.PERFORMANCE), ("mixed", nncf.QuantizationPreset.MIXED)):
        path = f"{OUT}/{name}.onnx"
        m = nncf.quantize(model, data, preset=preset, subset_size=64)
        for n in m.graph.node:  # stack traces
            n.ClearField("doc_string")
            del n.metadata_props[:]
        onnx.save(m, path)
        y = run(path, x, fused=False)[0]
        integer, nodes = run(path, x)
        kinds = {}
        for n in onnx.load(path).graph.node:
            kinds[n.op_type] = kinds.get(n.op_type, 0) + 1
        out["nets"][name] = {"outputs": y.tolist(), "nodes": kinds, "fused_outputs": integer.tolist(), "fused_nodes": nodes}
    with open(f"{OUT}/golden.json", "w") as f:
        json.dump(out, f)
        f.write("\n")


main()
