"""Compares exported ONNX files with the integer engine on CIFAR-10's test images,
in ONNX Runtime and OpenVINO.

usage: verify_onnx.py DATA_DIR NAME=FILE.onnx:LOGITS.safetensors ...

LOGITS are those of `lowbit eval --engine integer --logits`. Prints one JSON line
for each file: accuracy, predictions that differ, the largest difference of a
logit in units of the integer engine's largest, and how many of the optimised
graph's nodes of each kind compute in floats.
"""

import json
import os
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from PIL import Image
from safetensors.numpy import load_file

MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)


def images(folder):
    """The test batch as the loader normalises it: (p/255 - mean)/std in float32."""
    binary = f"{folder}/cifar10/cifar-10-batches-bin/test_batch.bin"
    if os.path.exists(binary):
        rows = np.fromfile(binary, np.uint8).reshape(-1, 3073)
        labels, x = rows[:, 0].astype(int), rows[:, 1:].reshape(-1, 3, 32, 32).astype(np.float32)
    else:
        rows = np.asarray(Image.open(f"{folder}/cifar10/test_batch.png").convert("RGB"), np.uint8)
        x = rows.reshape(10000, 32, 32, 3).transpose(0, 3, 1, 2).astype(np.float32)
        labels = np.array(json.load(open(f"{folder}/cifar10/test_lables.json")))
    return (x / np.float32(255) - MEAN) / STD, labels


def run_ort(path, x):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    with tempfile.TemporaryDirectory() as tmp:
        options.optimized_model_filepath = f"{tmp}/optimized.onnx"
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        kinds = {}
        for n in onnx.load(options.optimized_model_filepath).graph.node:
            kinds[n.op_type] = kinds.get(n.op_type, 0) + 1
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[i : i + 250]})[0] for i in range(0, len(x), 250)]), kinds


def run_openvino(path, x):
    import openvino as ov

    model = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([model(x[i : i + 250])[0] for i in range(0, len(x), 250)])


def main():
    x, labels = images(sys.argv[1])
    for arg in sys.argv[2:]:
        name, files = arg.split("=")
        path, logits = files.split(":")
        want = load_file(logits)["logits"]
        n = len(want)
        line = {"name": name, "examples": n, "bytes": os.path.getsize(path), "accuracy": float((want.argmax(1) == labels[:n]).mean())}
        for runtime, run in (("onnxruntime", run_ort), ("openvino", run_openvino)):
            got = run(path, x[:n])
            if runtime == "onnxruntime":
                got, line["nodes"] = got
            line[runtime] = {
                "accuracy": float((got.argmax(1) == labels[:n]).mean()),
                "other_predictions": int((got.argmax(1) != want.argmax(1)).sum()),
                "equal_examples": int((got == want).all(1).sum()),
                "max_difference": float(np.abs(got - want).max() / np.abs(want).max()),
            }
        print(json.dumps(line), flush=True)


main()
