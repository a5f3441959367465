"""Makes infer/testdata/onnx.json: what ONNX Runtime computes with exported files.

`go test` writes small quantized networks as ONNX; ONNX Runtime runs each on its
inputs. Kept are the files' checksums, the results and the kinds of nodes after
optimisation. Run in the module's root: python peer/golden_onnx.py
"""

import datetime
import hashlib
import json
import os
import subprocess
import tempfile

import onnx
import onnxruntime as ort
from safetensors.numpy import load_file

OUT = "infer/testdata/onnx.json"


def main():
    nets = {}
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(["go", "test", "-count=1", "-run", "ONNXRuntimeComputesTheSame", "./infer"], check=True, env={**os.environ, "LOWBIT_ONNX_OUT": tmp})
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
            with open(path, "rb") as f:
                sha = hashlib.sha256(f.read()).hexdigest()
            nets[name] = {"sha256": sha, "outputs": [[float(v) for v in row] for row in y], "nodes": kinds}
    with open(OUT, "w") as f:
        json.dump({
            "tool": "ONNX Runtime", "version": f"{ort.__version__}, onnx {onnx.__version__}", "date": datetime.date.today().isoformat(),
            "command": "python peer/golden_onnx.py", "nets": nets,
        }, f, indent=1)
        f.write("\n")


main()
