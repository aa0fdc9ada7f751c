"""Loss landscape of a trained model: its loss over a plane of two random directions in weight space.

References:
    H. Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, Sec. 4 (filter normalization).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from aimc_robust.analysis.weight_step import WeightStep
from aimc_robust.errors import require_finite, require_whole
from aimc_robust.noise.analog_weights import analog_weights, unwrap_model
from aimc_robust.noise.base import standard_normal
from aimc_robust.noise.scales import weight_scale
from aimc_robust.seeding import Axes

MAX_POINTS = 1000  # along a direction: a million evaluations of every model

Directions = tuple[Mapping[str, Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Landscape:
    """Grid of points x points on a plane through the trained weights, which are its center if `points` is odd.

    Args:
        points: Grid points along each direction, 2 to 1000.
        span: The grid extends from -span to span along both directions; 1 moves each filter by its own L2 norm.

    Raises:
        InputError: If an argument is invalid.
    """

    points: int
    span: float = 1.0

    def __post_init__(self) -> None:
        require_whole("landscape", self.points, low=2, high=MAX_POINTS)
        require_finite("span", self.span, low=0.0)

    @property
    def num_points(self) -> int:
        """Number of points in the grid."""
        return self.points**2

    @property
    def axis(self) -> list[float]:
        """Coordinates of the points along one direction."""
        return [self._coordinate(index) for index in range(self.points)]

    def coordinates(self, index: int) -> tuple[float, float]:
        """Return the coordinates of point `index` along the two directions; the second one varies fastest."""
        first, second = divmod(index, self.points)
        return self._coordinate(first), self._coordinate(second)

    def _coordinate(self, index: int) -> float:
        return self.span * (2 * index / (self.points - 1) - 1)

    def step(self, directions: Directions, index: int) -> WeightStep:
        """Return the step from the trained weights to point `index`, along `filter_directions` of the same model."""
        a, b = self.coordinates(index)
        first, second = directions
        return WeightStep({layer: a * first[layer] + b * second[layer] for layer in first}, 1.0)


def filter_directions(model: nn.Module, *, seed: int) -> Directions:
    """Draw two random directions whose filters have the L2 norms of the model's filters.

    The draws depend on (seed, direction, layer) only: all models of one network share them, scaled to their filters.
    Biases and BatchNorm parameters have no direction, as in the source.
    """
    return _direction(model, 0, seed), _direction(model, 1, seed)


def _direction(model: nn.Module, number: int, seed: int) -> Mapping[str, Tensor]:
    direction = {}
    for matrix in analog_weights(unwrap_model(model)).values():
        weight = matrix.filters_first()
        draw = standard_normal(weight, Axes(seed).at(landscape=number, layer=matrix.layer).generator())
        direction[matrix.layer] = draw * (weight_scale(weight, "filter_norm") / weight_scale(draw, "filter_norm"))
    return direction
