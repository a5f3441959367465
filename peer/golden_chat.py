"""Makes text/testdata/chat/golden.json with jinja2, set up as transformers does.

    python peer/golden_chat.py [SMOLLM2_GGUF]

The templates beside it are ours, with the constructs that the templates of
ChatML models, Llama 3, Qwen and Granite have; "snippets" are single constructs.
With the file of SmolLM2, its own template is rendered too.
"""
import datetime
import json
import os
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

OUT = os.path.join(os.path.dirname(__file__), "..", "text", "testdata", "chat")
NOW = datetime.datetime(2026, 7, 4, 15, 6, 7)

TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather <now> & \"here\" — é", "parameters": {
    "type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer", "default": 3, "max": 1.5}}, "required": ["place"], "x": [], "y": {}, "z": None, "ok": True}}}
CHATS = {
    "plain": {"messages": [{"role": "user", "content": "Hi there, what's \"up\"?"}], "add_generation_prompt": True},
    "system": {"messages": [{"role": "system", "content": " Be terse.\n"}, {"role": "user", "content": " 2+2? "}, {"role": "assistant", "content": "4"},
               {"role": "user", "content": "Zażółć 😀\n\nlines"}], "add_generation_prompt": True},
    "done": {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb"}], "add_generation_prompt": False},
    "tools": {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Weather?"},
              {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "get_weather", "arguments": {"place": "Oslo", "unit": "C"}}}]},
              {"role": "tool", "content": "rain"}], "tools": [TOOL], "add_generation_prompt": True},
    "documents": {"messages": [{"role": "user", "content": "Which?"}], "documents": [{"doc_id": 1, "text": "One."}, {"doc_id": 2, "text": "Two."}],
                  "controls": {"length": "long"}, "length": 3, "add_generation_prompt": True, "builtin_tools": ["search", "interpreter", "math"]},
}

SNIPPETS = [
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 1.0 }} {{ 1e3 if false else 0.5 }} {{ 'a' * 3 }}",
    "{{ [1, 'two', none, true, 2.5, {'k': 'v'}] }} {{ none }} {{ undefined_thing }}|{{ 'it\\'s' }} {{ ['it\\'s', \"q\\\"\"] }}",
    "{{ 1 < 2 < 3 }} {{ 3 in [1, 2] }} {{ 'b' not in 'abc' }} {{ not 1 == 2 }} {{ 1 == 1.0 }} {{ '1' == 1 }}",
    "{{ 'abcdef'[1:4] }} {{ 'abc'[::-1] }} {{ [1,2,3][-1] }} {{ [1,2,3,4,5][::2] }} {{ [1,2,3][5:] }} {{ [1,2,3][:-1] }} {{ 'x'[3] }}",
    "{% for x in range(5) if x is odd %}{{ loop.index }}:{{ x }}{% if not loop.last %},{% endif %}{% else %}none{% endfor %}",
    "{% for x in [] %}x{% else %}empty{% endfor %}{% for a, b in {'x': 1, 'y': 2}.items() %}{{ a }}={{ b }};{% endfor %}",
    "{% set x = 1 %}{% for i in range(3) %}{% set x = i %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}",
    "{% set ns = namespace(n=0) %}{% for i in range(4) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{% macro m(a, b='x') %}[{{ a }}-{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=3, a=4) }}",
    "{% set t %}block {{ 1 + 1 }}{% endset %}{{ t | upper }}|{{ ' pad ' | trim }}|{{ 'xxhixx'.strip('x') }}|{{ 'hello world' | title }} {{ 'ABC def' | capitalize }}",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc {# note #}\n  {#- gone -#}  d\n{%+ if true %} e {% endif +%}\nf\n",
    "  {{- ' x ' -}}  \n y {%- if 1 -%}  z  {%- endif -%}  \n end \n\n",
    "{{ {'b': 1, 'a': [1, 2, {'c': none}]} | tojson }} {{ {'b': 1, 'a': []} | tojson(indent=2) }} {{ 'é<>&\\u2028\"\\n' | tojson }} {{ [1.5, 1e22, 100000.0] | tojson }}",
    "{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }} {{ {'b': 1, 'a': 2} | tojson(separators=(',', ':')) }} {{ {'b': 1, 'a': 2} | dictsort }}",
    "{{ [{'r': 'u', 'c': 1}, {'r': 'a', 'c': 2}] | selectattr('r', 'equalto', 'a') | map(attribute='c') | list }} {{ ['b', 'A', 'c'] | sort | join('-') }} {{ [3, 1, 2] | sort(reverse=true) }} {{ [1, 1, 2] | unique | list }}",
    "{{ ['a', 'b'] | map('upper') | join(', ') }} {{ [1, 0, 2] | select | list }} {{ [1, 2, 3] | reject('odd') | list }} {{ [1, 2, 3] | sum }} {{ [4, 9] | max }} {{ [4, 9] | first }} {{ [4, 9] | last }}",
    "{{ x | default('d') }} {{ '' | default('e', true) }} {{ x is defined }} {{ x is none }} {{ none is none }} {{ 4 is divisibleby 2 }} {{ {} is mapping }} {{ [] is iterable and [] is not string }}",
    "{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a-b-c'.split('-', 1) }} {{ 'a.b'.replace('.', '::') }} {{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.find('c') }}",
    "{{ {'a': 1}.get('b', 5) }} {{ {'a': 1}.get('b') }} {{ {'a': {'b': 2}}.a.b }} {{ {'a': 1}['a'] }} {{ {'x': 1}.keys() | list }} {{ {'x': 1} | length }} {{ 'héé' | length }}",
    "{{ 'a\nb\n\nc' | indent(2) }}|{{ 'a\nb' | indent(2, first=true) }}|{{ '3' | int + 1 }} {{ 'x' | int }} {{ '2.5' | float }} {{ 5 | string + '!' }} {{ -3 | abs }}",
    "{{ 1 if false }}|{{ 'y' if 0 else 'n' }}|{{ (1, 2) | list }}|{{ [[1, 2], [3, 4]] | map('first') | list }}|{{ 'a' ~ 1 ~ none ~ true }}",
    "{% for m in [1,2,3] %}{{ loop.cycle('odd', 'even') }}{{ loop.revindex }}{{ loop.previtem | default('-') }}{{ loop.nextitem | default('-') }} {% endfor %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set l = [] %}{% if l.append(3) %}{% endif %}{{ l }}{% generation %}said{% endgeneration %} {{ 'a' 'b' }} {{ 1_000 }}",
]


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def refuse(message):
        raise jinja2.exceptions.TemplateError(message)

    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = NOW.strftime
    return env


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def render(env, source, values):
    try:
        return {"text": env.from_string(source).render(**values)}
    except Exception as e:
        return {"error": type(e).__name__}


def main():
    env = environment()
    golden = {"header": {"tool": "peer/golden_chat.py", "jinja2": jinja2.__version__, "date": datetime.date.today().isoformat(), "command": "python peer/golden_chat.py"}}
    golden["chats"] = CHATS
    golden["rendered"] = {}
    values = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None}
    for name in ("chatml", "headers", "calls", "roles"):
        with open(os.path.join(OUT, name + ".jinja"), newline="") as f:
            source = f.read()
        golden["rendered"][name] = {c: render(env, source, values | v) for c, v in CHATS.items()}
    golden["snippets"] = [{"source": s} | render(env, s, {}) for s in SNIPPETS]
    if len(sys.argv) > 1:
        from gguf import GGUFReader

        source = GGUFReader(sys.argv[1]).fields["tokenizer.chat_template"].contents()
        golden["smollm2"] = {c: render(env, source, values | v) for c, v in CHATS.items()}
    with open(os.path.join(OUT, "golden.json"), "w", encoding="utf-8") as f:
        json.dump(golden, f, ensure_ascii=True, indent=1)
        f.write("\n")


main()
