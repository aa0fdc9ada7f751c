"""A statement of a paper as a layout writes it, and as results can test it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import pydantic

from aimc_robust.io.toml import StrictModel

ClaimMetric = Literal["accuracy", "loss"]
Pick = Literal["best", "worst"]


@dataclass(frozen=True)
class Side:
    """One of the two results that a claim compares.

    Attributes:
        labels: Labels of the methods that the side names; empty at a scale that leaves them out.
        target: Name of the target.
        pick: Which of several methods is compared: the best, or the worst where the claim is of all of them.
    """

    labels: tuple[str, ...]
    target: str
    pick: Pick = "best"


@dataclass(frozen=True)
class Claim:
    """A statement of the paper: `better` is better than `than`.

    Attributes:
        text: The statement.
        better: The result that is better: of higher accuracy, or of lower loss.
        than: The other one.
        metric: What is compared.
    """

    text: str
    better: Side
    than: Side
    metric: ClaimMetric = "accuracy"


class SideTable(StrictModel):
    """One side of a claim: a label or a glob of labels, the name of a target, and `pick` of `Side`."""

    method: str
    target: str
    pick: Pick = "best"

    def build(self, labels: Sequence[str], fill: Callable[[str], str]) -> Side:
        """Return the side with the labels that match."""
        return Side(tuple(matching(fill(self.method), labels)), fill(self.target), self.pick)


class ClaimTable(StrictModel):
    """A claim as a layout writes it; see `Claim`.

    Attributes:
        text: The statement.
        better: The result that is better.
        than: The other one.
        metric: What is compared.
        at: One claim for each of these; `{at}` in text, methods and targets is replaced by it.
    """

    text: str
    better: SideTable
    than: SideTable
    metric: ClaimMetric = "accuracy"
    at: list[str] = pydantic.Field(default_factory=list)

    @pydantic.model_validator(mode="after")
    def _names_its_values(self) -> ClaimTable:
        if self.at and "{at}" not in self.text:
            raise ValueError(f"text must contain {{at}}, since there is a claim for each of {self.at}")
        return self

    def build(self, labels: Sequence[str]) -> list[Claim]:
        """Return the claims with the labels that match each side."""

        def claim(value: str) -> Claim:
            def fill(text: str) -> str:
                return text.replace("{at}", value)

            return Claim(fill(self.text), self.better.build(labels, fill), self.than.build(labels, fill), self.metric)

        return [claim(value) for value in self.at or ["{at}"]]


def matching(pattern: str, labels: Sequence[str]) -> list[str]:
    """Return the labels that match a label or glob, in their order."""
    return [label for label in labels if fnmatchcase(label, pattern)]
