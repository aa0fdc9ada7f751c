"""Tests of a paper's claims: each claim is a paired difference of two results of the comparison."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.paired_difference import Comparison, Key

from .layout import Claim
from .measured import best_label

ClaimState = Literal["held", "did not hold", "not settled"]
HELD: ClaimState = "held"
NOT_HELD: ClaimState = "did not hold"
NOT_SETTLED: ClaimState = "not settled"


@dataclass(frozen=True)
class ClaimResult:
    """A claim and the outcome of its test.

    Attributes:
        text: The claim.
        state: `HELD` if the difference is settled and positive, `NOT_HELD` if settled and negative, else
            `NOT_SETTLED`.
        better: The (label, target) that the claim says scores higher; of several methods the best. None without rows.
        than: The (label, target) that it is compared with; None without rows.
        means: Mean accuracies of `better` and `than` [percent].
        difference: better - than [points], paired over models and chips; None if they cannot be paired.
        ci: 95 % confidence interval of the difference [points].
        covers: What the interval generalizes to: `models`, or `chips` if one model was trained.
        reason: Why there is no difference; empty if there is one.
    """

    text: str
    state: ClaimState
    better: Key | None = None
    than: Key | None = None
    means: tuple[float, float] | None = None
    difference: float | None = None
    ci: tuple[float, float] | None = None
    covers: str = ""
    reason: str = ""


def claim_pairs(
    claims: Sequence[Claim], spec: ComparisonSpec, estimates: Mapping[Key, Estimate]
) -> Iterator[tuple[Key, Key]]:
    """Yield every (better, than) pair that a claim may come to: each side may name several methods."""
    for claim in claims:
        sides = [
            [(label, target) for label in labels if (label, target) in estimates]
            for labels, target in (claim.better, claim.than)
        ]
        for better, than in itertools.product(*sides):
            if spec.data_of(better[0]) == spec.data_of(than[0]):
                yield better, than


def check_claims(
    claims: Sequence[Claim],
    spec: ComparisonSpec,
    estimates: Mapping[Key, Estimate],
    comparisons: Mapping[tuple[Key, Key], Comparison],
) -> list[ClaimResult]:
    """Test each claim on the results.

    If a side of a claim names several methods, the one with the highest mean on its target represents it.

    Args:
        claims: The claims of a layout.
        spec: The spec of the comparison.
        estimates: (label, target) -> estimate.
        comparisons: All comparisons of the page, with those of `claim_pairs`.

    Returns:
        One result per claim.
    """
    return [_check_claim(claim, spec, estimates, comparisons) for claim in claims]


def _check_claim(
    claim: Claim,
    spec: ComparisonSpec,
    estimates: Mapping[Key, Estimate],
    comparisons: Mapping[tuple[Key, Key], Comparison],
) -> ClaimResult:
    sides: list[Key] = []
    for labels, target in (claim.better, claim.than):
        label = best_label(labels, target, estimates)
        if label is None:
            names = ", ".join(labels) or "methods that this comparison does not include"
            return ClaimResult(claim.text, NOT_SETTLED, reason=f"no rows of {names} on {target}")
        sides.append((label, target))
    better, than = sides
    means = estimates[better].mean, estimates[than].mean
    comparison = comparisons.get((better, than))
    if comparison is None:
        same_data = spec.data_of(better[0]) == spec.data_of(than[0])
        reason = "not among the comparisons of this page" if same_data else "not paired: different data sets"
        return ClaimResult(claim.text, NOT_SETTLED, better, than, means, reason=reason)
    found = comparison.difference
    if found is None:
        reason = "not paired: no training seed in common"
        return ClaimResult(claim.text, NOT_SETTLED, better, than, means, reason=reason)
    state: ClaimState = {1: HELD, -1: NOT_HELD}.get(comparison.sign, NOT_SETTLED)
    return ClaimResult(claim.text, state, better, than, means, found.mean, found.ci, found.covers)
