"""Gradients, noises and scales written out by hand in float64; nothing here calls a method or a weight noise."""

import math

import torch
from support.training_examples import Batch, conv_net, digit_batches, gradients_of
from torch import Tensor, nn

from aimc_robust import random_numbers
from aimc_robust.seeding import Axes

LOSS = nn.CrossEntropyLoss()
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
ANALOG = ("0.weight", "6.weight")


def net() -> nn.Sequential:
    """The small net in float64, the same at every call."""
    return conv_net(dtype=torch.float64)


def weights() -> dict[str, Tensor]:
    """Its parameters by name."""
    return {name: p.detach() for name, p in net().named_parameters()}


def batches(count: int = 1, size: int = 32) -> list[Batch]:
    """`count` batches of different digits in float64."""
    return digit_batches(count, size=size, dtype=torch.float64)


def gradient_at(values: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """grad L_B at the given weights."""
    model = net()
    model.load_state_dict(values, strict=False)
    inputs, targets = batch
    LOSS(model(inputs), targets).backward()
    return gradients_of(model)


def loss_at(values: dict[str, Tensor], batch: Batch) -> float:
    """L_B at the given weights."""
    model = net()
    model.load_state_dict(values, strict=False)
    return LOSS(model(batch[0]), batch[1]).item()


def mix(*terms: tuple[float, dict[str, Tensor]]) -> dict[str, Tensor]:
    """The sum of shares of gradients."""
    return {name: sum(share * gradient[name] for share, gradient in terms) for name in terms[0][1]}


def check(method, expected: dict[str, Tensor], given: list[Batch] | None = None, *, step: int = 1) -> None:
    """Compare what a method leaves in p.grad; `given`: its batches."""
    model = net()
    method.backward(model, LOSS, given or batches(method.batches_per_update), step=step)
    for name, gradient in gradients_of(model).items():
        torch.testing.assert_close(gradient, expected[name], **CLOSE)


def scale_of(weight: Tensor, scale: str) -> Tensor:
    """What sigma multiplies: per filter (dimension 0), per layer, or 1; a tensor of one dimension is one filter."""
    rows = list(weight) if weight.ndim > 1 else [weight]
    each = {
        "filter_max": [float(row.abs().max()) for row in rows],
        "filter_norm": [math.sqrt(float((row**2).sum())) for row in rows],
        "layer_max": [float(weight.abs().max())] * len(rows),
        "absolute": [1.0] * len(rows),
    }[scale]
    return torch.stack([torch.full_like(row, value) for row, value in zip(rows, each, strict=True)]).view_as(weight)


def unit_noise(name: str, weight: Tensor, *, seed: int, step: int, draw: int = 0, laplace: bool = False) -> Tensor:
    """The standard noise of one parameter: its layer's name, the step and the draw are its axes."""
    axes = {"use": "training", "step": step, "layer": name.removesuffix(".weight")} | ({"draw": draw} if draw else {})
    distribution = random_numbers.laplace if laplace else random_numbers.normal
    return distribution(Axes(seed).at(**axes), weight.float()).double()


def noisy(
    sigma: float, *, scale: str = "filter_max", moved=ANALOG, strength: float = 1.0, **draw_of
) -> dict[str, Tensor]:
    """All weights, those in `moved` with noise of standard deviation strength * sigma * scale."""
    return {
        name: w + (strength * sigma * scale_of(w, scale) * unit_noise(name, w, **draw_of) if name in moved else 0.0)
        for name, w in weights().items()
    }


def ascended(rho: float, batch: Batch, *, norm_over=ANALOG, eta: float | None = None) -> dict[str, Tensor]:
    """w + rho T^2 g / ||T g||, T = |w| + eta, or 1 without eta: for SAM and its adaptive kin."""
    gradient = gradient_at(weights(), batch)
    sizes = {name: torch.ones_like(w) if eta is None else w.abs() + eta for name, w in weights().items()}
    norm = math.sqrt(sum(float((sizes[name] * gradient[name]).square().sum()) for name in norm_over))
    return {
        name: w + (rho / norm * sizes[name] ** 2 * gradient[name] if name in ANALOG else 0.0)
        for name, w in weights().items()
    }
