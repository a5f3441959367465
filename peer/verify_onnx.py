"""Compares exported ONNX files with logits of lowbit in ONNX Runtime and OpenVINO,
on CIFAR-10's test images or on a folder of photos with labels.tsv.

usage: verify_onnx.py DATA NAME=FILE.onnx:LOGITS.safetensors ...

DATA is the folder of data sets, or that of the photos. LOGITS are those of `lowbit
eval --logits`: with --engine integer every logit should be equal (not of photos:
decoders of JPEG differ); of the network in full precision the predictions tell what
quantization cost. Prints one JSON line for each file: accuracy, predictions that
differ, the largest difference of a logit in units of the largest of LOGITS, and the
number of the optimised graph's nodes of each kind.
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


def photos(folder):
    """Photos of 256 x 256, their central 224 x 224 pixels, and the class numbers."""
    rows = [line.split("\t") for line in open(f"{folder}/labels.tsv").read().splitlines()]
    x = np.stack([np.asarray(Image.open(f"{folder}/{name}.jpg").convert("RGB"))[16:240, 16:240] for _, name, _ in rows])
    return x.transpose(0, 3, 1, 2), np.array([int(label) for label, _, _ in rows])


def images(folder):
    """Pixels [n, channel, height, width] and labels."""
    if os.path.exists(f"{folder}/labels.tsv"):
        return photos(folder)
    binary = f"{folder}/cifar10/cifar-10-batches-bin/test_batch.bin"
    if os.path.exists(binary):
        rows = np.fromfile(binary, np.uint8).reshape(-1, 3073)
        labels, x = rows[:, 0].astype(int), rows[:, 1:].reshape(-1, 3, 32, 32)
    else:
        rows = np.asarray(Image.open(f"{folder}/cifar10/test_batch.png").convert("RGB"), np.uint8)
        x = rows.reshape(10000, 32, 32, 3).transpose(0, 3, 1, 2)
        labels = np.array(json.load(open(f"{folder}/cifar10/test_lables.json")))
    return x, labels


def normalized(x, path):
    """Pixels as the file's metadata wants them: (p/255 - mean)/std in float32."""
    info = {p.key: p.value for p in onnx.load(path).metadata_props}["lowbit.info"]
    p = json.loads(info)["preprocess"]
    mean, std = (np.array(p[k], np.float32).reshape(1, -1, 1, 1) for k in ("mean", "std"))
    return (x.astype(np.float32) / np.float32(255) - mean) / std


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
    pixels, labels = images(sys.argv[1])
    for arg in sys.argv[2:]:
        name, files = arg.split("=")
        path, logits = files.split(":")
        want = load_file(logits)["logits"]
        n = len(want)
        x = normalized(pixels[:n], path)
        line = {"name": name, "examples": n, "bytes": os.path.getsize(path), "accuracy": float((want.argmax(1) == labels[:n]).mean())}
        for runtime, run in (("onnxruntime", run_ort), ("openvino", run_openvino)):
            got = run(path, x)
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
