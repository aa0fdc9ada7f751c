"""What the tests of evaluation share: a small net, images that it labels right, and a crossbar with every error."""

import functools

import torch
from torch import nn

from aimc_robust import ADC, DAC, Crossbar, Deployment, Parasitics, calibrate
from aimc_robust.data.batches import split_batches
from aimc_robust.seeding import global_seed

CLASSES = 7


def net(seed: int = 0, classes: int = CLASSES) -> nn.Sequential:
    """Convolution, BatchNorm with statistics of its own, and two linear layers, in evaluation mode."""
    with global_seed(seed):
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64, 16),
            nn.ReLU(),
            nn.Linear(16, classes),
        )
        model.train()(torch.randn(50, 1, 6, 6))
    return model.eval()


def images(n: int = 120) -> torch.Tensor:
    return torch.randn(n, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def batches(n: int = 120, size: int = 50) -> list:
    """Images labelled by the net itself, so that errors have an accuracy to lose."""
    with torch.no_grad():
        return split_batches((images(n), net()(images(n)).argmax(1)), size)


@functools.cache
def everything() -> Crossbar:
    """Programming error, drift, read noise, stuck cells, clipping, rounding, IR drop, converters and output noise."""
    return Crossbar(
        "pcm-nandakumar2019",
        dac=DAC(bits=5),
        adc=ADC(bits=6),
        output_noise=0.1,
        cell_bits=4,
        weight_percentile=0.99,
        stuck=(0.01, 0.01),
        mapping="two-sided",
        rows=20,
        parasitics=Parasitics(row_ohm=150.0, column_ohm=150.0),
    )


@functools.cache
def deployed() -> Deployment:
    """The deployment of the net on `everything`: calibrated converter ranges."""
    return Deployment(ranges=calibrate(net(), everything(), [images()]))


def margin(outputs, labels):
    """A metric: the mean output of the right class."""
    return outputs.gather(1, labels[:, None]).mean()
