"""Claim: a training step of RWP costs at most 1.05 x an SGD step, one of SAM 2.05 x. Aim: single-process m-RWP 2.03 x.

    python benchmarks/speed/steps.py [--device cuda] [--batch 128] [--rounds 5]

ResNet-18 in its CIFAR form, batch 128, SGD with momentum; ratios in one run. On the CPU float32, where medians of six
runs of m-RWP were 1.99, 2.02, 2.02, 2.03, 2.03 and 2.05 x. On a GPU bfloat16 autocast, channels_last and torch.compile,
and for each method also the images per second and the fraction of the GPU's bfloat16 matrix rate (that of a large
matrix product in the same run) that its passes reach.
"""

import argparse
from collections.abc import Callable

import torch
from common import network_and_images, print_ratios, ratios, seconds
from torch import nn, optim
from torch.utils.flop_counter import FlopCounterMode

from aimc_robust import RWP, SAM, SGD, Method, MixedRWP

METHODS = {"SGD": SGD(), "RWP": RWP(sigma=0.05), "SAM": SAM(rho=0.1), "m-RWP": MixedRWP(sigma=0.05)}
LIMITS = {"RWP": 1.05, "SAM": 2.05, "m-RWP": 2.03}
LOSS = nn.CrossEntropyLoss()


class Steps:
    """Updates of one network. With `fast`: bfloat16, channels_last and compiled, as on a GPU."""

    def __init__(self, device: str, batch: int, *, fast: bool, small: bool = False) -> None:
        self.device, self.fast, self.number = device, fast, 0
        network, (inputs, labels) = network_and_images(batch, small=small)
        self.model = self.plain = network.train().to(device)
        if fast:
            self.plain.to(memory_format=torch.channels_last)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            self.model = torch.compile(self.plain)
        self.batch = inputs.to(device), labels.to(device)
        self.optimizer = optim.SGD(self.plain.parameters(), lr=1e-3, momentum=0.9)

    def gradient(self, model: nn.Module, method: Method) -> None:
        self.number += 1
        with torch.autocast(self.device, torch.bfloat16, enabled=self.fast):
            method.backward(model, LOSS, [self.batch] * method.batches_per_update, step=self.number)

    def run(self, method: Method, updates: int) -> Callable[[], None]:
        """Return a call that makes `updates` updates and waits for them."""

        def call() -> None:
            for _ in range(updates):
                self.optimizer.zero_grad()
                self.gradient(self.model, method)
                self.optimizer.step()
            wait(self.device)

        return call

    def flops(self, method: Method) -> int:
        """Floating-point operations of one update's convolutions and products, forward and backward."""
        with FlopCounterMode(display=False) as counter:
            self.gradient(self.plain, method)
        return counter.get_total_flops()


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def matrix_rate(device: str, size: int = 8192, products: int = 30) -> float:
    """Floating-point operations per second of a dense bfloat16 product, the best of five runs."""
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))

    def multiply() -> None:
        for _ in range(products):
            a @ b
        wait(device)

    multiply()
    return 2 * size**3 * products / min(seconds(multiply) for _ in range(5))


def print_rates(steps: Steps, updates: int, rounds: int, peak: float) -> None:
    """Print one row per method: images per second, and the fraction of the matrix rate `peak` that it reaches."""
    print(f"\nbfloat16 product: {peak / 1e12:.0f} TFLOP/s\n{'':<12}{'images/s':>12}{'ms/update':>12}{'of peak':>10}")
    for name, method in METHODS.items():
        call = steps.run(method, updates)
        call()
        elapsed = min(seconds(call) for _ in range(rounds)) / updates
        images_read = len(steps.batch[0]) * method.batches_per_update
        print(
            f"{name:<12}{images_read / elapsed:12.0f}{1e3 * elapsed:12.2f}{steps.flops(method) / elapsed / peak:10.1%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a small network, to try the script")
    options = parser.parse_args()
    fast = options.device != "cpu"
    updates = 50 if fast else 1  # a single step on a GPU is too short to time
    steps = Steps(options.device, options.batch, fast=fast, small=options.small)
    if fast:
        torch.backends.cudnn.benchmark = True
    calls = {name: steps.run(METHODS[name], updates) for name in LIMITS}
    measured = ratios(steps.run(METHODS["SGD"], updates), calls, rounds=options.rounds)
    print_ratios(f"one step against an SGD step, on {options.device}", measured, LIMITS)
    if fast:
        print_rates(steps, updates, options.rounds, matrix_rate(options.device))


if __name__ == "__main__":
    main()
