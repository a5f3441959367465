"""Makes format/safetensors/testdata with the reference implementation.

    python peer/golden_safetensors.py

dtypes.safetensors is what the reference writes; golden.json gives every
tensor's dtype, shape and values (little-endian bytes in hex) as the reference
reads them. Run with --check FILE to print the same JSON for any file, which
proves that the reference reads it.
"""
import datetime
import json
import os
import sys

import safetensors
import torch
from safetensors.torch import save_file

SEED = 20260117
OUT = os.path.join(os.path.dirname(__file__), "..", "format", "safetensors", "testdata")
METADATA = {"format": 'quote " back \\ tab \t bell \x07 less < and & line\u2028 \u00e9 \U0001f600'}


def describe(path):
    """What the reference reads from a file."""
    out = {}
    with safetensors.safe_open(path, "pt") as f:
        for name in sorted(f.keys()):
            t = f.get_tensor(name).contiguous()
            raw = t.reshape(-1).view(torch.uint8) if t.numel() else torch.zeros(0, dtype=torch.uint8)
            out[name] = {"dtype": f.get_slice(name).get_dtype(), "shape": list(t.shape), "hex": raw.numpy().tobytes().hex()}
        return {"metadata": f.metadata() or {}, "tensors": out}


def tensors():
    g = torch.Generator().manual_seed(SEED)
    t = {}
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        t["w." + str(dtype)[6:]] = torch.randn(2, 3, generator=g).to(dtype)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8):
        t["w." + str(dtype)[6:]] = torch.randint(-100, 100, (3,), generator=g, dtype=dtype)
    t["w.uint8"] = torch.randint(0, 255, (5,), generator=g, dtype=torch.uint8)
    t["w.bool"] = torch.rand(3, generator=g) > 0.5
    t["scalar"] = torch.tensor(0.75)
    t["empty"] = torch.zeros(0, 4)
    t['odd "name" \n <&> \u00fc'] = torch.ones(1)
    return t


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        json.dump(describe(sys.argv[2]), sys.stdout, indent=1)
        return
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, "dtypes.safetensors")
    save_file(tensors(), path, metadata=METADATA)
    bare = os.path.join(OUT, "bare.safetensors")
    save_file({"b": torch.arange(3.0), "a": torch.arange(4, dtype=torch.int8)}, bare)
    # Types that package tensor lacks, beside one that it has.
    foreign = os.path.join(OUT, "foreign.safetensors")
    save_file({"f8": torch.ones(4).to(torch.float8_e4m3fn), "w": torch.ones(2), "u16": torch.ones(2).to(torch.uint16)}, foreign)
    for p in (path, bare, foreign):
        os.chmod(p, 0o644)
    header = {"tool": "safetensors", "version": safetensors.__version__, "torch": torch.__version__, "seed": SEED, "command": "python peer/golden_safetensors.py", "date": datetime.date.today().isoformat()}
    golden = {"header": header, "files": {os.path.basename(p): describe(p) for p in (path, bare)}}
    with open(os.path.join(OUT, "golden.json"), "w") as f:
        json.dump(golden, f, indent=1)
        f.write("\n")


main()
