"""A programming error without a formula: quantiles of the programmed states, measured at several targets."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import pydantic

from aimc_robust.devices.cells import Draw
from aimc_robust.devices.laws.base import Nonnegative, Numbers, ProgrammingLaw
from aimc_robust.devices.laws.interpolation import position
from aimc_robust.io.toml import StrictModel

if TYPE_CHECKING:
    from torch import Tensor

MAX_PROBABILITIES = 129


class QuantileRow(StrictModel):
    """The error at one target.

    Attributes:
        state: The target state, in the card's unit.
        quantiles: Quantiles of programmed - target at the law's probabilities, in the card's unit.
    """

    state: Nonnegative
    quantiles: Annotated[Numbers, pydantic.Field(strict=False)]

    @pydantic.field_validator("quantiles")
    @classmethod
    def _are_ordered(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if any(later < earlier for earlier, later in itertools.pairwise(quantiles)):
            raise ValueError(f"expected quantiles that never fall, got {', '.join(f'{q:g}' for q in quantiles)}")
        if quantiles and quantiles[0] == quantiles[-1] != 0:
            raise ValueError(f"expected quantiles that differ, or 0 for no error, got {quantiles[0]:g} only")
        return quantiles


class Empirical(ProgrammingLaw):
    """state = target + Q(target, u), u uniform on [0, 1); Q is linear between the probabilities and between the states.

    Its moments have a closed form, because Q is piecewise linear in u. They include the mean error, which a table may
    have: all of it is multiplied by the crossbar's `error_scale`.

    Attributes:
        probabilities: From 0 (the lowest error) to 1 (the highest), rising.
        at: The rows, by rising state. Beyond the first and the last, their errors hold.
    """

    formula: ClassVar[str] = (
        "state = target + Q(target, u), u uniform on [0, 1), one per device and programming.\n\nQ interpolates the "
        "quantiles linearly between probabilities and between states; beyond the first and last state their errors "
        "hold."
    )

    kind: Literal["empirical"]
    distribution: Literal["empirical"] = "empirical"  # type: ignore[assignment]  # the table, not a shape by name
    probabilities: Annotated[Numbers, pydantic.Field(strict=False, min_length=2, max_length=MAX_PROBABILITIES)]
    at: Annotated[tuple[QuantileRow, ...], pydantic.Field(strict=False, min_length=2)]

    @pydantic.model_validator(mode="after")
    def _is_a_table(self) -> Empirical:
        states, p = [row.state for row in self.at], self.probabilities
        if any(later <= earlier for earlier, later in itertools.pairwise(p)) or (p[0], p[-1]) != (0.0, 1.0):
            raise ValueError(f"probabilities: expected to rise from 0 to 1, got {', '.join(f'{x:g}' for x in p)}")
        if any(later <= earlier for earlier, later in itertools.pairwise(states)):
            raise ValueError(f"at: expected state to rise from row to row, got {', '.join(f'{s:g}' for s in states)}")
        for row in self.at:
            if len(row.quantiles) != len(p):
                raise ValueError(
                    f"at: expected {len(p)} quantiles, one for each of the probabilities, got {len(row.quantiles)} at "
                    f"the state {row.state:g}"
                )
        return self

    @property
    def knots(self) -> tuple[float, ...]:
        """The probabilities; see `ProgrammingLaw.knots`."""
        return self.probabilities

    def mean(self, state: Tensor) -> Tensor:
        """Return the mean of programmed - target at targets of any shape; both in the card's unit."""
        below, fraction = position(tuple(row.state for row in self.at), state)
        means = state.new_tensor([quantile_mean(self.probabilities, row.quantiles) for row in self.at])
        return means[below].lerp(means[below + 1], fraction)

    def std(self, state: Tensor) -> Tensor:
        """Return the standard deviation at `state`; see `ProgrammingLaw.std`."""
        below, w = position(tuple(row.state for row in self.at), state)
        rows = [row.quantiles for row in self.at]
        variance, covariance = (
            state.new_tensor([quantile_covariance(self.probabilities, *pair) for pair in pairs])
            for pairs in (zip(rows, rows, strict=True), itertools.pairwise(rows))
        )
        square = variance[below] * (1 - w) ** 2 + 2 * covariance[below] * w * (1 - w) + variance[below + 1] * w**2
        return square.clamp_(min=0.0).sqrt_()

    def error(self, target: Tensor, draw: Draw) -> Tensor:
        """Return the quantile of each cell in standard deviations; see `ProgrammingLaw.error`."""
        import torch

        row, w = position(tuple(row.state for row in self.at), target)
        column, v = position(self.probabilities, draw("programming-uniform", target))
        table = target.new_tensor([row.quantiles for row in self.at])
        low, high = (table[r, column].lerp(table[r, column + 1], v) for r in (row, row + 1))
        return low.lerp_(high, w).div_(self.std(target).clamp_(min=torch.finfo(target.dtype).tiny))


def quantile_mean(probabilities: tuple[float, ...], quantiles: tuple[float, ...]) -> float:
    """Integrate a quantile function that is linear between the probabilities: the mean."""
    pieces = zip(itertools.pairwise(probabilities), itertools.pairwise(quantiles), strict=True)
    return math.fsum((b - a) * (low + high) / 2 for (a, b), (low, high) in pieces)


@lru_cache(maxsize=1024)
def quantile_covariance(probabilities: tuple[float, ...], first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Integrate the product of two such functions about their means: the covariance at the same probability."""
    means = [quantile_mean(probabilities, values) for values in (first, second)]
    x, y = ([q - mean for q in values] for values, mean in zip((first, second), means, strict=True))
    pieces = zip(itertools.pairwise(probabilities), itertools.pairwise(x), itertools.pairwise(y), strict=True)
    return math.fsum(
        (b - a) * (2 * x0 * y0 + x0 * y1 + x1 * y0 + 2 * x1 * y1) / 6 for (a, b), (x0, x1), (y0, y1) in pieces
    )
