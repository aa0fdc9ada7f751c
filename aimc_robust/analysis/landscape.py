"""The loss landscape around a trained model: its loss over a plane of two random directions in weight space.

Source: H. Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, Sec. 4 (filter normalisation).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from aimc_robust.analysis.weight_step import Step
from aimc_robust.errors import require_finite, require_whole
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.noise.base import standard_normal
from aimc_robust.noise.scales import weight_scale
from aimc_robust.noise.unwrap import unwrapped
from aimc_robust.seeding import Axes

MOST = 1000  # points along a direction: a million evaluations of every model

Directions = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Landscape:
    """A grid of points x points places on a plane through the trained weights, which an odd number has in its middle.

    span: the grid reaches from -span to span along both directions; 1 moves each filter by its own length.
    """

    points: int
    span: float = 1.0

    def __post_init__(self) -> None:
        require_whole("landscape", self.points, low=2, high=MOST)
        require_finite("span", self.span, low=0.0)

    @property
    def places(self) -> int:
        """How many there are."""
        return self.points**2

    @property
    def along(self) -> list[float]:
        """The places along one direction."""
        return [self._coordinate(step) for step in range(self.points)]

    def place(self, number: int) -> tuple[float, float]:
        """Where place `number` lies along the two directions; the second changes first."""
        first, second = divmod(number, self.points)
        return self._coordinate(first), self._coordinate(second)

    def _coordinate(self, step: int) -> float:
        return self.span * (2 * step / (self.points - 1) - 1)

    def step(self, directions: Directions, number: int) -> Step:
        """The step from the trained weights to place `number`, along `filter_directions` of the same model."""
        a, b = self.place(number)
        first, second = directions
        return Step({layer: a * first[layer] + b * second[layer] for layer in first}, 1.0)


def filter_directions(model: nn.Module, *, seed: int) -> Directions:
    """Two random directions, each filter of which is as long as the model's own filter of the same place.

    Layer name -> tensor of the analog weight's shape, filters along dimension 0; biases and BatchNorm stay, as in the
    source. Drawn by (seed, direction, layer): every model of a network meets the same ones, scaled to its filters.
    """
    return _direction(model, 0, seed), _direction(model, 1, seed)


def _direction(model: nn.Module, number: int, seed: int) -> Mapping[str, Tensor]:
    found = {}
    for matrix in analog_weights(unwrapped(model)).values():
        weight = matrix.filters_first()
        draw = standard_normal(weight, Axes(seed).at(landscape=number, layer=matrix.layer).generator())
        found[matrix.layer] = draw * (weight_scale(weight, "filter_norm") / weight_scale(draw, "filter_norm"))
    return found
