"""Compares logits of the float engine with those of the integer engine, before a
change and after it, on CIFAR-10's test images.

usage: equal_predictions.py NAME=FLOAT:BEFORE:AFTER ...

Files are those of `lowbit eval --logits` with --engine float and integer; BEFORE by
an earlier build, AFTER by this one. Prints one JSON line for each name: the shares of
equal predictions, and the mean and the largest difference of a logit in units of the
largest.
"""

import json
import sys

import numpy as np
from safetensors.numpy import load_file


def main():
    for arg in sys.argv[1:]:
        name, files = arg.split("=")
        want, before, after = (load_file(f)["logits"] for f in files.split(":"))
        line = {"name": name, "examples": len(want)}
        for when, got in (("before", before), ("after", after)):
            d = np.abs(got - want) / np.abs(want).max()
            line[when] = {
                "equal_predictions": float((got.argmax(1) == want.argmax(1)).mean()),
                "mean_difference": float(d.mean()), "max_difference": float(d.max()),
            }
        print(json.dumps(line), flush=True)


main()
