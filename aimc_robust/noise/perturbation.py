"""Perturb a model's weights in place and put them back, bit for bit."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from aimc_robust.noise.analog_weights import Scope, analog_weights, layer_name, weights_in_scope
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.unwrap import unwrapped
from aimc_robust.seeding import Axes


def perturb_weights(
    model: nn.Module,
    noise: WeightNoise,
    *,
    generator: torch.Generator | Axes,
    scope: Scope = "weights",
    strength: float = 1.0,
    on_device: bool = False,
) -> None:
    """Replace the weights in scope by perturbed ones, in place and for good. Arguments as for `perturbed`."""
    model, near = unwrapped(model), on_device and noise.any_device
    matrices = {id(matrix.parameter): matrix for matrix in analog_weights(model).values()}
    with torch.no_grad():
        for name, weight in weights_in_scope(model, scope).items():
            layer = layer_name(name)
            source = generator
            if isinstance(generator, Axes):
                source = generator.at(layer=layer).generator(device=weight.device if near else "cpu")
            matrix = matrices.get(id(weight))
            if matrix is None:
                noisy = noise.perturb(layer, weight.detach(), source)
            else:
                noisy = matrix.as_stored(noise.perturb(matrix.layer, matrix.filters_first(), source))
            weight.copy_(noisy if strength == 1.0 else torch.lerp(weight, noisy, strength))
    # Autocast keeps low-precision copies of weights and does not see a change in place.
    torch.clear_autocast_cache()


@contextmanager
def restored(model: nn.Module, scope: Scope = "weights") -> Iterator[nn.Module]:
    """Put the weights in scope back on leaving, bit for bit and at the same addresses.

    A snapshot is copied back: subtracting the noise again would drift (8e-7 relative after 1000 rounds in fp32).
    """
    weights = weights_in_scope(unwrapped(model), scope)
    saved = {name: weight.detach().clone() for name, weight in weights.items()}
    try:
        yield model
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(saved[name])
        torch.clear_autocast_cache()


@contextmanager
def perturbed(
    model: nn.Module,
    noise: WeightNoise,
    *,
    generator: torch.Generator | Axes,
    scope: Scope = "weights",
    strength: float = 1.0,
    on_device: bool = False,
) -> Iterator[nn.Module]:
    """Inside the block `model` carries perturbed weights; afterwards, also after an exception, its own, bit for bit.

    generator: a torch generator, drawn from in the order of the model's parameters; or `Axes`, from which each
        weight derives its own generator by its layer's name, so that no weight's draw depends on another's.
    scope: which parameters, see `weights_in_scope`.
    strength: 1 applies the noise whole; s applies w + s * (noise(w) - w), which is how ramps grow any noise.
    on_device: with `Axes`, draw on each weight's own device where the noise can. Quick on a GPU, which has other random
        numbers than the CPU: for training, not for chips that are to be the same everywhere.
    Raises InputError when nothing is in scope.
    """
    with restored(model, scope):
        perturb_weights(model, noise, generator=generator, scope=scope, strength=strength, on_device=on_device)
        yield model
