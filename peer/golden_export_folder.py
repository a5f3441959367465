"""Makes internal/cli/testdata/export_folder.json: what transformers and compressed-tensors
make of the folders that lowbit exports.

The program quantizes stories260K to 4-bit weights and 8-bit inputs and writes it
as floats, as codes for serving and as exact codes; transformers loads each folder
and gives logits (of the exact codes with max|x|/127 as the step of a token's input,
as in training, where compressed-tensors takes 127.5), and compressed-tensors' own unpacking gives the codes' values,
which must be step * code of the run. Needs ../shared. Run in the module's root:
OMP_NUM_THREADS=1 python peer/golden_export_folder.py
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import subprocess
import tempfile

import numpy as np
import torch
import transformers
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.quantization.lifecycle import forward
from compressed_tensors.quantization.utils import helpers
from safetensors.torch import load_file

OUT = "internal/cli/testdata/export_folder.json"
MODEL = "../shared/models/llm/stories260K/stories260K.bin"
IDS = [1, 403, 407, 261, 378, 31, 346, 267, 396, 487, 359, 444]


def run(*args):
    subprocess.run(["go", "run", "./cmd/lowbit", *args, "--quiet"], check=True, stdout=subprocess.DEVNULL)


def codes_error(folder, run_store):
    """Largest difference between compressed-tensors' values and step * code, over
    layers whose rows keep their order."""
    got, worst, n = load_file(f"{folder}/model.safetensors"), 0.0, 0
    for name, packed in got.items():
        layer = name.removesuffix(".weight_packed")
        if layer == name or layer.endswith(("q_proj", "k_proj")):
            continue
        bits = 8 if layer == "lm_head" else 4
        shape = torch.Size(got[layer + ".weight_shape"].tolist())
        values = unpack_from_int32(packed, bits, shape).float() * got[layer + ".weight_scale"].float()
        weight = run_store["model.embed_tokens.weight" if layer == "lm_head" else layer + ".weight"]
        step = run_store[layer + ".weight_step"][:, None]
        want = torch.clamp(torch.round(weight / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * step
        worst, n = max(worst, float((values - want).abs().max())), n + 1
    return worst, n


@contextlib.contextmanager
def steps_of_127():
    """Lets compressed-tensors take max|x|/127 as the step of a token."""
    plain = helpers.calculate_range
    helpers.calculate_range = forward.calculate_range = lambda args, device: (torch.tensor(-127, device=device), torch.tensor(127, device=device))
    yield
    helpers.calculate_range = forward.calculate_range = plain


def main():
    out = {"made_by": {"command": "python peer/golden_export_folder.py", "date": datetime.date.today().isoformat(),
                       "tools": {p: importlib.metadata.version(p) for p in ("torch", "transformers", "compressed-tensors")}},
           "ids": IDS, "folders": {}}
    with tempfile.TemporaryDirectory() as tmp:
        net = f"{tmp}/stories-w4"
        run("quantize", "--model", MODEL, "--data", "text:../shared/data/text/tinystories-sample.txt", "--method", "ptq",
            "--calibration", "max", "--bits", "w4a8", "--text-length", "64", "--window-length", "32", "--windows", "1", "--out", net)
        store = load_file(f"{net}/last.safetensors")
        for form in ("safetensors", "serving", "exact"):
            folder = f"{tmp}/{form}"
            to = ["--to", "safetensors"] if form == "safetensors" else ["--to", "compressed-tensors", "--scheme", form]
            run("export", "--model", net, *to, "--out", folder)
            with open(f"{folder}/model.safetensors", "rb") as f:
                sha = hashlib.sha256(f.read()).hexdigest()
            with open(f"{folder}/config.json", "rb") as f:
                config = hashlib.sha256(f.read()).hexdigest()
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
            with torch.no_grad():
                logits = model(torch.tensor([IDS])).logits[0].double().numpy()
            if form == "exact":  # once more with the step that training took, max|x|/127
                with steps_of_127(), torch.no_grad():
                    logits = model(torch.tensor([IDS])).logits[0].double().numpy()
            entry = {"sha256": sha, "config_sha256": config, "logits": [[round(float(v), 6) for v in logits[-1]]], "rows": [len(IDS) - 1]}
            if form != "safetensors":
                entry["codes_error"], entry["layers"] = codes_error(folder, store)
            out["folders"][form] = entry
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "w") as f:
        json.dump(out, f)
        f.write("\n")


main()
