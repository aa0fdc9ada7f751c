"""What a paper states and rows can test: each statement with its paired difference and whether it held here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.published_table import Claim
from aimc_robust.report.comparison.paper_table import best_label
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.difference_table import difference_table

HELD, FAILED, OPEN = "held", "did not hold", "not settled"
Key = tuple[str, str]


@dataclass(frozen=True)
class Verdict:
    """A statement and what became of it.

    better, than: (label, target) of either side, the best where a side stands for several; None without rows.
    difference, ci: better - than [points], paired over models and chips, with its 95 % interval; None where they cannot
    be paired, and `why` says so. covers: `models`, or `chips` where one model was trained.
    """

    text: str
    state: str
    better: Key | None = None
    than: Key | None = None
    means: tuple[float, float] | None = None
    difference: float | None = None
    ci: tuple[float, float] | None = None
    covers: str = ""
    why: str = ""


def verdicts(spec: ComparisonSpec, estimates: Mapping[Key, AccuracyEstimate]) -> list[Verdict]:
    """Each claim of the spec's paper against the rows.

    It held, or did not, where the interval of the difference leaves out 0. Where a side stands for several methods the
    best on its target speaks for it, chosen by the same rows: that favours the side with more of them.
    """
    return [] if spec.paper is None else [_verdict(c, spec, estimates) for c in spec.paper.build_claims(spec.labels)]


def _verdict(claim: Claim, spec: ComparisonSpec, estimates: Mapping[Key, AccuracyEstimate]) -> Verdict:
    sides = []
    for labels, target in (claim.better, claim.than):
        label = best_label(labels, target, estimates)
        if label is None:
            names = ", ".join(labels) or "methods that this comparison leaves out"
            return Verdict(claim.text, OPEN, why=f"there are no rows of {names} on {target}")
        sides.append((label, target))
    better, than = sides
    means = estimates[better].mean, estimates[than].mean
    if spec.data_of(better[0]) != spec.data_of(than[0]):
        return Verdict(claim.text, OPEN, better, than, means, why="not paired: the two have other data")
    row = difference_table(estimates, [(better, than)]).iloc[0]
    if row["pairs"] == 0:
        return Verdict(claim.text, OPEN, better, than, means, why="not paired: the two share no seed")
    low, high = float(row["ci_low"]), float(row["ci_high"])
    settled = low < high and (low > 0 or high < 0)  # without width: too few values to say
    state = OPEN if not settled else HELD if low > 0 else FAILED
    found = {"difference": float(row["difference"]), "ci": (low, high), "covers": row["covers"]}
    return Verdict(claim.text, state, better, than, means, **found)
