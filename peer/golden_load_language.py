"""Makes load/testdata/language: small decoders as Hugging Face folders and as
GGUF files, with the logits of package transformers.

One folder for each architecture: Llama with Llama 3's rotary scaling, in bf16
and two shards; Qwen2 with biases and a tied head; Granite with its multipliers,
in f16. llama.gguf is the Llama again, written by package gguf with the rows of
q and k in GGUF's order, f16, and with the factors of its rotary scaling.
Run in the module's root: OMP_NUM_THREADS=1 python peer/golden_load_language.py
"""

import datetime
import json
import os
import shutil

import gguf
import numpy as np
import torch
import transformers
from transformers import GraniteConfig, GraniteForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

SEED = 5
OUT = "load/testdata/language"
IDS = [3, 17, 42, 9, 0, 61, 5, 5, 30, 12]
COMMON = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=128, attn_implementation="eager")


def reload(path):
    """As saved, in float32: a network that was cast has rounded rotary frequencies."""
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def logits(net):
    with torch.no_grad():
        return net(torch.tensor([IDS])).logits[0, -1].tolist()


def shake(net, dtype):
    """Norms and biases start at ones and zeros: move them, so that a mix-up shows."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p)) if p.dim() == 1 else p.mul_(8)
    return net.to(dtype).eval()


def permute(w, heads):
    """Rows of Hugging Face's order to GGUF's: pairs half a head apart become neighbours."""
    n, d = w.shape
    return w.reshape(heads, 2, n // heads // 2, d).swapaxes(1, 2).reshape(n, d)


def write_gguf(net, path):
    c, s = net.config, {k: v.float().numpy() for k, v in net.state_dict().items()}
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    inverse = net.model.rotary_emb.inv_freq.numpy().astype(np.float64)
    plain = c.rope_parameters["rope_theta"] ** (-np.arange(len(inverse)) / len(inverse))
    w.add_tensor("rope_freqs.weight", (plain / inverse).astype(np.float32))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c.num_hidden_layers)
    for name, v in s.items():
        if "q_proj" in name:
            v = permute(v, c.num_attention_heads)
        if "k_proj" in name:
            v = permute(v, c.num_key_value_heads)
        w.add_tensor(names.get_name(name, (".weight", ".bias")), v.astype(np.float32 if v.ndim == 1 else np.float16))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    torch.manual_seed(SEED)
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}
    nets = {
        "llama": shake(LlamaForCausalLM(LlamaConfig(**COMMON, rope_parameters=rope)), torch.bfloat16),
        "qwen2": shake(Qwen2ForCausalLM(Qwen2Config(**COMMON, tie_word_embeddings=True)), torch.float32),
        "granite": shake(GraniteForCausalLM(GraniteConfig(
            **COMMON, embedding_multiplier=3.0, attention_multiplier=0.4, residual_multiplier=0.7, logits_scaling=2.0)), torch.float16),
    }
    golden = {}
    for name, net in nets.items():
        net.save_pretrained(f"{OUT}/{name}", max_shard_size="24KB" if name == "llama" else "1GB")
        nets[name] = reload(f"{OUT}/{name}")
        golden[name] = logits(nets[name])
    for path in os.listdir(f"{OUT}"):
        for extra in ("generation_config.json",):
            if os.path.exists(f"{OUT}/{path}/{extra}"):
                os.remove(f"{OUT}/{path}/{extra}")
    write_gguf(nets["llama"], f"{OUT}/llama.gguf")
    with open(f"{OUT}/golden.json", "w") as f:
        json.dump({
            "tool": "transformers", "version": f"{transformers.__version__}, torch {torch.__version__}, gguf 0.19.0", "seed": SEED,
            "date": datetime.date.today().isoformat(), "command": "python peer/golden_load_language.py",
            "what": "float32 logits of the last token of ids, from the weights as saved",
            "ids": IDS, "logits": golden,
        }, f, indent=1)
        f.write("\n")


main()
