#!/usr/bin/env python3
"""Reduces made screens with Pillow and OpenCV, for rl/testdata.

The screen of a seed is blocks of 8 x 6 pixels, three bytes of the generator
x = 1664525 x + 1013904223 mod 2^32 (x >> 24) each, so that the Go test makes it itself.

    area      first byte of each pixel, 210 x 160 -> 84 x 84, cv2.INTER_AREA
    triangle  the same, rows 35..194, -> 80 x 80, Pillow's BILINEAR (antialiased)
    point     the same, all rows, -> 84 x 84, cv2.INTER_LINEAR (not antialiased)
    baby      mean of the three bytes, rows 35..194, stretched to 0..255 with
              halves rounded up, -> 80 x 80, Pillow's BILINEAR

    pip install numpy pillow opencv-python-headless
    python peer/golden_atari_screen.py > rl/testdata/atari_screen.json
"""

import base64
import json
import zlib

import cv2
import numpy as np
import PIL
from PIL import Image


def screen(seed):
    x, out = seed, np.zeros((35, 20, 3), np.uint8)
    for i in range(out.size):
        x = (1664525 * x + 1013904223) & 0xFFFFFFFF
        out.reshape(-1)[i] = x >> 24
    return np.repeat(np.repeat(out, 6, 0), 8, 1)


def pack(a):
    return base64.b64encode(zlib.compress(np.ascontiguousarray(a).tobytes(), 9)).decode()


cases = []
for seed in (1, 2):
    rgb = screen(seed)
    one = np.ascontiguousarray(rgb[:, :, 0])
    crop = rgb[35:195].astype(np.float64).mean(axis=2)
    lo, hi = crop.min(), crop.max()
    stretched = ((crop - lo) * (255.0 / (hi - lo)) + 0.5).astype(np.uint8)
    cases.append(dict(
        seed=seed,
        area=pack(cv2.resize(one, (84, 84), interpolation=cv2.INTER_AREA)),
        triangle=pack(Image.fromarray(np.ascontiguousarray(one[35:195])).resize((80, 80), Image.BILINEAR)),
        point=pack(cv2.resize(one, (84, 84), interpolation=cv2.INTER_LINEAR)),
        baby=pack(Image.fromarray(stretched).resize((80, 80), Image.BILINEAR)),
    ))
print(json.dumps(dict(
    tool="opencv %s, Pillow %s" % (cv2.__version__, PIL.__version__), numpy=np.__version__,
    command="python peer/golden_atari_screen.py > rl/testdata/atari_screen.json", date="2026-11-23", cases=cases,
), indent=1))
