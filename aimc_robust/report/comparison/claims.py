"""Tests of a paper's claims: each claim is a paired difference of two results of the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.published_table import Claim
from aimc_robust.report.comparison.paper_table import best_label
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.difference_table import difference_table

ClaimState = Literal["held", "did not hold", "not settled"]
HELD: ClaimState = "held"
NOT_HELD: ClaimState = "did not hold"
NOT_SETTLED: ClaimState = "not settled"
Key = tuple[str, str]
"""(method label, target)."""


@dataclass(frozen=True)
class ClaimResult:
    """A claim and the outcome of its test.

    Attributes:
        text: The claim.
        state: `HELD` if the 95 % interval of the difference lies above 0, `NOT_HELD` if it lies below, else
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


def check_claims(spec: ComparisonSpec, estimates: Mapping[Key, AccuracyEstimate]) -> list[ClaimResult]:
    """Test each claim of the spec's paper on the results.

    If a side of a claim names several methods, the one with the highest mean on its target represents it. It is
    selected on the same rows, which favors the side with more methods.

    Args:
        spec: The spec of the comparison.
        estimates: (label, target) -> estimate.

    Returns:
        One result per claim; empty if the spec reproduces no paper.
    """
    if spec.paper is None:
        return []
    return [_check_claim(claim, spec, estimates) for claim in spec.paper.build_claims(spec.labels)]


def _check_claim(claim: Claim, spec: ComparisonSpec, estimates: Mapping[Key, AccuracyEstimate]) -> ClaimResult:
    sides: list[Key] = []
    for labels, target in (claim.better, claim.than):
        label = best_label(labels, target, estimates)
        if label is None:
            names = ", ".join(labels) or "methods that this comparison does not include"
            return ClaimResult(claim.text, NOT_SETTLED, reason=f"no rows of {names} on {target}")
        sides.append((label, target))
    better, than = sides
    means = estimates[better].mean, estimates[than].mean
    if spec.data_of(better[0]) != spec.data_of(than[0]):
        return ClaimResult(claim.text, NOT_SETTLED, better, than, means, reason="not paired: different data sets")
    row = difference_table(estimates, [(better, than)]).iloc[0]
    if row["pairs"] == 0:
        return ClaimResult(
            claim.text, NOT_SETTLED, better, than, means, reason="not paired: no training seed in common"
        )
    low, high = float(row["ci_low"]), float(row["ci_high"])
    settled = low < high and (low > 0 or high < 0)  # an interval of width 0 comes from too few values
    state = NOT_SETTLED if not settled else HELD if low > 0 else NOT_HELD
    difference, covers = float(row["difference"]), str(row["covers"])
    return ClaimResult(claim.text, state, better, than, means, difference, (low, high), covers)
