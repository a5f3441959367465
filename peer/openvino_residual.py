"""Why OpenVINO's results of exported files with 8-bit residual sums differ in some
codes from the file's own meaning.

usage: openvino_residual.py DATA FILE.onnx SUM

DATA is the folder of data sets, SUM the name of a residual sum of the file, such as
layer1.0.add. The file is cut behind the quantizer of each value up to SUM's, and 8 of
CIFAR-10's test images go through ONNX Runtime without fusion and through OpenVINO:
printed is the number of codes that differ of each. Then the codes of SUM are computed
from its operands, with one operand or both taken as they are before their quantizers,
and compared with OpenVINO's; `kernel` is what OpenVINO fused into the operation that
computes them. Prints one JSON object.
"""

import json
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto, helper

IMAGES = 8


def images(folder, path):
    rows = np.fromfile(f"{folder}/cifar10/cifar-10-batches-bin/test_batch.bin", np.uint8).reshape(-1, 3073)[:IMAGES, 1:]
    info = json.loads({p.key: p.value for p in onnx.load(path).metadata_props}["lowbit.info"])["preprocess"]
    mean, std = (np.array(info[k], np.float32).reshape(1, -1, 1, 1) for k in ("mean", "std"))
    return (rows.reshape(-1, 3, 32, 32).astype(np.float32) / np.float32(255) - mean) / std


class File:
    def __init__(self, path, x, tmp):
        self.m, self.x, self.tmp = onnx.load(path), x, tmp
        self.makes = {o: n for n in self.m.graph.node for o in n.output}
        self.stored = {i.name: onnx.numpy_helper.to_array(i) for i in self.m.graph.initializer}

    def cut(self, out):
        """The part of the file that computes out, as a file."""
        need, keep = {out}, []
        for n in reversed(self.m.graph.node):
            if any(o in need for o in n.output):
                keep.insert(0, n)
                need.update(n.input)
        g = helper.make_graph(keep, "part", self.m.graph.input, [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
                              [i for i in self.m.graph.initializer if i.name in need])
        path = f"{self.tmp}/part.onnx"
        onnx.save(helper.make_model(g, opset_imports=self.m.opset_import, ir_version=self.m.ir_version), path)
        return path

    def ort(self, out):
        o = ort.SessionOptions()
        o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return ort.InferenceSession(self.cut(out), o, providers=["CPUExecutionProvider"]).run(None, {"input": self.x})[0]

    def openvino(self, out):
        c = ov.Core().compile_model(self.cut(out), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        names = [str(n.get_rt_info()["originalLayersNames"].value) for n in c.get_runtime_model().get_ordered_ops()]
        return c([self.x])[0], [n for n in names if out in n.split(",")]

    def quantizer(self, dequantized):
        """The QuantizeLinear behind a DequantizeLinear, through Clip."""
        n = self.makes[self.makes[dequantized].input[0]]
        while n.op_type != "QuantizeLinear":
            n = self.makes[n.input[0]]
        return n

    def codes(self, values, dequantized):
        """Codes of floats on a grid: QuantizeLinear and, of few codes, Clip."""
        q = self.quantizer(dequantized)
        scale, zero = (self.stored[i] for i in q.input[1:3])
        c = np.clip(np.rint(values / scale) + np.float32(zero), 0, 255)
        clip = self.makes[self.makes[dequantized].input[0]]
        if clip.op_type == "Clip":
            c = np.clip(c, self.stored[clip.input[1]], self.stored[clip.input[2]])
        return c


def main():
    folder, path, total = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as tmp:
        f = File(path, images(folder, path), tmp)
        layers = []
        for n in f.m.graph.node:
            if n.op_type != "DequantizeLinear" or n.input[0] not in f.makes:
                continue
            out = n.output[0]
            got, kernel = f.openvino(out)
            a, b = f.codes(f.ort(out), out), f.codes(got, out)
            layers.append({"value": out, "codes": a.size, "different": int((a != b).sum())})
            if f.quantizer(out).input[0] == total:
                break
        sum_node = f.makes[total]
        rounded = [f.ort(i) for i in sum_node.input]
        raw = [f.ort(f.quantizer(i).input[0]) for i in sum_node.input]
        cases = {"both rounded": (rounded[0], rounded[1]), "first not": (raw[0], rounded[1]), "second not": (rounded[0], raw[1]), "neither": (raw[0], raw[1])}
        explained = [{"operands": k, "different": int((f.codes(x + y, out) != b).sum())} for k, (x, y) in cases.items()]
    print(json.dumps({"openvino": ov.__version__, "images": IMAGES, "layers": layers, "sum": total,
                      "operands": list(sum_node.input), "explained": explained, "kernel": kernel}))


main()
