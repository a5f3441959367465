"""Makes app/verify/testdata/encoder_onnx.json: what ONNX Runtime computes with
exported encoders, in full precision, as QDQ, and with quantized weights alone, on
two sequences of another length than the exported graph's, one of them padded.

`go test` writes the files. Run in the module's root: python peer/golden_onnx_encoder.py
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

OUT = "app/verify/testdata/encoder_onnx.json"
SEED = 20261128
LENGTHS = [7, 4]


def main():
    rng = np.random.default_rng(SEED)
    ids = rng.integers(0, 30, (2, 7))
    types = np.repeat(np.arange(7)[None] >= 3, 2, 0).astype(np.int64)
    mask = (np.arange(7)[None] < np.array(LENGTHS)[:, None]).astype(np.int64)
    feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    nets = {}
    with tempfile.TemporaryDirectory() as tmp:
        env = {**os.environ, "LOWBIT_ONNX_OUT": tmp}
        subprocess.run(["go", "test", "-count=1", "-run", "EncodersAreONNXRuntimes", "./app/verify"], check=True, env=env)
        for file in sorted(os.listdir(tmp)):
            path = f"{tmp}/{file}"
            onnx.checker.check_model(path, full_check=True)
            session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
            y = session.run(None, feed)[0]
            alone = session.run(None, {k: v[:1, :5] for k, v in feed.items()})[0]  # both dimensions are free
            assert alone.shape[0] == 1 and np.isfinite(alone).all()
            with open(path, "rb") as f:
                sha = hashlib.sha256(f.read()).hexdigest()
            nets[file.removesuffix(".onnx")] = {"sha256": sha, "output": [float(v) for v in y.flatten()]}
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "w") as f:
        json.dump({"tool": "ONNX Runtime", "version": f"{ort.__version__}, onnx {onnx.__version__}", "seed": SEED,
                   "date": datetime.date.today().isoformat(), "command": "python peer/golden_onnx_encoder.py", "shape": [2, 7],
                   "input_ids": ids.flatten().tolist(), "token_type_ids": types.flatten().tolist(), "lengths": LENGTHS, "nets": nets}, f)
        f.write("\n")


main()
