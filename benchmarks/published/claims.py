"""Tests of a paper's claims: each claim is a paired difference of two results of the comparison."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from aimc_robust.errors import InputError, UnknownNameError, exact_text
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.paired_difference import Comparison, Key, PairedDifference

from .claim import Claim, Side

ClaimState = Literal["held", "did not hold", "not settled"]
HELD: ClaimState = "held"
NOT_HELD: ClaimState = "did not hold"
NOT_SETTLED: ClaimState = "not settled"


@dataclass(frozen=True)
class ClaimResult:
    """A claim and the outcome of its test.

    Attributes:
        text: The claim.
        state: `HELD` if the interval lies on the claim's side of 0, `NOT_HELD` if it lies below the smallest lead that
            counts, else `NOT_SETTLED`.
        better: Key of what the claim says is better; None without rows.
        than: Key of what it is compared with; None without rows.
        estimates: Estimates of `better` and `than`; None without rows.
        difference: better - than, paired over models and chips; None if they cannot be paired.
        interval: Interval of `difference`, corrected for all comparisons of the page; None if it could not be tested.
        reason: Why there is no difference, or how the claim did not hold; else empty.
    """

    text: str
    state: ClaimState
    better: Key | None = None
    than: Key | None = None
    estimates: tuple[Estimate, Estimate] | None = None
    difference: PairedDifference | None = None
    interval: tuple[float, float] | None = None
    reason: str = ""


def claim_pairs(
    claims: Sequence[Claim], spec: ComparisonSpec, estimates: Mapping[Key, Estimate]
) -> Iterator[tuple[Key, Key]]:
    """Yield every (better, than) pair that a claim may come to: each side may name several methods."""
    for claim in claims:
        sides = [candidates(claim, side, estimates) for side in (claim.better, claim.than)]
        for better, than in itertools.product(*sides):
            if spec.data_of(better[0]) == spec.data_of(than[0]):
                yield better, than


def candidates(claim: Claim, side: Side, estimates: Mapping[Key, Estimate]) -> dict[Key, Estimate]:
    """Return the results that a side may come to, by the keys that the page compares them by.

    A loss has the key (label, "loss on TARGET"). Methods without rows, or whose loss overflowed on some chip, are left
    out.
    """
    found: dict[Key, Estimate] = {}
    for label in side.labels:
        estimate = estimates.get((label, side.target))
        if estimate is None:
            continue
        if claim.metric == "accuracy":
            found[label, side.target] = estimate
            continue
        try:
            found[label, f"{claim.metric} on {side.target}"] = estimate.for_column(claim.metric)
        except (InputError, UnknownNameError):
            continue
    return found


def check_claims(
    claims: Sequence[Claim],
    spec: ComparisonSpec,
    estimates: Mapping[Key, Estimate],
    comparisons: Mapping[tuple[Key, Key], Comparison],
    smallest_lead: float = 0.0,
) -> list[ClaimResult]:
    """Test each claim on the results.

    If a side of a claim names several methods, the one with the best mean on its target represents it, or the worst
    where the side says so.

    Args:
        claims: The claims of a layout.
        spec: The spec of the comparison.
        estimates: (label, target) -> estimate.
        comparisons: All comparisons of the page, with those of `claim_pairs`.
        smallest_lead: Smallest lead in accuracy that counts [points]: a claim of accuracy whose lead is settled to be
            smaller, and not settled to be above 0, did not hold. A claim of losses does so only if the opposite is
            settled.

    Returns:
        One result per claim.
    """
    return [_check_claim(claim, spec, estimates, comparisons, smallest_lead) for claim in claims]


def _check_claim(
    claim: Claim,
    spec: ComparisonSpec,
    estimates: Mapping[Key, Estimate],
    comparisons: Mapping[tuple[Key, Key], Comparison],
    smallest_lead: float,
) -> ClaimResult:
    chosen: list[tuple[Key, Estimate]] = []
    for side in (claim.better, claim.than):
        found = candidates(claim, side, estimates)
        if not found:
            names = ", ".join(side.labels) or "methods that this comparison does not include"
            rows = "rows" if claim.metric == "accuracy" else f"rows with a finite {claim.metric}"
            return ClaimResult(claim.text, NOT_SETTLED, reason=f"no {rows} of {names} on {side.target}")
        chosen.append(_represent(side, found))
    (better, first), (than, second) = chosen
    result = ClaimResult(claim.text, NOT_SETTLED, better, than, (first, second))
    comparison = comparisons.get((better, than))
    if comparison is None:
        same_data = spec.data_of(better[0]) == spec.data_of(than[0])
        reason = "not among the comparisons of this page" if same_data else "not paired: different data sets"
        return replace(result, reason=reason)
    if comparison.difference is None:
        return replace(result, reason="not paired: no training seed in common")
    result = replace(result, difference=comparison.difference, interval=comparison.simultaneous_ci)
    if comparison.simultaneous_ci is None:
        return result
    low, high = sorted(first.metric.loss_of(end, 0.0) for end in comparison.simultaneous_ci)  # of the lead of `better`
    if low > 0.0:
        return replace(result, state=HELD)
    if high < 0.0:
        return replace(result, state=NOT_HELD, reason="the opposite is settled")
    if claim.metric == "accuracy" and high < smallest_lead:
        return replace(result, state=NOT_HELD, reason=f"any lead is below {exact_text(smallest_lead)} points")
    return result


def _represent(side: Side, found: Mapping[Key, Estimate]) -> tuple[Key, Estimate]:
    """Return the best of the results, or the worst if the side asks for it; the first of several."""
    sign = -1.0 if side.pick == "worst" else 1.0
    return min(found.items(), key=lambda item: sign * item[1].metric.loss_of(0.0, item[1].mean))
