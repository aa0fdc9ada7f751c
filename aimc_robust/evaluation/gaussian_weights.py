"""A model on a chip whose weights are drawn from Gaussians of given means and variances, instead of programmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import EllipsisType

import torch
from torch import Tensor, nn

from aimc_robust.devices.moments import Moments
from aimc_robust.hardware.layers.stored_matrix import StoredMatrix
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.random_numbers import normal
from aimc_robust.seeding import Axes

Copy = tuple[Tensor, str, Callable[[Tensor], Tensor]]
"""A tensor of the model, the name of its moments, and what turns values of their shape into values of the tensor's."""


class GaussianWeights:
    """Writes weights drawn from their moments into a model.

    The draws are independent. They depend on the axes and the name of the weight alone, so that two conditions, and two
    devices, meet the same standard normal numbers.

    Attributes:
        model: What the draws are written into: a copy of the model that the moments belong to, or that model programmed
            onto arrays, whose read noise and converters then act on the drawn weights.
    """

    def __init__(self, base: nn.Module, moments: Mapping[str, Moments], model: nn.Module) -> None:
        self.model = model
        self._mean = {name: moment.mean for name, moment in moments.items()}
        self._std = {name: moment.variance.sqrt() for name, moment in moments.items()}
        self._copies = list(_copies(base, model, moments))

    @torch.no_grad()
    def draw(self, axes: Axes) -> None:
        """Draw all weights anew."""
        values: dict[str, Tensor] = {}
        for name, mean in self._mean.items():
            values[name] = torch.addcmul(mean, self._std[name], normal(axes.at(weight=name), mean))
        self._write(values)

    @torch.no_grad()
    def write_mean(self) -> None:
        """Give all weights their means."""
        self._write(self._mean)

    def _write(self, values: Mapping[str, Tensor]) -> None:
        for target, name, layout in self._copies:
            target.copy_(layout(values[name]))


def _copies(base: nn.Module, model: nn.Module, moments: Mapping[str, Moments]) -> Iterator[Copy]:
    """Yield the tensors of the model that hold a weight or bias with moments: a layer that shares one has its own."""
    stored = {module.name: module for module in model.modules() if isinstance(module, StoredMatrix)}
    names = {id(parameter): name for name, parameter in base.named_parameters()}
    owners = {weight.layer: name for name, weight in analog_weights(base).items()}
    in_arrays: set[str] = set()
    for weight in analog_weights(base, include_shared=True).values():
        matrix, name = stored.get(weight.layer), owners[weight.array_owner]
        if matrix is None or name not in moments:
            continue
        in_arrays.add(name)
        yield matrix._weight, name, weight.filters_first
        if weight.bias is not None:
            parameter, part = weight.bias_source()
            bias = names[id(parameter)]
            if bias in moments and matrix.bias is not None:
                in_arrays.add(bias)
                yield matrix.bias, bias, partial(_part, part)
    parameters = dict(model.named_parameters())
    for name in moments.keys() - in_arrays:
        yield parameters[name], name, partial(_part, ...)


def _part(index: slice | EllipsisType, values: Tensor) -> Tensor:
    return values[index]
