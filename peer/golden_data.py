"""Golden pictures and values of the data room: Pillow's bilinear resize with
antialiasing and central crop, as torchvision.transforms do it on a Pillow
image, and every normalised pixel value. Writes data/testdata/golden.json.

    python peer/golden_data.py
"""
import base64
import datetime
import hashlib
import io
import json
import os

import numpy as np
import PIL
import torch
from PIL import Image

SEED = 20260802


def picture(rng, w, h):
    """Smooth shapes with some noise: like a photograph, not like a dither."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    planes = []
    for _ in range(3):
        fx, fy, p = rng.uniform(0.05, 0.35, 2).tolist() + [rng.uniform(0, 6)]
        planes.append(127 + 100 * np.sin(fx * x + fy * y + p) + rng.normal(0, 8, (h, w)))
    return Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8), "RGB")


def resize_crop(img, resize, crop):
    w, h = img.size
    if w <= h:
        nw, nh = resize, int(resize * h / w)
    else:
        nw, nh = int(resize * w / h), resize
    if (nw, nh) != (w, h):
        img = img.resize((nw, nh), Image.BILINEAR)
    top, left = int(round((nh - crop) / 2.0)), int(round((nw - crop) / 2.0))
    return img.crop((left, top, left + crop, top + crop))


def main():
    rng = np.random.default_rng(SEED)
    cases = []
    for w, h, resize, crop in [(53, 37, 16, 13), (31, 64, 20, 20), (24, 24, 24, 17), (40, 29, 29, 24), (17, 12, 30, 27)]:
        img = picture(rng, w, h)
        png = io.BytesIO()
        img.save(png, "PNG")
        out = np.asarray(resize_crop(img, resize, crop)).transpose(2, 0, 1)
        cases.append({
            "resize": resize, "crop": crop,
            "png": base64.b64encode(png.getvalue()).decode(),
            "want": base64.b64encode(np.ascontiguousarray(out).tobytes()).decode(),
        })
    norms = []
    for name, mean, std in [("imagenet", [.485, .456, .406], [.229, .224, .225]), ("fashion-mnist", [.2860], [.3530])]:
        p = torch.arange(256, dtype=torch.uint8).expand(len(mean), 256)
        x = p.to(torch.float32).div(255)  # ToTensor
        m, s = (torch.tensor(v, dtype=torch.float32)[:, None] for v in (mean, std))
        norms.append({"name": name, "sha256": hashlib.sha256(x.sub(m).div(s).contiguous().numpy().tobytes()).hexdigest()})
    out = {
        "tool": f"Pillow {PIL.__version__}, torch {torch.__version__}, numpy {np.__version__}",
        "command": "python peer/golden_data.py", "seed": SEED, "date": datetime.date.today().isoformat(),
        "folder": cases, "normalization": norms,
    }
    path = os.path.join(os.path.dirname(__file__), "..", "data", "testdata", "golden.json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump(out, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
