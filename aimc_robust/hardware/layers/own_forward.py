"""Layers of a subclass with a forward of its own: it runs, and its product is computed by the programmed devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.hardware.layers.bypass_guard import (
    ForwardDepth,
    GuardedWeight,
    ProgrammedWeightGuard,
    WeightGuard,
    bypassed,
    computes_its_weight,
)
from aimc_robust.noise.analog_weights import TRANSFORMERS_CONV1D

PRODUCTS_OF_LAYERS = {F.linear: 0, F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}
"""Function -> dimensions of its geometry."""


def has_own_forward(layer: nn.Module) -> bool:
    """Whether a layer overrides the forward computation of the library's class that it is, or inherits from."""
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


def layer_geometry(layer: nn.Module) -> list[Any]:
    """Return stride, dilation and groups of a convolution; None for a linear layer."""
    return [getattr(layer, name, None) for name in ("stride", "dilation", "groups")]


def forward_on_arrays(layer: nn.Module, arrays: ArrayLayer) -> nn.Module:
    """Return a copy of a layer whose own forward runs, and whose product with the weight is computed by arrays."""
    geometry = layer_geometry(layer)

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


class ArrayGuard(WeightGuard):
    """Computes a layer's own product in its arrays, and refuses all others.

    `geometry`: stride, dilation and groups of a convolution. Its padding is that of the call.
    """

    def __init__(self, arrays: ArrayLayer, geometry: Sequence[Any]) -> None:
        super().__init__(arrays.name)
        self.arrays, self.geometry = arrays, geometry

    def multiply(self, func: Callable[..., Tensor], args: Any, kwargs: Any, weights: list[GuardedWeight]) -> Any:
        """Compute the layer's product with its whole weight and its bias; refuse any other."""
        if func in PRODUCTS_OF_LAYERS:
            x, weight, bias, stride, padding, *geometry = _arguments(*args, **kwargs)
            dimensions = PRODUCTS_OF_LAYERS[func]
            same = not dimensions or [_sizes(v, dimensions) for v in (stride, *geometry)] == [
                _sizes(v, dimensions) for v in self.geometry
            ]
            if len(weights) == 1 and weights[0] is weight and weight.is_whole and same:
                if dimensions:  # the function pads with zeros, whatever the layer's own padding is
                    convolution: Any = self.arrays
                    convolution.set_padding(_zeros_around(padding, weight.shape[2:], geometry[0]))
                if bias is self.arrays.bias:
                    return self.arrays(x)
                if self.arrays.bias is None and not dimensions:
                    return self.arrays(x) + bias
        raise computes_its_weight(self.layer) if any(w.is_computed for w in weights) else bypassed(self.layer)


def _arguments(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1
) -> tuple[Any, ...]:
    return input, weight, bias, stride, padding, dilation, groups


def _sizes(value: Any, dimensions: int) -> Any:
    """A size per dimension."""
    if isinstance(value, int):
        return (value,) * dimensions
    return value if isinstance(value, str) else tuple(value) * (dimensions if len(value) == 1 else 1)


def _zeros_around(
    padding: int | str | Sequence[int], kernel: Sequence[int], dilation: int | Sequence[int]
) -> list[int]:
    """Numbers of zeros before and after each dimension, the last first, as `F.pad` takes them."""
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(_sizes(dilation, len(kernel)), kernel, strict=True)]
        return [size for total in reversed(totals) for size in (total // 2, total - total // 2)]
    sizes = [0] * len(kernel) if padding == "valid" else _sizes(padding, len(kernel))
    return [size for size in reversed(sizes) for _ in range(2)]
