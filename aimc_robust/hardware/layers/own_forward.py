"""Layers of a subclass with a forward of its own: it runs, and its product is computed by the programmed devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from aimc_robust.hardware.layers.array_guard import ArrayGuard
from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.hardware.layers.bypass_guard import ForwardDepth, ProgrammedWeightGuard
from aimc_robust.noise.analog_weights import TRANSFORMERS_CONV1D


def has_own_forward(layer: nn.Module) -> bool:
    """Check whether a layer overrides the forward computation of the torch class that it is, or inherits from.

    Args:
        layer: Layer of a torch class or of a subclass.

    Returns:
        Whether it computes something else than torch's class.
    """
    torch_class = library_class(layer)
    methods = ("forward", "_conv_forward")
    overridden = [getattr(type(layer), name, None) != getattr(torch_class, name, None) for name in methods]
    return any(overridden) or any(name in vars(layer) for name in methods)


def library_class(layer: nn.Module) -> type[nn.Module]:
    """The class of torch (or `Conv1D` of transformers) that a layer is, or inherits from."""
    return next(
        kind
        for kind in type(layer).__mro__
        if kind.__module__.startswith("torch.nn.") or kind.__module__ == TRANSFORMERS_CONV1D
    )


def forward_on_arrays(layer: nn.Module, arrays: ArrayLayer) -> nn.Module:
    """Return a copy of a layer whose own forward runs, and whose product with the weight is computed by arrays.

    Args:
        layer: Linear layer or convolution of a subclass.
        arrays: The same weight in arrays.
    """
    geometry = [getattr(layer, name, None) for name in ("stride", "padding", "dilation", "groups")]

    def weight(self: nn.Module) -> Tensor:
        own = self._modules["arrays"]  # a copy of the layer has a copy of the arrays
        assert isinstance(own, ArrayLayer)
        depth = own.forward_depth
        return ArrayGuard(own, geometry).mark(own._weight) if depth is not None and depth.is_running else own._weight

    kept = object.__new__(_with_properties(layer, weight=weight, bias=lambda self: self._modules["arrays"].bias))
    kept.__dict__ = dict(layer.__dict__)
    kept._parameters = {n: p for n, p in layer._parameters.items() if n not in ("weight", "bias")}
    kept._modules = layer._modules | {"arrays": arrays}
    return kept


def check_products(layer: nn.Module, name: str) -> None:
    """Make a programmed layer refuse products with values that its own forward computes from its weight, in place."""
    guard, depth = ProgrammedWeightGuard(name), ForwardDepth()
    depth.attach(layer)

    def weight(self: nn.Module) -> Tensor | None:
        parameter = self._parameters["weight"]
        return guard.mark(parameter) if parameter is not None and depth.is_running else parameter

    layer.__class__ = _with_properties(layer, weight=weight)


def _with_properties(layer: nn.Module, **getters: Callable[[Any], Any]) -> type[nn.Module]:
    kind = type(layer)
    properties = {name: property(getter) for name, getter in getters.items()}
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__doc__": kind.__doc__, **properties})
