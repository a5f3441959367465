"""Times PyTorch on SmolLM2-135M: SiLQ's training steps at w4a8kv8 (4 windows of 256
tokens, teacher included) and reading 16 windows of 512 tokens in fp32 and in w4a8kv8.

    python peer/bench_smollm2.py --gguf smollm2.gguf --threads 2 --steps 10

Runs ../shared/bench/bench_torch_silq_smollm2.py, an exact int8 forward pass and a
bfloat16 backward pass, with the allocator that it does best with. Weights, tokens and
steps of max|w| are made once, in --work. Prints one JSON object; rates are over all steps,
the first included, as train_tokens_per_s of `lowbit quantize` is. Needs torch, gguf,
transformers, 8 GiB of memory and ../shared.
"""
import argparse, json, os, subprocess, sys, time

BENCH = "../shared/bench/bench_torch_silq_smollm2.py"
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "34359738368", "MALLOC_TOP_PAD_": "268435456", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def stage(name, a, *args):
    """Runs a stage of the benchmark and returns the JSON objects that it prints."""
    command = [sys.executable, BENCH, name, "--work", a.work, *args]
    out = subprocess.run(command, env={**os.environ, **MALLOC}, stdout=subprocess.PIPE, check=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def read(a):
    """Times the reading of the test windows, as perplexity needs it and no more."""
    sys.path.insert(0, os.path.dirname(BENCH))
    import bench_torch_silq_smollm2 as bench
    import torch

    torch.set_num_threads(a.threads)
    weights, ids = bench.load(a), bench.tokens(a, "test")[: 16 * 512]
    out = {}
    for name, linear, cache in (("fp32", bench.lin_fp(weights), False), ("w4a8kv8", bench.lin_int(torch.load(f"{a.work}/w4-max.pt")), True)):
        began = time.time()
        r, _ = bench.evaluate(weights, linear, cache, ids)
        out[name] = {"perplexity": r["ppl"], "tokens_per_s": round(len(ids) / (time.time() - began), 1)}
    print(json.dumps(out))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--gguf", required=True)
    p.add_argument("--text", default="../shared/data/text", help="folder with wikitext2-test.txt and wikitext2-valid.txt")
    p.add_argument("--work", default="runs/torch-smollm2")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--steps", type=int, default=10, help="a multiple of 10")
    p.add_argument("--read", action="store_true", help=argparse.SUPPRESS)  # the part of it that runs in this file
    a = p.parse_args()
    if a.read:
        return read(a)
    threads = ["--threads", str(a.threads)]
    if not os.path.exists(f"{a.work}/valid.npy"):
        stage("prep", a, "--gguf", os.path.realpath(a.gguf), "--text", a.text)
    if not os.path.exists(f"{a.work}/w4-max.pt"):
        stage("ptq", a, "--only", "w4-max", *threads)
    command = [sys.executable, __file__, "--gguf", a.gguf, "--work", a.work, "--read", *threads]
    reading = json.loads(subprocess.run(command, env={**os.environ, **MALLOC}, stdout=subprocess.PIPE, check=True, text=True).stdout)
    last = [r for r in stage("train", a, "--init", "max", "--steps", str(a.steps), "--evals", "", *threads) if "step" in r][-1]
    import torch

    print(json.dumps({
        "impl": "torch " + torch.__version__, "threads": a.threads, "bits": "w4a8kv8", "batch": 4, "length": 256, "steps": last["step"],
        "train_tokens_per_s": last["tok_s"], "last_step_s": last["step_s"], "seconds_of_a_step": last["split"], "peak_rss_bytes": round(last["rss_gib"] * 2**30),
        "read": reading,
    }))


main()
