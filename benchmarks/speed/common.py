"""What the speed scripts share: the network of the claims, and ratios measured side by side."""

import statistics
import time
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import nn
from torchvision.models import resnet18

from aimc_robust.models.networks.small_cnn import SmallCNN


def resnet18_cifar(classes: int = 100) -> nn.Module:
    """ResNet-18 in its CIFAR form: a 3x3 first convolution of stride 1, no max-pooling; 11.2 million weights."""
    torch.manual_seed(0)
    model = resnet18(num_classes=classes)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def images(n: int, classes: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    """n random images (n, 3, 32, 32) and labels: speed does not depend on what they show."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, 32, 32, generator=generator), torch.randint(classes, (n,), generator=generator)


def quickstart_cnn() -> nn.Module:
    """The quickstart's network, untrained: 6 152 weights."""
    torch.manual_seed(0)
    return SmallCNN(in_channels=1, classes=10, channels=8, stages=3)


def digits(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """n images (n, 1, 8, 8) of real digits, repeated as often as it takes, and labels."""
    found = load_digits()
    rows = torch.arange(n) % len(found.target)
    return torch.tensor(found.images, dtype=torch.float32)[rows].unsqueeze(1) / 16.0, torch.tensor(found.target)[rows]


def ratios(
    baseline: Callable[[], object], others: dict[str, Callable[[], object]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Time of each other call over the baseline's mean of the runs just before and after it, `rounds` times.

    Baseline and others alternate, so that a machine whose speed drifts cannot favour one of them. warm_up: call each
    once before; whole processes have nothing to warm.
    """
    for call in [baseline, *others.values()] if warm_up else []:
        call()
    found: dict[str, list[float]] = {name: [] for name in others}
    before = seconds(baseline)
    for _ in range(rounds):
        for name, call in others.items():
            taken = seconds(call)
            after = seconds(baseline)
            found[name].append(taken / ((before + after) / 2))
            before = after
    return found


def print_ratios(title: str, found: dict[str, list[float]], limits: dict[str, float]) -> None:
    """A row per call: median, least and greatest ratio, and the claim where there is one."""
    print(f"{title}\n{'':<28}{'median':>8}{'min':>8}{'max':>8}{'claim':>10}")
    for name, values in found.items():
        median = statistics.median(values)
        claim = ""
        if name in limits:
            claim = f"  <= {limits[name]:.2f} {'holds' if median <= limits[name] else 'FAILS'}"
        print(f"{name:<28}{median:8.3f}{min(values):8.3f}{max(values):8.3f}{claim}")


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
