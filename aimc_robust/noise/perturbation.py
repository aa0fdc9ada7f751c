"""Perturb a model's weights in place and restore them bit for bit."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from aimc_robust.errors import InputError
from aimc_robust.noise.analog_weights import Scope, analog_weights, layer_name, unwrap_model, weights_in_scope
from aimc_robust.noise.base import WeightNoise, perturb_checked
from aimc_robust.seeding import Axes


def perturb_weights(
    model: nn.Module,
    noise: WeightNoise,
    *,
    generator: torch.Generator | Axes,
    scope: Scope = "weights",
    strength: float = 1.0,
    draw_on_device: bool = False,
) -> None:
    """Replace the weights in scope by perturbed ones, in place and permanently.

    Args:
        model: Model to perturb.
        noise: Noise to apply.
        generator: A torch generator, used in the order of the model's parameters; or `Axes`, from which each weight
            derives its own generator by the name of its layer, so that draws do not depend on other weights.
        scope: Parameters to perturb, see `weights_in_scope`.
        strength: 1 applies the full noise; s applies w + s * (noise(w) - w), by which a ramp scales any noise.
        draw_on_device: With `Axes`, draw on each weight's device if the noise supports it. Fast on a GPU, whose random
            numbers differ from the CPU's: for training, not for chips that must be equal on every machine.

    Raises:
        InputError: if no parameter is in scope, or the noise raises, or returns a wrong shape, NaN or infinity.
    """
    model, in_training = unwrap_model(model), draw_on_device
    draw_on_device = draw_on_device and noise.supports_any_device
    matrices = {id(matrix.parameter): matrix for matrix in analog_weights(model).values()}
    with torch.no_grad():
        for name, weight in weights_in_scope(model, scope).items():
            layer = layer_name(name)
            if isinstance(generator, Axes):
                source = generator.at(layer=layer).generator(device=weight.device if draw_on_device else "cpu")
            else:
                source = generator
            matrix = matrices.get(id(weight))
            values = weight.detach() if matrix is None else matrix.filters_first()
            noisy = perturb_checked(noise, layer if matrix is None else matrix.layer, values, source)
            if not in_training:  # training finds by its loss that it diverged, and does not wait for the device here
                _check_finite(noise, layer, values, noisy)
            noisy = noisy if matrix is None else matrix.to_parameter_layout(noisy)
            weight.copy_(noisy if strength == 1.0 else torch.lerp(weight, noisy, strength))
    # Autocast caches low-precision copies of weights and does not notice a change in place.
    torch.clear_autocast_cache()


def _check_finite(noise: WeightNoise, layer: str, weight: torch.Tensor, noisy: torch.Tensor) -> None:
    """Raise InputError if a noise makes finite weights infinite or NaN; weights that were so before are training's."""
    if math.isfinite(noisy.sum()):  # a sum may overflow where all weights are finite
        return
    if bool(torch.isfinite(weight).all()) and not bool(torch.isfinite(noisy).all()):
        raise InputError(f"the noise {noise!r} makes weights of the layer {layer!r} NaN or infinite; weaken it.")


@contextmanager
def restored(model: nn.Module, scope: Scope = "weights") -> Iterator[nn.Module]:
    """Context manager that restores the weights in scope on exit, bit for bit and at the same addresses.

    A snapshot is copied back: subtracting the noise again would drift (8e-7 relative after 1000 rounds in float32).
    """
    weights = weights_in_scope(unwrap_model(model), scope)
    snapshot = {name: weight.detach().clone() for name, weight in weights.items()}
    try:
        yield model
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(snapshot[name])
        torch.clear_autocast_cache()


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Context manager that sets evaluation mode, and restores each module's own mode on exit."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def perturbed(
    model: nn.Module,
    noise: WeightNoise,
    *,
    generator: torch.Generator | Axes,
    scope: Scope = "weights",
    strength: float = 1.0,
    draw_on_device: bool = False,
) -> Iterator[nn.Module]:
    """Context manager in which `model` has perturbed weights; on exit they are restored bit for bit.

    Arguments and errors are those of `perturb_weights`.
    """
    with restored(model, scope):
        perturb_weights(
            model, noise, generator=generator, scope=scope, strength=strength, draw_on_device=draw_on_device
        )
        yield model
