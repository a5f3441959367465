"""Makes format/hdf5/testdata/golden.json: what h5py reads from our file.

    python peer/golden_hdf5.py           # needs h5py and numpy, and go

The Go test writes testdata/ours.h5 first. Every object is listed with dtype,
shape and value, numbers as little-endian bytes in hex.
"""
import datetime
import hashlib
import importlib.metadata
import json
import os
import subprocess

import h5py

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
OUT = os.path.join(ROOT, "format", "hdf5", "testdata")


def main():
    subprocess.run(["go", "test", "./format/hdf5", "-run", "TestFileIsTheOneThatPeerRead", "-update"], cwd=ROOT, check=True)
    path = os.path.join(OUT, "ours.h5")
    objects = {}

    def visit(name, node):
        if isinstance(node, h5py.Group):
            objects[name] = {"kind": "group", "members": len(node)}
            return
        v = node[()]
        text = node.dtype.kind == "S"
        objects[name] = {"kind": "dataset", "dtype": node.dtype.str, "shape": list(node.shape),
                         "utf8": bool(text and h5py.check_string_dtype(node.dtype).encoding == "utf-8")}
        if text:
            objects[name]["text"] = [s.decode() for s in (v.reshape(-1) if node.shape else [v])]
        else:
            objects[name]["hex"] = v.tobytes().hex()

    with h5py.File(path, "r") as f:
        f.visititems(visit)
    golden = {
        "header": {"tools": {p: importlib.metadata.version(p) for p in ("h5py", "numpy")}, "libhdf5": h5py.version.hdf5_version,
                   "command": "python peer/golden_hdf5.py", "date": datetime.date.today().isoformat()},
        "sha256": hashlib.sha256(open(path, "rb").read()).hexdigest(),
        "objects": objects,
    }
    with open(os.path.join(OUT, "golden.json"), "w") as f:
        json.dump(golden, f, indent=1, sort_keys=True)
        f.write("\n")


if __name__ == "__main__":
    main()
