"""Perturb a model's weights in place and restore them bit for bit."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from aimc_robust.errors import InputError, require_finite
from aimc_robust.noise.analog_weights import (
    AnalogWeight,
    Scope,
    analog_weights,
    layer_name,
    select_weights,
    unwrap_model,
    weights_in_scope,
)
from aimc_robust.noise.base import WeightNoise, own_source, perturb_checked
from aimc_robust.noise.model_kinds import check_model
from aimc_robust.noise.shards import reshard, resharded, whole, write
from aimc_robust.noise.weight_shift import derived_weights, shifted
from aimc_robust.seeding import Axes


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

    With the scope `weights`, the noise acts on what a crossbar would store: on computed weights (weight_norm and other
    parametrizations, pruning) as they are used, and on a weight that a layer shares with an embedding in the layer
    alone.

    Args:
        model: Model to perturb.
        noise: Noise to apply.
        generator: A torch generator, used in the order of the model's parameters; or `Axes`, from which each weight
            derives its own by the name of its layer, so that draws do not depend on other weights, nor, for a noise
            that accepts axes, on the device.
        scope: Parameters to perturb, see `weights_in_scope`.
        strength: 1 applies the full noise; s applies w + s * (noise(w) - w), by which a ramp scales any noise.
        draw_on_device: With `Axes`, draw with the generator of a weight's device, if that is not the CPU and the noise
            supports it. Faster than numbers that are the same everywhere: for training, not for chips.

    Raises:
        InputError: if no parameter is in scope, or the noise raises, or returns a wrong shape, NaN or infinity.
    """
    require_finite("strength", strength)
    check_model(model, shards=True)
    inner = unwrap_model(model)
    reshard(inner)
    noise.check_model(inner)
    draw = _Draw(noise, generator, strength, draw_on_device)
    derived = derived_weights(inner) if scope == "weights" else []
    shared = {id(weight.module._parameters["weight"]) for weight in derived if weight.is_shared}
    matrices = {id(matrix.parameter): matrix for matrix in analog_weights(inner).values()}
    if not derived or any(key not in shared for key in matrices):
        in_place = {n: w for n, w in select_weights(inner, scope, matrices).items() if id(w) not in shared}
    else:
        in_place = {}
    with ExitStack() as stack, resharded(inner), _restored(in_place):
        with torch.no_grad():
            for name, parameter in in_place.items():
                # The noise of a sharded weight is that of the whole one, whatever the number of processes.
                write(parameter, draw(layer_name(name), whole(parameter), matrices.get(id(parameter))))
            shifts: dict[int, torch.Tensor] = {}  # layers that share a parameter share its noise
            for weight in derived:
                matrix = weight.matrix()
                own = weight.module._parameters.get("weight")
                key = id(weight if own is None else own)
                if key not in shifts:
                    values = whole(matrix.parameter)
                    shifts[key] = draw(weight.layer, values, matrix) - values
                stack.enter_context(shifted(weight, shifts[key]))
        # Autocast caches low-precision copies of weights and does not notice a change in place.
        torch.clear_autocast_cache()
        yield model


@dataclass(frozen=True)
class _Draw:
    """Draws one weight, see `perturbed`."""

    noise: WeightNoise
    generator: torch.Generator | Axes
    strength: float
    draw_on_device: bool

    def __call__(self, layer: str, weight: torch.Tensor, matrix: AnalogWeight | None) -> torch.Tensor:
        source = self.generator
        if isinstance(source, Axes):
            axes, on_device = source.at(layer=layer), self.draw_on_device and not weight.is_cpu
            native = on_device and self.noise.supports_any_device
            source = axes.generator(weight.device) if native else own_source(self.noise, axes)
        values = weight.detach() if matrix is None else matrix.filters_first(weight.detach())
        noisy = perturb_checked(self.noise, layer if matrix is None else matrix.layer, values, source)
        if not self.draw_on_device:  # training finds by its loss that it diverged, and does not wait for the device
            _check_finite(self.noise, layer, values, noisy)
        noisy = noisy if matrix is None else matrix.to_parameter_layout(noisy)
        return noisy if self.strength == 1.0 else torch.lerp(weight, noisy, self.strength)


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
    inner = unwrap_model(model)
    with resharded(inner), _restored(weights_in_scope(inner, scope, shards=True)):
        yield model


@contextmanager
def _restored(weights: dict[str, nn.Parameter]) -> Iterator[None]:
    snapshot = {name: weight.detach().clone() for name, weight in weights.items()}
    try:
        yield
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
def frozen_buffers(model: nn.Module, *, nonfinite_only: bool = False) -> Iterator[None]:
    """Restore the model's buffers on exit, or only those that then contain NaN or infinity.

    Saving the buffers, instead of switching BatchNorm off, also covers custom normalization layers and layers that
    replace a buffer by a new tensor.
    """
    saved = [
        (module, {name: (buffer, None if buffer is None else buffer.detach().clone()) for name, buffer in own.items()})
        for module in model.modules()
        for own in [module._buffers]
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, buffers in saved:
                for name, current in list(module._buffers.items()):
                    buffer, value = buffers.get(name, (None, None))
                    if buffer is not None and value is not None:
                        if nonfinite_only and current is not None:
                            value = torch.where(current.isfinite().all(), current, value)
                        module._buffers[name] = buffer.copy_(value)
                    elif name in buffers and not nonfinite_only:
                        module._buffers[name] = None  # a forward pass set it for the first time
                    elif not nonfinite_only:
                        del module._buffers[name]  # a forward pass registered it
