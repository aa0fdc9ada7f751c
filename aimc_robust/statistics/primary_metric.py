"""The number that a task is judged by: its name, its unit, and which values are better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from aimc_robust.errors import InputError, require_known, require_type, short_repr

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class PrimaryMetric:
    """A metric that estimates, tests and reports are made of.

    Attributes:
        name: Its column in rows and tables, such as `accuracy` or `perplexity`.
        unit: `%`, or another unit that reports show; empty for a plain number.
        better: Whether `higher` or `lower` values are better.
        bounds: Lowest and highest possible value, in its unit; intervals end there.
        is_proportion: Whether it is the percentage of independent examples that are right, so that a finite test set
            has a binomial error.
        title: What reports call it; the name without underscores if empty.
    """

    name: str
    unit: str = ""
    better: Direction = "higher"
    bounds: tuple[float, float] = (-math.inf, math.inf)
    is_proportion: bool = False
    title: str = ""

    def __post_init__(self) -> None:
        for name in ("unit", "title"):
            require_type(name, getattr(self, name), str, example="text, which may be empty")
        require_type("name", self.name, str, example="the name of a column, such as 'perplexity'")
        require_known("better", self.better, ("higher", "lower"))
        bounds = self.bounds
        pair = isinstance(bounds, Sequence) and len(bounds) == 2 and all(map(_is_number, bounds))
        if not pair or not bounds[0] < bounds[1]:
            raise InputError(f"bounds must be the lowest and the highest possible value, got {short_repr(bounds)}.")
        if not self.name.isidentifier():
            raise InputError(f"the name of a metric must be letters, digits and underscores, got {self.name!r}.")
        if not self.title:
            object.__setattr__(self, "title", self.name.replace("_", " "))

    @property
    def is_higher_better(self) -> bool:
        """Whether higher values are better."""
        return self.better == "higher"

    @property
    def difference_unit(self) -> str:
        """Unit of differences: percentage points for a percentage."""
        return "points" if self.unit == "%" else self.unit

    @property
    def worst_value(self) -> float:
        """The worst possible value, which may be infinite."""
        return self.bounds[0 if self.is_higher_better else 1]

    def number(self, value: float, decimals: int = 2) -> str:
        """Format a value without its unit: `decimals` of a percentage, four significant digits of other numbers."""
        return f"{value:z.{decimals}f}" if self.unit == "%" else f"{value:z#.4g}".removesuffix(".")

    def text(self, value: float) -> str:
        """Format a value with its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def loss_of(self, reference: Any, values: Any) -> Any:
        """Return how much worse `values` are than `reference`: negative where they are better."""
        return reference - values if self.is_higher_better else values - reference

    def is_better(self, value: float, other: float) -> bool:
        """Whether `value` is better than `other`; False for NaN."""
        return value > other if self.is_higher_better else value < other

    def best(self, values: np.ndarray) -> int:
        """Return the index of the best value, the first of several."""
        return int(values.argmax() if self.is_higher_better else values.argmin())

    def worst(self, values: np.ndarray) -> int:
        """Return the index of the worst value, the first of several."""
        return int(values.argmin() if self.is_higher_better else values.argmax())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def metric_of(column: str, known: Iterable[PrimaryMetric]) -> PrimaryMetric:
    """Return what is known of a column; of equal names the last, of none a plain number, higher is better."""
    return {metric.name: metric for metric in known}.get(column) or PrimaryMetric(column, title=column)


ACCURACY = PrimaryMetric("accuracy", "%", "higher", (0.0, 100.0), is_proportion=True)
