"""Makes eval/testdata/metrics.json with scipy and scikit-learn.

    python peer/golden_metrics.py

SQuAD's two measures are computed here as its paper defines them.
"""
import collections
import datetime
import json
import os
import re
import string

import numpy as np
import scipy
import scipy.stats
import sklearn
import sklearn.metrics

SEED = 20260117
OUT = os.path.join(os.path.dirname(__file__), "..", "eval", "testdata", "metrics.json")

ANSWERS = [
    ("Denver Broncos", ["Denver Broncos", "The Denver Broncos"]), ("the Broncos!", ["Broncos"]), ("in 1066", ["1066", "the year 1066"]),
    ("", ["nothing"]), ("the", ["a"]), ("a cat and a cat", ["cat dog cat"]), ("naïve café", ["Naïve  Café."]), ("U.S.", ["US", "United States"]),
    ("twenty-one", ["twenty one"]), ("an apple a day", ["apple day the"]), ("other", ["answer", "an other"]),
]


def normal(s):
    s = "".join(c for c in s.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", s).split()


def f1(got, want):
    got, want = normal(got), normal(want)
    if not got or not want:
        return float(got == want)
    same = sum((collections.Counter(got) & collections.Counter(want)).values())
    if same == 0:
        return 0.0
    p, r = same / len(got), same / len(want)
    return 2 * p * r / (p + r)


def main():
    rng = np.random.default_rng(SEED)
    lists = []
    for n, ties in [(2, 0), (10, 0), (50, 0), (200, 5), (37, 2)]:
        x = rng.standard_normal(n)
        y = 0.6 * x + rng.standard_normal(n)
        if ties:
            x, y = np.round(x * ties) / ties, np.round(y * ties) / ties
        lists.append({"x": x.tolist(), "y": y.tolist(), "pearson": float(scipy.stats.pearsonr(x, y).statistic), "spearman": float(scipy.stats.spearmanr(x, y).statistic)})
    classes = []
    for n, p in [(1, 0.5), (20, 0.5), (300, 0.2), (50, 1.0)]:
        y = (rng.random(n) < p).astype(int)
        z = np.where(rng.random(n) < 0.8, y, 1 - y)
        classes.append({"predicted": z.tolist(), "labels": y.tolist(), "accuracy": float(sklearn.metrics.accuracy_score(y, z)),
                        "f1": float(sklearn.metrics.f1_score(y, z, zero_division=0)), "matthews": float(sklearn.metrics.matthews_corrcoef(y, z))})
    answers = [{"answer": a, "accepted": w, "exact": max(float(normal(a) == normal(x)) for x in w), "f1": max(f1(a, x) for x in w)} for a, w in ANSWERS]
    header = {"tool": "peer/golden_metrics.py", "scipy": scipy.__version__, "sklearn": sklearn.__version__, "seed": SEED,
              "command": "python peer/golden_metrics.py", "date": datetime.date.today().isoformat()}
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "w") as f:
        json.dump({"header": header, "lists": lists, "classes": classes, "answers": answers}, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


main()
