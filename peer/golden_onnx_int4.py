"""Makes format/onnx/testdata/int4.json: what ONNX Runtime computes with exported
files whose weights are INT4 or INT2 and whose activations are floats.

`go test` writes the files. Run in the module's root: python peer/golden_onnx_int4.py
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

OUT = "format/onnx/testdata/int4.json"
SEED = 20261127


def main():
    x = np.random.default_rng(SEED).standard_normal((1, 3, 9, 9)).astype(np.float32)
    nets = {}
    with tempfile.TemporaryDirectory() as tmp:
        env = {**os.environ, "LOWBIT_ONNX_OUT": tmp}
        subprocess.run(["go", "test", "-count=1", "-run", "WeightsOfFewBits", "./format/onnx"], check=True, env=env)
        for file in sorted(os.listdir(tmp)):
            path = f"{tmp}/{file}"
            onnx.checker.check_model(path, full_check=True)
            session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
            y = session.run(None, {session.get_inputs()[0].name: x})[0]
            with open(path, "rb") as f:
                sha = hashlib.sha256(f.read()).hexdigest()
            nets[file.removesuffix(".onnx")] = {"sha256": sha, "output": [float(v) for v in y.flatten()]}
    with open(OUT, "w") as f:
        json.dump({"tool": "ONNX Runtime", "version": f"{ort.__version__}, onnx {onnx.__version__}", "seed": SEED,
                   "date": datetime.date.today().isoformat(), "command": "python peer/golden_onnx_int4.py",
                   "input": [float(v) for v in x.flatten()], "nets": nets}, f)
        f.write("\n")


main()
