"""Makes internal/cli/testdata/export.json: what package gguf and llama.cpp read
of a GGUF file that lowbit exports.

The program quantizes stories260K to 4-bit weights with steps max|w|/7 and
exports it; package gguf must read step * code of every weight without error;
llama.cpp gives logits. Needs ../shared. Run in the module's root:
OMP_NUM_THREADS=1 python peer/golden_export.py
"""

import datetime
import hashlib
import json
import os
import subprocess
import tempfile

import gguf
import llama_cpp
import numpy as np
from safetensors.numpy import load_file

OUT = "internal/cli/testdata/export.json"
MODEL = "../shared/models/llm/stories260K/stories260K.bin"
TEXT = "Once upon a time, there was a little girl named Lily. She loved to play"
NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def run(*args):
    subprocess.run(["go", "run", "./cmd/lowbit", *args, "--quiet"], check=True, stdout=subprocess.DEVNULL)


def weights_error(path, store):
    """Largest difference between package gguf's values and step * code."""
    worst = 0.0
    for t in gguf.GGUFReader(path).tensors:
        part = t.name.split(".")
        if part[0] == "blk" and part[2] in NAMES:
            layer, bits, name = f"model.layers.{part[1]}.{NAMES[part[2]]}", 4, f"model.layers.{part[1]}.{NAMES[part[2]]}.weight"
        elif t.name == "output.weight":
            layer, bits, name = "lm_head", 8, "model.embed_tokens.weight"
        else:
            continue
        w, s = store[name], store[layer + ".weight_step"][:, None]
        want = np.clip(np.rint(w / s), -2 ** (bits - 1), 2 ** (bits - 1) - 1).astype(np.float32) * s
        got = gguf.quants.dequantize(t.data, t.tensor_type).reshape(want.shape)
        worst = max(worst, float(np.abs(got - want).max()))
    return worst


def main():
    with tempfile.TemporaryDirectory() as tmp:
        net, path = f"{tmp}/stories-w4", f"{tmp}/stories-w4.gguf"
        run("quantize", "--model", MODEL, "--data", "text:../shared/data/text/tinystories-sample.txt", "--method", "ptq",
            "--calibration", "max", "--bits", "w4a8kv8", "--text-length", "64", "--window-length", "32", "--windows", "1", "--out", net)
        run("export", "--model", net, "--to", "gguf", "--out", path)
        error = weights_error(path, load_file(f"{net}/last.safetensors"))
        with open(path, "rb") as f:
            sha = hashlib.sha256(f.read()).hexdigest()
        m = llama_cpp.Llama(model_path=path, n_ctx=64, logits_all=True, n_threads=1, verbose=False)
        ids = m.tokenize(TEXT.encode())
        for i in ids:  # one by one: this version's tiles for batches crash on some CPUs with AMX
            m.eval([i])
        logits = np.array(m.scores[: len(ids)], dtype=np.float32)
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "w") as f:
        json.dump({
            "tool": "llama-cpp-python, gguf", "version": f"{llama_cpp.__version__}, 0.19.0", "date": datetime.date.today().isoformat(),
            "command": "python peer/golden_export.py", "what": "the exported file's checksum, package gguf's error, llama.cpp's tokens and logits of every fourth token",
            "sha256": sha, "gguf_error": error, "text": TEXT, "ids": ids, "every": 4,
            "logits": [[round(float(v), 4) for v in row] for row in logits[::4]],
        }, f)
        f.write("\n")


main()
