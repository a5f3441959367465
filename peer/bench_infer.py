"""Times 8-bit ResNets, 224 x 224, in ONNX Runtime or OpenVINO: the same QDQ file
in both, with random weights (u8 activations, s8 weights a channel, static ranges).

    python peer/bench_infer.py --net resnet18 --runtime openvino

Prints one JSON object as `lowbit bench infer --table --json` does: rows of threads
and batch with the median and the least time of a call in ms. Needs torch, onnx,
onnxruntime and, for itself, openvino.
"""
import argparse, json, os, statistics, tempfile, time

import numpy as np

STAGES = {"resnet18": ("basic", [2, 2, 2, 2]), "resnet50": ("bottleneck", [3, 4, 6, 3])}


def network(name):
    import torch
    from torch import nn

    kind, stages = STAGES[name]
    widen = 4 if kind == "bottleneck" else 1

    def conv(i, o, k, s=1):
        return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o))

    class Block(nn.Module):
        def __init__(self, i, width, s):
            super().__init__()
            o = width * widen
            if kind == "basic":
                self.body = nn.Sequential(conv(i, width, 3, s), nn.ReLU(), conv(width, o, 3))
            else:
                self.body = nn.Sequential(conv(i, width, 1), nn.ReLU(), conv(width, width, 3, s), nn.ReLU(), conv(width, o, 1))
            self.shortcut = conv(i, o, 1, s) if s > 1 or i != o else nn.Identity()

        def forward(self, x):
            return torch.relu(self.body(x) + self.shortcut(x))

    layers, i = [conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for stage, count in enumerate(stages):
        for n in range(count):
            layers.append(Block(i, 64 << stage, 2 if stage > 0 and n == 0 else 1))
            i = (64 << stage) * widen
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(i, 1000)).eval()


def make(name, path):
    """Writes the QDQ file."""
    import torch
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quant_pre_process, quantize_static

    class Noise(CalibrationDataReader):
        def __init__(self):
            self.data = iter([{"x": np.random.RandomState(i).randn(4, 3, 224, 224).astype(np.float32)} for i in range(2)])

        def get_next(self):
            return next(self.data, None)

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as d:
        fp32, prepared = os.path.join(d, "fp32.onnx"), os.path.join(d, "prepared.onnx")
        torch.onnx.export(network(name), torch.randn(4, 3, 224, 224), fp32, input_names=["x"], output_names=["y"], opset_version=17,
                          dynamic_axes={"x": {0: "n"}, "y": {0: "n"}}, dynamo=False)
        quant_pre_process(fp32, prepared)
        quantize_static(prepared, path + ".part", Noise(), quant_format=QuantFormat.QDQ, per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    os.replace(path + ".part", path)


def runner(runtime, path, threads, x):
    if runtime == "onnxruntime":
        import onnxruntime

        o = onnxruntime.SessionOptions()
        o.intra_op_num_threads, o.inter_op_num_threads = threads, 1
        s = onnxruntime.InferenceSession(path, o, providers=["CPUExecutionProvider"])
        return lambda: s.run(None, {"x": x})
    import openvino

    core = openvino.Core()
    m = core.read_model(path)
    m.reshape(list(x.shape))
    c = core.compile_model(m, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"})
    r = c.create_infer_request()
    return lambda: r.infer([x])


def measure(f, seconds):
    for _ in range(3):
        f()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 10:
        began = time.perf_counter()
        f()
        times.append(1e3 * (time.perf_counter() - began))
    return {"median_ms": statistics.median(times), "min_ms": min(times), "steps": len(times)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--net", choices=sorted(STAGES), required=True)
    p.add_argument("--runtime", choices=["onnxruntime", "openvino"], required=True)
    p.add_argument("--threads", default="1,2", help="numbers of threads (default 1,2)")
    p.add_argument("--seconds", type=float, default=1, help="for each measurement (default 1)")
    p.add_argument("--models", default=os.path.join(tempfile.gettempdir(), "lowbit-peer-models"), help="where the QDQ files are kept")
    a = p.parse_args()
    os.makedirs(a.models, exist_ok=True)
    path = os.path.join(a.models, a.net + "-qdq.onnx")
    if not os.path.exists(path):
        make(a.net, path)
    rows = []
    for threads in map(int, a.threads.split(",")):
        for batch in (1, 16):
            x = np.random.RandomState(0).randn(batch, 3, 224, 224).astype(np.float32)
            rows.append({"threads": threads, "batch": batch, **measure(runner(a.runtime, path, threads, x), a.seconds)})
    version = __import__(a.runtime).__version__.split("-")[0]
    print(json.dumps({"model": a.net, "bits": "w8a8", "runtime": f"{a.runtime} {version}", "file_bytes": os.path.getsize(path), "rows": rows}))


if __name__ == "__main__":
    main()
