"""Shift weights that are no parameters of their own: computed ones, and those shared with a digital module."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from aimc_robust.errors import InputError
from aimc_robust.noise.analog_weights import RECURRENT, AnalogWeight, analog_weights, is_analog_layer, layer_name

COMPUTING_HOOKS = (prune.BasePruningMethod, WeightNorm, SpectralNorm)


@dataclass(frozen=True)
class DerivedWeight:
    """A weight that cannot be perturbed in place without changing something else.

    Attributes:
        layer: Name of the layer.
        module: The layer.
        is_shared: Whether it is a parameter that a digital module, such as an embedding, uses too; else it is computed
            anew at each use (weight_norm and other parametrizations, pruning).
    """

    layer: str
    module: nn.Module
    is_shared: bool

    def matrix(self) -> AnalogWeight:
        """Return the weight as the layer would use it now."""
        if not self.is_shared and not parametrize.is_parametrized(self.module):
            for hook in self.module._forward_pre_hooks.values():
                if isinstance(hook, COMPUTING_HOOKS):
                    hook(self.module, None)
        value = self.module.weight
        assert isinstance(value, Tensor)
        return AnalogWeight(f"{self.layer}.weight", self.layer, self.module, value.detach(), None)


def derived_weights(model: nn.Module) -> list[DerivedWeight]:
    """Find the weights of linear layers and convolutions that are computed, or shared with a digital module.

    Raises:
        InputError: If a recurrent or attention layer computes its weights.
    """
    analog = {id(weight.module) for weight in analog_weights(model, include_shared=True).values()}
    modules = list(model.named_modules())
    digital = {
        id(parameter) for _, module in modules if id(module) not in analog for parameter in module._parameters.values()
    }
    found = []
    for name, module in modules:
        if isinstance(module, (*RECURRENT, nn.MultiheadAttention)) and computes_weights(module):
            raise InputError(
                f"the {type(module).__name__} {name!r} computes its weights; noise cannot act on them. Make them plain "
                "ones (torch.nn.utils.parametrize.remove_parametrizations, prune.remove)."
            )
        if is_analog_layer(module):
            parameter = module._parameters.get("weight")
            if parameter is None or id(parameter) in digital:
                layer = layer_name(f"{name}.weight" if name else "weight")
                found.append(DerivedWeight(layer, module, parameter is not None))
    return found


def computes_weights(module: nn.Module) -> bool:
    """Whether a layer computes weights anew at each use: parametrizations, pruning, old normalizations."""
    hooks = module._forward_pre_hooks.values()
    return parametrize.is_parametrized(module) or any(isinstance(hook, COMPUTING_HOOKS) for hook in hooks)


class _Shift(nn.Module):
    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.shift = shift

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.shift


@functools.cache
def _shifted_class(kind: type[nn.Module]) -> type[nn.Module]:
    """A subclass whose weight is the parameter plus a shift; the parameter stays the same object, as DDP needs it."""
    weight = property(lambda self: self._parameters["weight"] + self.__dict__["_shift"])
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "weight": weight})


@contextmanager
def shifted(weight: DerivedWeight, shift: Tensor) -> Iterator[None]:
    """Context manager in which the layer uses weight + shift; gradients reach what the weight is made of."""
    module = weight.module
    if weight.is_shared:
        kind, outer = type(module), module.__dict__.get("_shift")  # the shift of a block around this one
        module.__class__ = _shifted_class(kind)  # type: ignore[arg-type]
        module.__dict__["_shift"] = shift if outer is None else outer + shift
        try:
            yield
        finally:
            module.__class__ = kind
            del module.__dict__["_shift"]
            if outer is not None:
                module.__dict__["_shift"] = outer
    elif parametrize.is_parametrized(module):
        parametrizations = module.parametrizations
        assert isinstance(parametrizations, nn.ModuleDict)
        steps = parametrizations["weight"]
        assert isinstance(steps, nn.ModuleList)
        steps.append(_Shift(shift))
        try:
            yield
        finally:
            del steps[-1]
    elif not computes_weights(module):  # a buffer or a plain tensor
        original = module.weight
        assert isinstance(original, Tensor)
        module.weight = original + shift
        try:
            yield
        finally:
            module.weight = original
    else:
        handle = module.register_forward_pre_hook(
            lambda module, _: setattr(module, "weight", torch.add(module.weight, shift))
        )
        try:
            yield
        finally:
            handle.remove()
