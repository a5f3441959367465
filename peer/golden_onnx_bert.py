"""Makes format/onnx/testdata/bert: small BERTs of Hugging Face as PyTorch exports
them, with ONNX Runtime's results on two sequences, one of them padded.

By the TorchScript exporter at opsets 11 and 17 and by the new one at 18 and 20;
with attention written out and as one call; classifiers, an encoder, spans, and
the GELU of tanh.
Run in the module's root: python peer/golden_onnx_bert.py (needs transformers and onnxscript)
"""

import datetime
import json
import os
import warnings

import onnx
import onnxruntime as ort
import torch
import transformers
from transformers import BertConfig, BertForQuestionAnswering, BertForSequenceClassification, BertModel

SEED = 5
OUT = "format/onnx/testdata/bert"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Plain(torch.nn.Module):
    """Takes the inputs by position and returns one result, whatever the library's version."""

    def __init__(self, bert):
        super().__init__()
        for name, child in bert.named_children():
            self.add_module(name, child)
        self._bert = [bert]

    def forward(self, ids, mask, types):
        return self._bert[0](input_ids=ids, attention_mask=mask, token_type_ids=types)[0]


def main():
    warnings.filterwarnings("ignore")
    os.makedirs(OUT, exist_ok=True)
    torch.manual_seed(SEED)
    ids = torch.randint(0, 40, (2, 9))
    mask = torch.ones(2, 9, dtype=torch.int64)
    mask[1, 6:] = 0
    types = torch.zeros(2, 9, dtype=torch.int64)
    types[:, 4:] = 1
    golden = {}
    for name, cls, attention, opset, dynamo, more in (
        ("classes-opset11", BertForSequenceClassification, "eager", 11, False, {"num_labels": 3}),
        ("classes-opset17", BertForSequenceClassification, "sdpa", 17, False, {"num_labels": 2}),
        ("hidden-opset17", BertModel, "eager", 17, False, {}),
        ("spans-opset18-dynamo", BertForQuestionAnswering, "sdpa", 18, True, {}),
        ("tanh-opset20-dynamo", BertForSequenceClassification, "eager", 20, True, {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5}),
    ):
        config = BertConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
            max_position_embeddings=20, type_vocab_size=2, attn_implementation=attention, **more)
        bert = cls(config, add_pooling_layer=False).eval() if cls is BertModel else cls(config).eval()
        for p in bert.parameters():
            p.data += torch.randn_like(p) * 0.2
        path = f"{OUT}/{name}.onnx"
        if dynamo:
            free = {0: torch.export.Dim("batch", min=1, max=64), 1: torch.export.Dim("sequence", min=2, max=20)}
            how = {"dynamo": True, "external_data": False, "verbose": False, "dynamic_shapes": (free,) * 3}
        else:
            how = {"dynamo": False, "dynamic_axes": {k: {0: "batch", 1: "sequence"} for k in INPUTS}}
        torch.onnx.export(Plain(bert), (ids, mask, types), path, input_names=list(INPUTS), opset_version=opset, **how)
        m = onnx.load(path)
        for n in m.graph.node:  # paths of source files and stack traces
            n.ClearField("doc_string")
            del n.metadata_props[:]
        for v in list(m.graph.input) + list(m.graph.output) + list(m.graph.initializer):
            if hasattr(v, "metadata_props"):
                del v.metadata_props[:]
        del m.graph.value_info[:]
        del m.graph.metadata_props[:]
        onnx.save(m, path)
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        feed = {k: v.numpy() for k, v in zip(INPUTS, (ids, mask, types)) if k in {i.name for i in session.get_inputs()}}
        golden[name] = session.run(None, feed)[0].reshape(-1).tolist()
    with open(f"{OUT}/golden.json", "w") as f:
        json.dump({
            "tool": "PyTorch, transformers, ONNX Runtime", "version": f"{torch.__version__}, {transformers.__version__}, {ort.__version__}", "seed": SEED,
            "command": "python peer/golden_onnx_bert.py", "date": datetime.date.today().isoformat(),
            "shape": [2, 9], "input_ids": ids.reshape(-1).tolist(), "attention_mask": mask.reshape(-1).tolist(),
            "token_type_ids": types.reshape(-1).tolist(), "outputs": golden,
        }, f)


main()
