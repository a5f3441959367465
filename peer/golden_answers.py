"""Makes text/testdata/chat/answers.json: which tokens of a chat are answers.

transformers writes chats with ChatML and with a template of headers, both with
{% generation %} around what the assistant says, and gives ids and the mask of
those tokens. Run in the module's root: python peer/golden_answers.py
"""

import datetime
import importlib.metadata
import json

from transformers import PreTrainedTokenizerFast

OUT = "text/testdata/chat/answers.json"
TEMPLATES = {
    "chatml": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
              "{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "words": "{% for m in messages %}{{ '[' + m['role'] + '] ' }}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
             "{% else %}{{ m['content'] }}{% endif %}{{ '\\n\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}",
}
CHATS = [
    [("user", "Who are you?"), ("assistant", "A small model.")],
    [("system", "Answer briefly."), ("user", "2+2?"), ("assistant", "4"), ("user", "And\n3 + 3 ?"), ("assistant", "It is **6**,\nI think. ")],
    [("user", "naïve café 日本 🙂"), ("assistant", "¿Qué? 日本語 🙂🙂"), ("user", "ok")],
]


def main():
    tok = PreTrainedTokenizerFast(tokenizer_file="text/testdata/smollm.json")
    out = {"made_by": {"command": "python peer/golden_answers.py", "date": datetime.date.today().isoformat(),
                       "tools": {"transformers": importlib.metadata.version("transformers")}}, "cases": []}
    for name, template in TEMPLATES.items():
        plain = template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
        for chat in CHATS:
            messages = [{"role": r, "content": c} for r, c in chat]
            got = tok.apply_chat_template(messages, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
            out["cases"].append({"template": plain, "messages": messages, "ids": got["input_ids"], "answers": got["assistant_masks"]})
    with open(OUT, "w") as f:
        json.dump(out, f, ensure_ascii=False)
        f.write("\n")


main()
