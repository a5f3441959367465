"""Makes infer/testdata/onnx.json: what ONNX Runtime and OpenVINO compute with
exported files.

`go test` writes small quantized networks as ONNX; both runtimes run each on its
inputs. Kept are the files' checksums, the results, how many of OpenVINO's results
differ in a bit, and the kinds of nodes of ONNX Runtime's optimised graph. Run in
the module's root: python peer/golden_onnx.py
"""

import datetime
import hashlib
import json
import os
import subprocess
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
from safetensors.numpy import load_file

OUT = "infer/testdata/onnx.json"


def main():
    nets = {}
    with tempfile.TemporaryDirectory() as tmp:
        env = {**os.environ, "LOWBIT_ONNX_OUT": tmp}
        subprocess.run(["go", "test", "-count=1", "-run", "ONNXRuntimeComputesTheSame", "./infer"], check=True, env=env)
        for file in sorted(f for f in os.listdir(tmp) if f.endswith(".onnx")):
            path, name = f"{tmp}/{file}", file[: -len(".onnx")]
            onnx.checker.check_model(path, full_check=True)
            options = ort.SessionOptions()
            options.log_severity_level = 3
            options.optimized_model_filepath = f"{tmp}/optimized"
            session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            kinds = {}
            for n in onnx.load(options.optimized_model_filepath).graph.node:
                kinds[n.op_type] = kinds.get(n.op_type, 0) + 1
            x = load_file(f"{tmp}/{name}.safetensors")["input"]
            y = session.run(None, {session.get_inputs()[0].name: x})[0]
            z = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]
            with open(path, "rb") as f:
                sha = hashlib.sha256(f.read()).hexdigest()
            nets[name] = {"sha256": sha, "outputs": [[float(v) for v in row] for row in y], "nodes": kinds,
                          "openvino_differing": int((y != z).sum()), "openvino_difference": float(np.abs(y - z).max() / np.abs(y).max())}
    with open(OUT, "w") as f:
        json.dump({
            "tool": "ONNX Runtime", "version": f"{ort.__version__}, onnx {onnx.__version__}, openvino {ov.__version__}",
            "date": datetime.date.today().isoformat(), "command": "python peer/golden_onnx.py", "nets": nets,
        }, f, indent=1)
        f.write("\n")


main()
