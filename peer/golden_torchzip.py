"""Makes format/torchzip/testdata: small files of torch.save and what they hold.

    python peer/golden_torchzip.py

golden.json gives, for each file, every tensor's dtype, shape and values (the
little-endian bytes of the dense tensor, in hex) as torch itself loads them.
"""
import argparse
import collections
import datetime
import json
import os
import zipfile

import numpy as np
import torch

SEED = 20260117
OUT = os.path.join(os.path.dirname(__file__), "..", "format", "torchzip", "testdata")
NAMES = {
    torch.float64: "f64", torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16",
    torch.int64: "i64", torch.int32: "i32", torch.int16: "i16", torch.int8: "i8",
    torch.uint8: "u8", torch.bool: "bool",
}


def every_dtype():
    d = collections.OrderedDict()
    for dtype, name in NAMES.items():
        if dtype == torch.bool:
            d[name] = torch.rand(2, 3) > 0.5
        elif dtype.is_floating_point:
            d[name] = torch.randn(2, 3).to(dtype)
        else:
            lo = 0 if dtype == torch.uint8 else -100
            d[name] = torch.randint(lo, 100, (2, 3), dtype=dtype)
    d["scalar"] = torch.tensor(0.75)
    d["empty"] = torch.zeros(0, 4)
    return d


def views():
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    return {
        "base": base,
        "transposed": base.transpose(0, 2),
        "sliced": base[1:, ::2, 1:4],
        "expanded": base[0, 0].expand(4, 5),
        "row": base[2, 3],
        "channels_last": torch.randn(2, 3, 2, 2).to(memory_format=torch.channels_last),
        "int_view": torch.arange(12, dtype=torch.int16).reshape(3, 4).t(),
    }


def network():
    return torch.nn.Sequential(
        collections.OrderedDict(conv=torch.nn.Conv2d(1, 2, 3), bn=torch.nn.BatchNorm2d(2), fc=torch.nn.Linear(4, 2))
    )


def checkpoint():
    """What training scripts save: wrapped names, objects beside the weights."""
    net = torch.nn.Sequential(collections.OrderedDict(module=network()))
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net.train()
    net[0].conv(torch.randn(1, 1, 5, 5)).sum().backward()
    opt.step()
    return net, {
        "epoch": 7,
        "arch": "tiny",
        "args": argparse.Namespace(lr=0.1, layers=[1, 2]),
        "best_prec1": torch.tensor(91.5),
        "huge": 1 << 70,
        "lr": 0.1,
        "milestones": collections.Counter([3, 5]),
        "when": datetime.date(2026, 1, 17),
        "seen": {1, 2},
        "np": np.float64(1.5),
        "state_dict": net.state_dict(),
        "optimizer": opt.state_dict(),
    }




def expected(tensors):
    out = {}
    for name, t in tensors.items():
        t = t.detach().contiguous()
        raw = t.reshape(-1).view(torch.uint8) if t.numel() else torch.zeros(0, dtype=torch.uint8)
        out[name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape), "hex": raw.numpy().tobytes().hex()}
    return out


def main():
    torch.manual_seed(SEED)
    os.makedirs(OUT, exist_ok=True)
    cases = {}

    def save(name, value, tensors, **how):
        with open(os.path.join(OUT, name), "wb") as f:
            torch.save(value, f, **how)
        cases[name] = expected(tensors)

    old = {"_use_new_zipfile_serialization": False}
    dtypes, v = every_dtype(), views()
    net, ck = checkpoint()
    unwrapped = {k.removeprefix("module."): t for k, t in net.state_dict().items()}
    for form, how in (("zip", {}), ("legacy", old)):
        save(f"dtypes_{form}.pt", dtypes, dtypes, **how)
        save(f"views_{form}.pth", v, v, **how)
        save(f"checkpoint_{form}.th", ck, unwrapped, **how)
        save(f"single_{form}.pt", v["transposed"], {"tensor": v["transposed"]}, **how)
    save("protocol4.pt", ck, unwrapped, pickle_protocol=4)
    save("protocol5_legacy.pt", v, v, pickle_protocol=5, **old)

    p = torch.nn.Parameter(torch.randn(3))
    q = torch.nn.Parameter(torch.randn(2))
    q.note = "an attribute"
    nested = {"enc": {"w": p, "more": [torch.ones(2), (torch.zeros(1), 3)]}, "q": q, 5: torch.full((2,), 5.0), "none": None}
    flat = {"enc.w": p, "enc.more.0": torch.ones(2), "enc.more.1.0": torch.zeros(1), "q": q, "5": torch.full((2,), 5.0)}
    save("nested.pt", nested, flat)

    torch.serialization.set_crc32_options(False)
    save("nochecksum.pt", {"w": p.data}, {"w": p.data})
    torch.serialization.set_crc32_options(True)

    # The same archive deflated, as generic zip tools repack it.
    with zipfile.ZipFile(os.path.join(OUT, "views_zip.pth")) as src, zipfile.ZipFile(
        os.path.join(OUT, "deflated.pt"), "w", zipfile.ZIP_DEFLATED
    ) as dst:
        for info in src.infolist():
            dst.writestr(zipfile.ZipInfo(info.filename), src.read(info), zipfile.ZIP_DEFLATED)
    cases["deflated.pt"] = expected(v)

    # torch would put a class's source text and its path into the legacy form.
    torch.serialization.get_source_lines_and_file = lambda obj: ([], 0, "linear.py")

    # Files that must be refused, with what the error has to name.
    refused = {}

    def refuse(name, value, names, **how):
        with open(os.path.join(OUT, name), "wb") as f:
            torch.save(value, f, **how)
        refused[name] = names

    refuse("module_zip.pt", net[0].fc, "torch.nn.modules.linear.Linear")
    refuse("module_legacy.pt", net[0].fc, "torch.nn.modules.linear.Linear", **old)
    refuse("complex.pt", {"w": torch.ones(2), "z": torch.ones(2, dtype=torch.complex64)}, "ComplexFloatStorage")
    refuse("float8.pt", {"w": torch.ones(2).to(torch.float8_e4m3fn)}, "float8_e4m3fn")
    refuse("uint16.pt", {"w": torch.ones(2).to(torch.uint16)}, "torch.uint16")
    refuse("sparse.pt", {"w": torch.ones(2, 2).to_sparse()}, "torch._utils._rebuild_sparse_tensor")
    refuse("nothing.pt", {"epoch": 3}, "no tensors")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), os.path.join(OUT, "script.pt"))
    refused["script.pt"] = "TorchScript"

    header = {"tool": "torch", "version": torch.__version__, "seed": SEED, "command": "python peer/golden_torchzip.py", "date": datetime.date.today().isoformat()}
    with open(os.path.join(OUT, "golden.json"), "w") as f:
        json.dump({"header": header, "files": cases, "refused": refused}, f, indent=1)
        f.write("\n")


main()
