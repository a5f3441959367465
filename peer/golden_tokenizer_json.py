"""The ids that package tokenizers gives with a tokenizer.json that lowbit translated.

lowbit export --model stories260K.bin --to safetensors --out FOLDER
python3 golden_tokenizer_json.py FOLDER   (needs tokenizers)
"""
import hashlib, json, pathlib, sys
from tokenizers import Tokenizer

path = pathlib.Path(sys.argv[1]) / "tokenizer.json"
samples = ["Once upon a time, Lily's cat\n\nsaw 3 birds.", "  na\u00efve \u4f60\u597d \U0001f642", "", " a  b\tc"]
t = Tokenizer.from_file(str(path))
encoded = [t.encode(s).ids for s in samples]
out = {
    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    "samples": samples,
    "ids": encoded,
    "decoded": [t.decode(i) for i in encoded],
}
target = pathlib.Path(__file__).parent.parent / "internal/cli/testdata/export_tokenizer.json"
target.write_text(json.dumps(out, indent=1) + "\n")
