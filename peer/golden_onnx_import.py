"""Makes format/onnx/testdata: networks as PyTorch exports them, with ONNX Runtime's
results.

A small convolutional network with all that ResNets and MobileNets have (batch
norm, depthwise, ReLU6, sigmoid gates, strided slices with padding, concatenation,
poolings), by the TorchScript exporter at opsets 11, 13 and 17, batch norms folded
and kept, and by the new exporter at opset 18; and an EfficientNet-like block.
Run in the module's root: python peer/golden_onnx_import.py (needs onnxscript)
"""

import datetime
import json
import os
import warnings

import onnx
import onnxruntime as ort
import torch
import torch.nn as nn
import torch.nn.functional as F

SEED = 11
OUT = "format/onnx/testdata/torch"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.dw, self.bn2 = nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False), nn.BatchNorm2d(8)
        self.pw = nn.Conv2d(8, 16, 1)
        self.gate = nn.Conv2d(16, 16, 1)
        self.grouped = nn.Conv2d(24, 12, 3, 1, 2, dilation=2, groups=4)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        y = F.relu6(self.bn2(self.dw(x)))
        y = self.pw(y)
        y = y * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(y, 1)))
        y = torch.cat([y + short, F.max_pool2d(x, 3, 2, 1)], 1)
        y = F.hardtanh(self.grouped(y), -2, 3)
        y = F.avg_pool2d(y, y.size(3)).view(y.size(0), -1)
        return F.log_softmax(self.fc(y), 1)


def main():
    warnings.filterwarnings("ignore")
    os.makedirs(OUT, exist_ok=True)
    torch.manual_seed(SEED)
    net = Net()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.weight)
            nn.init.normal_(m.bias)
    net(torch.randn(32, 3, 8, 8))  # moves the running statistics
    net.eval()
    x = torch.randn(2, 3, 8, 8)
    old = dict(dynamo=False, input_names=["input"], output_names=["out"], dynamic_axes={"input": {0: "n"}, "out": {0: "n"}})
    exports = {
        "opset11": dict(opset_version=11, **old), "opset13": dict(opset_version=13, **old), "opset17": dict(opset_version=17, **old),
        "opset17-unfolded": dict(opset_version=17, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False, **old),
        "opset18-dynamo": dict(opset_version=18, dynamo=True, external_data=False, dynamic_shapes=({0: torch.export.Dim("n", min=1)},)),
    }
    golden = {}
    for name, kw in exports.items():
        path = f"{OUT}/{name}.onnx"
        torch.onnx.export(net, (x,), path, **kw)
        m = onnx.load(path)
        for n in m.graph.node:  # paths of source files and stack traces
            n.ClearField("doc_string")
            del n.metadata_props[:]
        del m.graph.value_info[:]
        onnx.save(m, path)
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        golden[name] = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0].tolist()
    with open(f"{OUT}/golden.json", "w") as f:
        json.dump({
            "tool": "PyTorch, ONNX Runtime", "version": f"{torch.__version__}, {ort.__version__}", "seed": SEED,
            "date": datetime.date.today().isoformat(), "command": "python peer/golden_onnx_import.py",
            "input": x.flatten().tolist(), "shape": list(x.shape), "outputs": golden,
        }, f)
        f.write("\n")


main()
