"""Networks, images and timing functions that the speed scripts share."""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import nn

from aimc_robust.data.batches import split_batches
from aimc_robust.models.networks.resnet import cifar_resnet
from aimc_robust.models.networks.small_cnn import SmallCNN
from aimc_robust.tasks.batches import Batch


def resnet18_cifar(classes: int = 100) -> nn.Module:
    """ResNet-18 in its CIFAR form: a 3x3 first convolution of stride 1, no max-pooling; 11.2 million weights."""
    torch.manual_seed(0)
    return cifar_resnet(in_channels=3, classes=classes, depth=18)


def images(n: int, classes: int = 100) -> tuple[torch.Tensor, torch.Tensor]:
    """n random images (n, 3, 32, 32) and labels; speed does not depend on their content."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, 3, 32, 32, generator=generator), torch.randint(classes, (n,), generator=generator)


def quickstart_cnn() -> nn.Module:
    """The quickstart's network, untrained: 6 152 weights."""
    torch.manual_seed(0)
    return SmallCNN(in_channels=1, classes=10, channels=8, stages=3)


def digits(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """n images (n, 1, 8, 8) of real digits, repeated if necessary, and labels."""
    data = load_digits()
    rows = torch.arange(n) % len(data.target)
    return torch.tensor(data.images, dtype=torch.float32)[rows].unsqueeze(1) / 16.0, torch.tensor(data.target)[rows]


def network_and_images(n: int, *, small: bool) -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    """ResNet-18 with n random images; or, to try a script, the quickstart's network with n digits."""
    return (quickstart_cnn(), digits(n)) if small else (resnet18_cifar(), images(n))


def model_and_batches(description: str | None, images: int, batch: int) -> tuple[nn.Module, list[Batch], str]:
    """Parse --device and --small; return that network in evaluation mode with batches, on the device, and its name.

    A GPU, which would be idle with these, gets eight times as many images and eight times the batch.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--small", action="store_true", help="a small network, to try the script")
    options = parser.parse_args()
    if options.device != "cpu":
        images, batch = 8 * images, 8 * batch
    model, labelled = network_and_images(images, small=options.small)
    batches = [(x.to(options.device), y.to(options.device)) for x, y in split_batches(labelled, batch)]
    return model.eval().to(options.device), batches, options.device


def ratios(
    baseline: Callable[[], object], others: dict[str, Callable[[], object]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Measure the time of each other call relative to the baseline's runs directly before and after it.

    Baseline and other calls alternate, so that a drift of the machine's speed affects both.

    Args:
        baseline: The call to compare with.
        others: Name -> call.
        rounds: How often each other call is timed.
        warm_up: Call each once before timing. Not useful for whole processes.

    Returns:
        Name -> one ratio per round.
    """
    for call in [baseline, *others.values()] if warm_up else []:
        call()
    measured: dict[str, list[float]] = {name: [] for name in others}
    before = seconds(baseline)
    for _ in range(rounds):
        for name, call in others.items():
            elapsed = seconds(call)
            after = seconds(baseline)
            measured[name].append(elapsed / ((before + after) / 2))
            before = after
    return measured


def print_ratios(title: str, measured: dict[str, list[float]], limits: dict[str, float]) -> None:
    """Print one row per call: median, smallest and largest ratio, and the claim if there is one."""
    print(f"{title}\n{'':<28}{'median':>8}{'min':>8}{'max':>8}{'claim':>10}")
    for name, values in measured.items():
        median = statistics.median(values)
        claim = ""
        if name in limits:
            claim = f"  <= {limits[name]:.2f} {'holds' if median <= limits[name] else 'FAILS'}"
        print(f"{name:<28}{median:8.3f}{min(values):8.3f}{max(values):8.3f}{claim}")


def seconds(call: Callable[[], object]) -> float:
    """Time one call [s]."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
