"""Makes load/testdata: a small network's state_dict as torch.save writes it.

The network is convolution, batch norm, linear, wrapped in DataParallel (names
begin with "module.") and saved below "state_dict" beside an epoch number, as
training scripts do. Run in the module's root: python peer/golden_load.py
"""

import datetime
import json
import os

import torch

SEED = 3
OUT = "load/testdata"


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(4)
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.bn1(self.conv1(x))).mean((2, 3)))


def main():
    os.makedirs(OUT, exist_ok=True)
    torch.manual_seed(SEED)
    net = torch.nn.DataParallel(Tiny())
    net.train()
    net.module(torch.randn(8, 1, 6, 6))  # moves the running statistics
    net.eval()
    with torch.no_grad():
        x = torch.arange(36, dtype=torch.float32).reshape(1, 1, 6, 6) / 36
        logits = net.module(x)[0]
    state = {"epoch": 7, "state_dict": net.state_dict()}
    torch.save(state, f"{OUT}/tiny.pth")
    torch.save(state, f"{OUT}/tiny.th", _use_new_zipfile_serialization=False)
    with open(f"{OUT}/tiny.json", "w") as f:
        json.dump({
            "tool": "PyTorch", "version": torch.__version__, "seed": SEED, "date": datetime.date.today().isoformat(),
            "command": "python peer/golden_load.py",
            "what": "logits of tiny.pth and tiny.th for the input i/36, i = 0..35, as [1 1 6 6]",
            "logits": logits.tolist(),
        }, f, indent=1)
        f.write("\n")


main()
