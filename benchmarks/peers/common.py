"""Data, network, training loop and tables that the scripts against peers share."""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import aimc_robust as ar
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.paired_difference import paired_difference

BATCH = 64
Split = tuple[Tensor, Tensor]
Step = Callable[[Tensor, Tensor, int], None]
"""Compute the gradients of a batch (images, labels) in update `step`, counted from 1."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the options that both scripts have: the data, and the size of the trainings."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--images", type=int, default=10000)
    options.add_argument("--epochs", type=int, default=6)
    return options


def load(path: Path, training: int, testing: int) -> tuple[Split, Split]:
    """Return the first images of an .npz as (N, 1, 28, 28) in 0 to 1, with labels: training and test split."""
    arrays = np.load(path)

    def split(name: str, count: int) -> Split:
        images = torch.tensor(arrays[f"x_{name}"][:count]).float().reshape(-1, 1, 28, 28) / 255
        return images, torch.tensor(arrays[f"y_{name}"][:count]).long()

    return split("train", training), split("test", testing)


def small_cnn(seed: int) -> nn.Sequential:
    """The network of CrossSim's tutorial (ISCA 2024, part 3): 7018 parameters for images of 28 x 28."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(576, 10),
    )


def train(optimizer: torch.optim.Optimizer, step: Step, data: Split, *, epochs: int, seed: int) -> float:
    """Train with the batches of `seed` and a cosine learning rate; return the processor time per update [s]."""
    images, labels = data
    order = torch.Generator().manual_seed(seed)
    updates = epochs * (len(labels) // BATCH)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    start, update = time.process_time(), 0
    for _ in range(epochs):
        for batch in torch.randperm(len(labels), generator=order)[: updates // epochs * BATCH].split(BATCH):
            update += 1
            optimizer.zero_grad()
            step(images[batch], labels[batch], update)
            optimizer.step()
            scheduler.step()
    return (time.process_time() - start) / updates


def train_ours(
    method: ar.Method, data: Split, *, epochs: int, seed: int, lr: float, clipping: ar.WeightClipping | None = None
) -> tuple[nn.Module, float]:
    """Train the network with one of our methods; return it and the processor time per update [s]."""
    model = small_cnn(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    if clipping is not None:
        optimizer.register_step_post_hook(lambda *_: clipping.apply(model))

    def step(images: Tensor, labels: Tensor, update: int) -> None:
        method.backward(model, cross_entropy, [(images, labels)], step=update)

    return model, train(optimizer, step, data, epochs=epochs, seed=seed)


def print_table(title: str, estimates: dict[str, Estimate], seconds: dict[str, Sequence[float]]) -> None:
    """Print means with their intervals over models, differences from the first row, and times of an update."""
    baseline, first = next(iter(estimates.values())), statistics.mean(next(iter(seconds.values())))
    print(f"{title}\n{'':<34}{'accuracy [%]':>22}{'sd of chips':>13}{'difference':>24}{'step':>9}")
    for name, estimate in estimates.items():
        mean = f"{estimate.mean:.2f} [{estimate.ci[0]:.2f}, {estimate.ci[1]:.2f}]"
        difference = ""
        if estimate is not baseline:
            found = paired_difference(estimate, baseline)
            difference = f"{found.mean:+.2f} [{found.ci[0]:.2f}, {found.ci[1]:.2f}]"
        ratio = statistics.mean(seconds[name]) / first
        print(f"{name:<34}{mean:>22}{estimate.sd_noise:>13.2f}{difference:>24}{ratio:>8.1f}x")
