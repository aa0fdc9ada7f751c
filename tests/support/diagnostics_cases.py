"""Nets, images and a probe that the tests of the diagnostics share."""

import torch
from torch import nn

from aimc_robust.analysis.diagnostics import Diagnostics, DiagnosticsConfig
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.training.methods.registry import METHODS

STRENGTH = {
    "sgd": {},
    "sam": {"rho": 0.1},
    "asam": {"rho": 1.0},
    "rwp": {"sigma": 0.1},
    "m-rwp": {"sigma": 0.1},
    "array-aware": {"crossbar": Crossbar("pcm-nandakumar2019", dac=DAC(bits=6), adc=ADC(bits=6))},
}
KEYS = {
    f"{split}_{key}@{s}" for split in ("train", "test") for key in ("accuracy", "loss") for s in ("0", "0.05", "0.2")
}
KEYS |= {f"{split}_sharpness@{s}" for split in ("train", "test") for s in ("0.05", "0.2")}
KEYS |= {"train_ascent_sharpness", "test_ascent_sharpness"}
KEYS |= {"gradient_norm", "gradient_sharpness", "gradient_cosine", "full_strength_loss"}


def images(count, seed, dtype=torch.float64):
    """Images whose label a network can find, with an error here and there."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=generator)
    inputs = torch.randn(count, 1, 4, 4, generator=generator, dtype=dtype)
    inputs.flatten(1)[torch.arange(count), labels] += 1.5
    return inputs, labels


def net(dtype=torch.float64, dropout=0.3):
    """Convolution, BatchNorm, dropout, linear: each kind of state."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(1, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(80, 4)
    )
    return model.to(dtype)


def linear(dtype=torch.float64):
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).to(dtype)


def small(**changes):
    return DiagnosticsConfig(**({"sigmas": [0.05, 0.2], "draws": 2, "images": 24, "batch_size": 8} | changes))


LOSS = nn.CrossEntropyLoss(label_smoothing=0.1)


def probe(**changes):
    return Diagnostics(small(**changes), training=images(24, 0), test=images(20, 1), loss_fn=LOSS)


def method_of(name, **more):
    return METHODS[name](**STRENGTH[name], **more)
