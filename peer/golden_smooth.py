"""SmoothQuant's smoothing (Xiao et al., arXiv 2211.10438, equation 4, alpha 0.6) of
the small models in load/testdata/language, by transformers and torch: the largest
magnitude of each feature behind a norm on a text of two windows, then

    s_j = max|x_j|^alpha / max|w_j|^(1-alpha)

out of the norm's weight and into the layers that read it. Writes
load/testdata/language/smooth.json: the norms' weights and the sums of squares of
the columns of each layer. Run in the module's root: python peer/golden_smooth.py
"""

import datetime
import importlib.metadata
import json

import torch
import transformers

ALPHA, SEQ = 0.6, 12
OUT = "load/testdata/language/smooth.json"


def smooth(folder, windows):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    seen = {}

    def watch(name):
        def hook(_, __, y):
            top = y.detach().abs().reshape(-1, y.shape[-1]).amax(0)
            seen[name] = torch.maximum(seen.get(name, top), top)
        return hook

    sites = []
    for i, layer in enumerate(model.model.layers):
        a, m, p = layer.self_attn, layer.mlp, f"model.layers.{i}."
        sites.append((p + "input_layernorm", layer.input_layernorm, {p + "self_attn.q_proj": a.q_proj, p + "self_attn.k_proj": a.k_proj, p + "self_attn.v_proj": a.v_proj}))
        sites.append((p + "post_attention_layernorm", layer.post_attention_layernorm, {p + "mlp.gate_proj": m.gate_proj, p + "mlp.up_proj": m.up_proj}))
    if not model.config.tie_word_embeddings:
        sites.append(("model.norm", model.model.norm, {"lm_head": model.lm_head}))
    for name, norm, _ in sites:
        norm.register_forward_hook(watch(name))
    out = {"norms": {}, "columns": {}}
    with torch.no_grad():
        model(torch.tensor(windows))
        for name, norm, layers in sites:
            w = torch.stack([m.weight.abs().amax(0) for m in layers.values()]).amax(0)
            s = seen[name] ** ALPHA / w ** (1 - ALPHA)
            out["norms"][name + ".weight"] = (norm.weight / s).tolist()
            for layer, m in layers.items():
                out["columns"][layer + ".weight"] = ((m.weight * s) ** 2).sum(0).tolist()
    return out


def main():
    windows = [[(5 * i + 3 * k * k) % 64 for i in range(SEQ)] for k in range(2)]
    out = {"made_by": {"command": "python peer/golden_smooth.py", "date": datetime.date.today().isoformat(),
                       "tools": {p: importlib.metadata.version(p) for p in ("torch", "transformers")}},
           "alpha": ALPHA, "windows": windows,
           "models": {m: smooth("load/testdata/language/" + m, windows) for m in ("llama", "qwen2", "granite")}}
    with open(OUT, "w") as f:
        json.dump(out, f)
        f.write("\n")


main()
