"""Makes text/testdata with packages tokenizers and sentencepiece.

    python peer/golden_tokenizers.py SHARED [MINILM_FOLDER SMOLLM2_GGUF]

SHARED is the development data folder. Small tokenizers of every kind are
trained on its text and written as they are; golden.json has, for each, the ids,
offsets and decoded text of the samples in this file. ../bert_tables.go holds the
reference's classes of characters. For the real MiniLM and SmolLM2 tokenizers, which are too large to keep here, real.json has the ids of
the same samples and checksums of the ids of whole texts.
"""
import datetime
import hashlib
import json
import os
import random
import re
import struct
import sys
import tempfile

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SEED = 20260117
OUT = os.path.join(os.path.dirname(__file__), "..", "text", "testdata")
SHARED = sys.argv[1]

SAMPLES = [
    "", " ", "\n", "a", "Hello, world!", "  two  spaces   three ", "tabs\tand\r\nlines\n\n\nend\n ",
    "It's we're I'VE they'Ll don't 'tis 's 'S 'ſ rock'n'roll o'clock",
    "1234567 3.14159 1,000,000 0x1F ½ ² Ⅷ ٣٤٥ 12ab34",
    "Ünïcödé naïve café İstanbul ıI ẞß ÅÅ ﬁ ﬂ Ǆ", "e\u0301 o\u0308\u0323 n\u0303a \u0301leading a\u0315\u0300\u05ae\u0301b",
    "日本語のテキストと中文字符，以及한국어 텍스트。𠀀𠀁", "😀😃 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪", "Привет, мир! Ελληνικά σίγμας ΣΑΣ שָׁלוֹם مرحبا ١٢٣ हिन्दी ไทย",
    "null\x00bell\x07del\x7f nbsp\u00a0zwsp\u200bzwj\u200d bom\ufeff rlo\u202e soft\u00adhyphen fffd\ufffd pua\ue000 vt\x0b ff\x0c nel\x85 ls\u2028 ps\u2029",
    "x\u3000ideographic\u2003em\u2009thin\u1680ogham space", "func main() {\n\tfmt.Println(\"hi\", x[1:2], a<<3, !b) // ok\n}\n",
    "https://example.org/a?b=c&d=%20#frag user@mail.example", "snake_case camelCase SHOUTING_CASE kebab-case",
    "[CLS] special [SEP] tokens [MASK] [UNK] [pad]", "<s> begin </s> <unk> <|endoftext|> <|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|><|endoftext|>x <|endoftext|> y", "▁already▁marked ▁ text", "#hash ##hash ### ## a##b", "…—–“quotes”‘single’«guillemets»",
    "a" * 150, "ab" * 200 + " " + "é" * 101, "!?" * 60, " \n \n  \n x", "\r\n\r\nword\r", "x  \n  y", "don't.stop,now;please:ok?yes!no", "ﷺ ㎏ ① ｆｕｌｌ ｗｉｄｔｈ",
    "\u1e9b\u0323 \u212b \uac00\u11a8 \u1100\u1161 가각", "$100 €50 £20 ¥3 + = ~ ^ ` | < >", "trailing space ",
]


def random_samples(rng):
    blocks = [(0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x600), (0x900, 0xA00), (0x2000, 0x2070),
              (0x20A0, 0x2200), (0x3000, 0x3100), (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0xFE00, 0xFF60), (0x1F300, 0x1F650), (9, 14)]
    for _ in range(30):
        s = ""
        for _ in range(rng.randrange(1, 14)):
            lo, hi = rng.choice(blocks)
            s += "".join(chr(rng.randrange(lo, hi)) for _ in range(rng.randrange(1, 6)))
            s += rng.choice(["", "", " ", "  ", "\n"])
        yield s


def read(*name):
    with open(os.path.join(SHARED, "data", "text", *name), encoding="utf-8") as f:
        return f.read()


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CHAT = [AddedToken(s, special=True) for s in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]


def byte_level(corpus, pattern=None, digits=False, nfc=False, whole=False, prefix=False):
    t = Tokenizer(models.BPE(ignore_merges=whole))
    stages = []
    if digits:
        stages.append(pre_tokenizers.Digits(individual_digits=True))
    if pattern:
        stages.append(pre_tokenizers.Split(Regex(pattern), "isolated", invert=False))
    stages.append(pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=not pattern))
    t.pre_tokenizer = pre_tokenizers.Sequence(stages) if len(stages) > 1 else stages[0]
    if nfc:
        t.normalizer = normalizers.NFC()
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False))
    t.add_special_tokens(CHAT)
    t.add_tokens([AddedToken("  \n", normalized=True), AddedToken("lstrip", lstrip=True, normalized=False), AddedToken("ord", single_word=True, normalized=False)])
    return t


def bert(corpus, lower=True):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=lower)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    t.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=900, special_tokens=special, show_progress=False))
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return t


def llama(corpus, scheme=None):
    """BPE with byte fallback over characters: a prepended mark, or the metaspace stage."""
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=1000, special_tokens=special, limit_alphabet=70, show_progress=False))
    j = json.loads(t.to_str())
    j["added_tokens"] = j["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(j))
    if scheme:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
        t.decoder = decoders.Metaspace(prepend_scheme=scheme)
    else:
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.pre_tokenizer = None
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    return t


def unigram(corpus):
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(corpus, trainers.UnigramTrainer(vocab_size=700, unk_token="<unk>", special_tokens=["<unk>", "</s>"], show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return t


def byte_offsets(text, spans):
    at = [0]
    for c in text:
        at.append(at[-1] + len(c.encode("utf-8")))
    return [x for a, b in spans for x in (at[a], at[b])]


def answers(t, samples):
    out = []
    for i, s in enumerate(samples):
        e = t.encode(s)
        a = {"ids": e.ids, "decoded": t.decode(e.ids, skip_special_tokens=False), "plain": t.decode(e.ids)}
        if i < len(SAMPLES):
            a["offsets"] = byte_offsets(s, e.offsets)
        out.append(a)
    return out


def pairs(t, samples):
    out = []
    for a, b, n in [(4, 8, 12), (16, 11, 30), (7, 1, 9), (3, 7, 10)]:
        t.enable_truncation(n)
        e = t.encode(samples[a], samples[b])
        out.append({"a": a, "b": b, "max": n, "ids": e.ids, "types": e.type_ids})
        t.no_truncation()
    return out


def digest(ids):
    return hashlib.sha256(b"".join(struct.pack("<i", i) for i in ids)).hexdigest()


def file_digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def whole(t):
    texts = {n: read(n + ".txt") for n in ("wikitext2-valid", "tinyshakespeare")}
    return {n: digest(t.encode(s, add_special_tokens=False).ids) for n, s in texts.items()}


def spm(corpus):
    with tempfile.TemporaryDirectory() as d:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus), model_prefix=os.path.join(d, "m"), vocab_size=700, model_type="bpe",
            byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
            user_defined_symbols=["<user>", "▁▁"], character_coverage=0.99, minloglevel=2, num_threads=1)
        p = sentencepiece.SentencePieceProcessor(model_file=os.path.join(d, "m.model"))
    kinds = [2 if p.is_unknown(i) else 3 if p.is_control(i) else 6 if p.is_byte(i) else 4 if p.id_to_piece(i) in ("<user>", "▁▁") else 1
             for i in range(p.get_piece_size())]
    table = {"tokens": [p.id_to_piece(i) for i in range(len(kinds))], "scores": [p.get_score(i) for i in range(len(kinds))], "types": kinds}
    return p, table


def llama2c(path):
    """The algorithm of llama2.c's encode(), as its text says it: best pair first."""
    with open(path, "rb") as f:
        f.read(4)
        table = []
        while head := f.read(8):
            score, n = struct.unpack("<fi", head)
            table.append((f.read(n), score))
    ids = {b: i for i, (b, _) in enumerate(table)}

    def encode(s):
        out = [1]
        if s:
            out.append(ids[b" "])
        for c in s:
            b = c.encode("utf-8")
            out += [ids[b]] if b in ids else [x + 3 for x in b]
        while True:
            best = (-1e10, None, None)
            for i in range(len(out) - 1):
                k = ids.get(table[out[i]][0] + table[out[i + 1]][0])
                if k is not None and table[k][1] > best[0]:
                    best = (table[k][1], k, i)
            if best[1] is None:
                return out
            out[best[2] : best[2] + 2] = [best[1]]

    return encode


def smollm2(path):
    from gguf import GGUFReader

    r = GGUFReader(path)
    get = lambda k: r.fields["tokenizer.ggml." + k].contents()
    tokens, merges, types = get("tokens"), get("merges"), get("token_type")
    vocab = {s: i for i, s in enumerate(tokens)}
    t = Tokenizer(models.BPE(vocab=vocab, merges=[tuple(m.split(" ")) for m in merges]))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=True)
    t.add_special_tokens([AddedToken(tokens[i], special=True, normalized=False) for i, k in enumerate(types) if k == 3])
    return t


def ranges(holds):
    out = []
    for c in range(1, 0x110000):
        if 0xD800 <= c < 0xE000 or not holds(chr(c)):
            continue
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def bert_tables():
    """The reference's tables are of Unicode 8 or so: newer characters count as neither."""
    none = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    accents = normalizers.BertNormalizer(**none | {"strip_accents": True})
    clean = normalizers.BertNormalizer(**none | {"clean_text": True})
    cut = pre_tokenizers.BertPreTokenizer()
    tables = {
        "bertMarks": ("are taken away as accents", lambda c: accents.normalize_str("a" + c + "b") == "ab"),
        "bertControls": ("are taken away as control characters", lambda c: clean.normalize_str("a" + c + "b") == "ab"),
        "bertPunctuation": ("are words of their own", lambda c: len(cut.pre_tokenize_str("a" + c + "b")) == 3),
    }
    with open(os.path.join(OUT, "..", "bert_tables.go"), "w") as f:
        f.write("// Code generated by peer/golden_tokenizers.py from tokenizers %s. DO NOT EDIT.\n\npackage text\n" % tokenizers.__version__)
        for name, (what, holds) in tables.items():
            f.write("\n// %s are the characters that %s.\nvar %s = runeRanges{\n" % (name, what, name))
            rows = ["{0x%04X, 0x%04X}," % tuple(r) for r in ranges(holds)]
            for i in range(0, len(rows), 6):
                f.write("\t" + " ".join(rows[i : i + 6]) + "\n")
            f.write("}\n")


def save(name, value):
    with open(os.path.join(OUT, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


def main():
    os.makedirs(OUT, exist_ok=True)
    rng = random.Random(SEED)
    samples = SAMPLES + list(random_samples(rng))
    corpus = [l for l in (read("wikitext2-valid.txt")[:400000] + "".join(SAMPLES)).split("\n")]
    corpus += [l for s in SAMPLES for l in (s, s)]
    bert_tables()
    head = {
        "tool": "peer/golden_tokenizers.py", "tokenizers": tokenizers.__version__, "sentencepiece": sentencepiece.__version__,
        "seed": SEED, "date": datetime.date.today().isoformat(), "command": "python peer/golden_tokenizers.py SHARED MINILM SMOLLM2",
    }
    made = {
        "gpt2": byte_level(corpus), "smollm": byte_level(corpus, digits=True), "llama3": byte_level(corpus, CL % "{1,3}", whole=True),
        "qwen2": byte_level(corpus, CL % "", nfc=True), "o200k": byte_level(corpus, O200K), "prefixed": byte_level(corpus, prefix=True),
        "bert": bert(corpus), "cased": bert(corpus, lower=False), "llama": llama(corpus), "metaspace": llama(corpus, "first"), "unigram": unigram(corpus),
    }
    golden = {"header": head, "samples": samples, "answers": {}, "pairs": {}}
    for name, t in made.items():
        t.save(os.path.join(OUT, name + ".json"), pretty=False)
        golden["answers"][name] = answers(t, samples)
        if name in ("bert", "unigram", "llama"):
            golden["pairs"][name] = pairs(t, samples)
    p, table = spm(corpus)
    golden["spm"] = table
    golden["answers"]["spm"] = [{"ids": (i := p.encode(s)), "decoded": p.decode(i)} for s in samples]
    encode = llama2c(os.path.join(SHARED, "models", "llm", "stories260K", "tok512.bin"))
    golden["answers"]["tok512"] = [{"ids": encode(s)} for s in samples] + [{"ids": encode(read("tinystories-sample.txt")[:1500])}]
    save("golden.json", golden)
    if len(sys.argv) > 3:
        minilm, smol = Tokenizer.from_file(os.path.join(sys.argv[2], "tokenizer.json")), smollm2(sys.argv[3])
        minilm.no_truncation()
        minilm.no_padding()
        real = {"header": head, "files": {"minilm": file_digest(os.path.join(sys.argv[2], "tokenizer.json")), "smollm2": file_digest(sys.argv[3])}}
        for name, t in (("minilm", minilm), ("smollm2", smol)):
            real[name] = {"samples": [t.encode(s).ids for s in samples], "whole": whole(t)}
        save("real.json", real)


main()
