"""Products of a model's own code with a layer's weight, computed in the layer's arrays where they are the layer's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.hardware.layers.bypass_guard import GuardedWeight, WeightGuard, bypassed, computes_its_weight

PRODUCTS_OF_LAYERS = {F.linear: 0, F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}
"""Function -> dimensions of its geometry."""


class ArrayGuard(WeightGuard):
    """Computes a layer's own product in its arrays, and refuses all others.

    Args:
        arrays: The layer in arrays.
        geometry: Stride, padding, dilation and groups of a convolution.
    """

    def __init__(self, arrays: ArrayLayer, geometry: Sequence[Any]) -> None:
        super().__init__(arrays.name)
        self.arrays, self.geometry = arrays, geometry

    def multiply(self, func: Callable[..., Tensor], args: Any, kwargs: Any, weights: list[GuardedWeight]) -> Any:
        """Compute the layer's product with its whole weight and its bias; refuse any other."""
        if func in PRODUCTS_OF_LAYERS:
            x, weight, bias, *geometry = _arguments(*args, **kwargs)
            dimensions = PRODUCTS_OF_LAYERS[func]
            same = not dimensions or [_sizes(v, dimensions) for v in geometry] == [
                _sizes(v, dimensions) for v in self.geometry
            ]
            if len(weights) == 1 and weights[0] is weight and weight.is_whole and same:
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
