"""Claim: a training step of RWP costs at most 1.05 x an SGD step, one of SAM or single-process m-RWP 2.05 x.

    python benchmarks/speed/steps.py [--device cuda] [--batch 128] [--rounds 5]

ResNet-18 in its CIFAR form, batch 128, SGD with momentum; ratios in one run. On the CPU float32. On a GPU bfloat16
autocast, channels_last and torch.compile, and for each method also the images that it reads per second and the share
of the GPU's bfloat16 matrix rate (of a large product, in the same run) at which its passes run.
"""

import argparse
from collections.abc import Callable

import torch
from common import images, print_ratios, ratios, resnet18_cifar, seconds
from torch import nn, optim
from torch.utils.flop_counter import FlopCounterMode

from aimc_robust import RWP, SAM, SGD, Method, MixedRWP

METHODS = {"SGD": SGD(), "RWP": RWP(sigma=0.05), "SAM": SAM(rho=0.1), "m-RWP": MixedRWP(sigma=0.05)}
LIMITS = {"RWP": 1.05, "SAM": 2.05, "m-RWP": 2.05}
LOSS = nn.CrossEntropyLoss()


class Steps:
    """Updates of one network. fast: as one would train on a GPU."""

    def __init__(self, device: str, batch: int, *, fast: bool) -> None:
        self.device, self.fast, self.number = device, fast, 0
        self.plain = resnet18_cifar().train().to(device)
        self.model, (inputs, labels) = self.plain, images(batch)
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
        """A call that makes so many updates and waits for them."""

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
    """A row per method: images per second, and how much of the matrix rate `peak` its passes reach."""
    print(f"\nbfloat16 product: {peak / 1e12:.0f} TFLOP/s\n{'':<12}{'images/s':>12}{'ms/update':>12}{'of peak':>10}")
    for name, method in METHODS.items():
        call = steps.run(method, updates)
        call()
        taken = min(seconds(call) for _ in range(rounds)) / updates
        read = len(steps.batch[0]) * method.batches_per_update
        print(f"{name:<12}{read / taken:12.0f}{1e3 * taken:12.2f}{steps.flops(method) / taken / peak:10.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    fast = options.device != "cpu"
    updates = 50 if fast else 1  # a GPU's step is too short to be timed alone
    steps = Steps(options.device, options.batch, fast=fast)
    if fast:
        torch.backends.cudnn.benchmark = True
    calls = {name: steps.run(METHODS[name], updates) for name in LIMITS}
    found = ratios(steps.run(METHODS["SGD"], updates), calls, rounds=options.rounds)
    print_ratios(f"one step against an SGD step, on {options.device}", found, LIMITS)
    if fast:
        print_rates(steps, updates, options.rounds, matrix_rate(options.device))


if __name__ == "__main__":
    main()
