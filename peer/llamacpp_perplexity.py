"""Perplexity of a GGUF file in llama.cpp, as `lowbit eval` measures it: whole windows
from the start of a text, each read by itself, no token in front.

    python peer/llamacpp_perplexity.py --gguf smol4.gguf --text ../shared/data/text/wikitext2-test.txt

llama.cpp rounds activations to 8 bits in blocks wherever weights are quantized; with
--floats the weights' same values are written as F32 first, and everything is computed in
floats. --cache is the type of keys and values. Batches crash in some builds on some CPUs
with AMX: --one-by-one reads token by token. Prints one JSON object with the names that
`lowbit eval --json` has. Needs llama-cpp-python, numpy and, with --floats, gguf.
"""
import argparse, collections, json, math, os, statistics, struct, tempfile, time

import numpy as np

CACHES = {"f32": 0, "f16": 1, "q8_0": 8}  # ggml_type


def in_floats(path, out):
    """Copies a GGUF file; tensors of codes become F32 of the same values."""
    import gguf

    class Writer(gguf.GGUFWriter):
        def _pack_val(self, val, vtype, add_vtype, sub_type=None):
            if vtype == gguf.GGUFValueType.ARRAY and len(val) == 0:  # merges of a tokenizer of bytes; the package refuses them
                return struct.pack("<I", vtype) * add_vtype + struct.pack("<IQ", gguf.GGUFValueType.STRING, 0)
            return super()._pack_val(val, vtype, add_vtype, sub_type)

    r = gguf.GGUFReader(path)
    w = Writer(out, r.fields["general.architecture"].contents())
    for name, f in r.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = f.types[0]
        w.add_key_value(name, f.contents(), kind, f.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for t in r.tensors:
        if t.tensor_type in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            w.add_tensor(t.name, np.array(t.data), raw_dtype=t.tensor_type)
        else:
            w.add_tensor(t.name, gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def types(path):
    import gguf

    return dict(collections.Counter(t.tensor_type.name for t in gguf.GGUFReader(path).tensors))


def window_loss(llm, ids, one_by_one):
    """Mean loss in nats of the tokens of a window but the first."""
    llm.reset()
    for part in [[i] for i in ids] if one_by_one else [ids]:
        llm.eval(part)
    z = np.asarray(llm.scores[: len(ids) - 1], dtype=np.float64)
    z -= z.max(axis=1, keepdims=True)
    losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(ids) - 1), ids[1:]]
    return float(losses.mean())


def measure(path, a):
    import llama_cpp

    kind = CACHES[a.cache]
    llm = llama_cpp.Llama(model_path=path, n_ctx=a.window_length, n_batch=1 if a.one_by_one else a.window_length, n_ubatch=1 if a.one_by_one else a.window_length,
                          n_threads=a.threads, n_threads_batch=a.threads, logits_all=True, type_k=kind, type_v=kind, flash_attn=a.cache == "q8_0", verbose=False)
    ids = llm.tokenize(open(a.text, "rb").read(), add_bos=False, special=True)
    n = len(ids) // a.window_length
    if n < max(a.windows, 1):
        raise SystemExit(f"{a.text}: {len(ids)} tokens, want {max(a.windows, 1)} windows of {a.window_length}")
    n = a.windows or n
    began = time.time()
    means = [window_loss(llm, ids[i * a.window_length:][: a.window_length], a.one_by_one) for i in range(n)]
    seconds = time.time() - began
    loss = statistics.fmean(means)
    return {
        "perplexity": math.exp(loss), "loss": loss, "standard_error": statistics.stdev(means) / math.sqrt(n) if n > 1 else 0,
        "tokens": n * (a.window_length - 1), "windows": n, "window_length": a.window_length, "tokens_per_s": n * a.window_length / seconds,
        "model": a.gguf, "data": a.text, "engine": "llama.cpp", "version": llama_cpp.__version__, "threads": a.threads,
        "types": types(a.gguf), "activations": "f32" if a.floats else "8 bits in blocks", "cache": a.cache, "one_by_one": a.one_by_one,
    }


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--gguf", required=True)
    p.add_argument("--text", required=True, help="a text file")
    p.add_argument("--windows", type=int, default=16, help="0: all whole ones")
    p.add_argument("--window-length", type=int, default=512)
    p.add_argument("--floats", action="store_true", help="the same values as F32")
    p.add_argument("--cache", choices=CACHES, default="f16")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--one-by-one", action="store_true")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        path = a.gguf
        if a.floats:
            path = os.path.join(tmp, "floats.gguf")
            in_floats(a.gguf, path)
        print(json.dumps(measure(path, a)))


main()
