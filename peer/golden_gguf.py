"""Makes format/gguf/testdata with the gguf package.

    python peer/golden_gguf.py
    go test ./format/gguf -run TestWriterGivesCheckedBytes -write
    python peer/golden_gguf.py

types.gguf is written by the package: random blocks of every type it knows,
and metadata of every type. golden.json has, for each, the values that the
package reads (float32, little endian, in hex); codes and steps from which our
writer makes ours.gguf; and, once that exists, its sha256 and the largest
difference from step*code that the package finds in it, which must be 0.
"""
import datetime
import hashlib
import importlib.metadata
import json
import os

import numpy as np
from gguf import GGUFReader, GGUFWriter, GGMLQuantizationType as T, GGUFValueType as V
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

SEED = 20260117
OUT = os.path.join(os.path.dirname(__file__), "..", "format", "gguf", "testdata")
ROWS, COLUMNS = 2, 256
# Where the float16 numbers of a block lie.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.TQ1_0: [52], T.TQ2_0: [64],
}
CODES = {
    "Q8_0": (-128, 127), "Q6_K": (-32, 31), "Q5_K": (-16, 15), "Q5_0": (-16, 15), "Q4_K": (-8, 7),
    "Q4_0": (-8, 7), "Q3_K": (-4, 3), "Q2_K": (-2, 1), "TQ2_0": (-1, 1),
}


def blocks(rng, t):
    elements, size = GGML_QUANT_SIZES[t]
    b = rng.integers(0, 256, (ROWS * COLUMNS // elements, size), dtype=np.uint8)
    for at in HALVES[t]:
        b[:, at : at + 2] = (rng.standard_normal(len(b)) * 0.1).astype(np.float16).view(np.uint8).reshape(-1, 2)
    return b.reshape(ROWS, -1)


def types_file(rng, path):
    w = GGUFWriter(path, "test")
    values = {"uint8": (200, V.UINT8), "int8": (-100, V.INT8), "uint16": (60000, V.UINT16), "int16": (-30000, V.INT16)}
    values |= {"uint32": (4000000000, V.UINT32), "int32": (-2000000000, V.INT32), "uint64": (1 << 63, V.UINT64)}
    values |= {"int64": (-(1 << 62), V.INT64), "float32": (0.5, V.FLOAT32), "float64": (0.1, V.FLOAT64)}
    values |= {"bool": (True, V.BOOL), "string": ("gr\u00fc\u00df", V.STRING)}
    for name, (v, t) in values.items():
        w.add_key_value("x." + name, v, t)
        w.add_key_value("x." + name + "s", [v, v], V.ARRAY, sub_type=t)
    expected = {}
    f = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    for t in [T.F32, T.F16, T.BF16] + list(HALVES):
        if t == T.F32:
            raw = f
        elif t == T.F16:
            raw = f.astype(np.float16)
        elif t == T.BF16:
            raw = (f.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        else:
            raw = blocks(rng, t)
        w.add_tensor(t.name, raw, raw_dtype=t)
        v = np.ascontiguousarray(dequantize(raw, t), dtype="<f4")
        assert v.shape == (ROWS, COLUMNS)
        expected[t.name] = v.tobytes().hex()
    w.add_tensor("I32", np.arange(-3, 3, dtype=np.int32).reshape(1, 2, 3))
    w.add_tensor("MXFP4", rng.integers(0, 256, (1, 17), dtype=np.uint8), raw_dtype=T.MXFP4)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return expected


def codes(rng):
    out = {}
    for name, (lo, hi) in CODES.items():
        k = rng.integers(lo, hi + 1, (ROWS, COLUMNS))
        k[0, :2] = lo, hi
        steps = (np.abs(rng.standard_normal(ROWS)) * 0.1).astype(np.float16).astype(np.float64)
        out[name] = {"codes": k.reshape(-1).tolist(), "steps": steps.tolist()}
    return out


def check(path, given):
    """Reads our writer's file and returns the largest error of each tensor."""
    r = GGUFReader(path)
    errors = {}
    for t in r.tensors:
        v = dequantize(t.data, t.tensor_type)
        g = given[t.name]
        want = np.array(g["codes"], np.float32).reshape(ROWS, COLUMNS) * np.array(g["steps"], np.float32)[:, None]
        errors[t.name] = float(np.abs(v - want).max())
        assert t.tensor_type.name == t.name and list(t.shape) == [COLUMNS, ROWS]
    assert set(errors) == set(given) and not any(errors.values()), errors
    assert r.get_field("general.name").contents() == "ours" and r.get_field("x.list").contents() == [1, 2, 3]
    return {"sha256": hashlib.sha256(open(path, "rb").read()).hexdigest(), "errors": errors}


def main():
    os.makedirs(OUT, exist_ok=True)
    rng = np.random.default_rng(SEED)
    header = {"tool": "gguf", "version": importlib.metadata.version("gguf"), "numpy": np.__version__, "seed": SEED, "command": "python peer/golden_gguf.py", "date": datetime.date.today().isoformat()}
    golden = {"header": header, "rows": ROWS, "columns": COLUMNS}
    golden["values"] = types_file(rng, os.path.join(OUT, "types.gguf"))
    golden["codes"] = codes(rng)
    ours = os.path.join(OUT, "ours.gguf")
    if os.path.exists(ours):
        golden["checked"] = check(ours, golden["codes"])
        print("largest errors:", golden["checked"]["errors"])
    with open(os.path.join(OUT, "golden.json"), "w") as f:
        json.dump(golden, f)
        f.write("\n")


main()
