"""How much of a network must stay digital: accuracy over the share of weights that are, on several devices.

    python benchmarks/keep_digital.py [cifar100.npz]

Trains a small ResNet with plain SGD on 10 classes of CIFAR-100 at 16 x 16 pixels (the file of benchmarks/README.md), or
without a file on scikit-learn's digits. For each device it prints the curve of `keep_digital`, and the smallest share
of weights that brings the network to within 1 point of its digital accuracy, confirmed on other chips. About 6 minutes
on one core; docs/how-to/keep-layers-digital.md has the numbers.

LionHeart (arXiv:2401.09420) maps layers to digital or analog tiles under a threshold on accuracy too, by training runs;
this ranking takes one pass over the data.
"""

import sys

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

import aimc_robust as ar
from aimc_robust.models.networks.resnet import ResNet

CLASSES, EPOCHS, LOSS = 10, 20, 1.0  # points below the digital accuracy
DAY_S = 86400.0
CONVERTERS = {"rows": 128, "dac": ar.DAC(bits=6), "adc": ar.ADC(bits=6)}
DEVICES = {
    "rram-wan2022": (ar.Crossbar("rram-wan2022", read_noise=False), 0.0, ()),
    "rram-milo2021": (ar.Crossbar("rram-milo2021", read_noise=False), 0.0, ()),
    "PCM, 1 day, drift compensated": (ar.Crossbar("pcm-nandakumar2019", read_noise=False), DAY_S, ("drift",)),
    "sonos-agrawal2022, 6-bit converters": (ar.Crossbar("sonos-agrawal2022", **CONVERTERS), 0.0, ()),
}


def load(path):
    """(training images, labels, test images, labels) as tensors, images in [-1, 1]."""
    if path is None:
        digits = load_digits()
        images, labels = torch.tensor(digits.images / 8.0 - 1.0, dtype=torch.float32)[:, None], digits.target
        images = F.interpolate(images, 16)
        parts = images[:1200], labels[:1200], images[1200:], labels[1200:]
    else:
        file = np.load(path)
        parts = []
        for split in ("train", "test"):
            kept = file[f"y_{split}"] < CLASSES
            pixels = torch.tensor(file[f"x_{split}"][kept], dtype=torch.float32).permute(0, 3, 1, 2)
            parts += [F.avg_pool2d(pixels, 2) / 127.5 - 1.0, file[f"y_{split}"][kept]]
    return [torch.as_tensor(part) for part in parts]


def train(images, labels):
    """Train a ResNet with SGD and a cosine schedule; images are shifted and mirrored."""
    model = ResNet(in_channels=images.shape[1], classes=CLASSES, channels=16, blocks=(1, 1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * (len(images) // 64 + 1))
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(64):
            shift = torch.randint(-2, 3, (2,)).tolist()
            x = torch.roll(images[batch], shift, dims=(2, 3))
            x = x.flip(3) if images.shape[1] == 3 and torch.rand(()) < 0.5 else x
            optimizer.zero_grad()
            F.cross_entropy(model(x), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def main():
    torch.manual_seed(0)
    images, labels, test_images, test_labels = load(*(sys.argv[1:] or [None]))
    model = train(images, labels)
    digital = ar.evaluate(model, (test_images, test_labels), None).mean
    print(f"digital: {digital:.2f} % ({len(test_images)} images)")
    for name, (crossbar, time_s, compensation) in DEVICES.items():
        ranges = ar.calibrate(model, crossbar, [images[:256]]) if crossbar.periphery.needs_calibration else None
        deployment = ar.Deployment(ranges=ranges, compensation=compensation)
        options = {"time_s": time_s, "deployment": deployment, "chips": 10}
        kept = ar.keep_digital(model, (test_images, test_labels), crossbar, required=digital - LOSS, **options)
        print(f"\n{name}\n{kept.curve.round(2).to_string(index=False)}\n{kept.sentence}\n{', '.join(kept.layers)}")


if __name__ == "__main__":
    main()
