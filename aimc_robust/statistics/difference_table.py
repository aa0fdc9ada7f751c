"""A table of paired differences between models and targets, with p values that hold all together."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from aimc_robust.errors import unknown_name
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.multiple_testing import holm
from aimc_robust.statistics.paired_difference import paired_difference

Key = tuple[str, str]
"""(label of a model or method, name of a target)"""

DIGITAL = "digital"  # the target that is the same on every chip and has one row per model
COLUMNS = [
    "first_model", "first_target", "second_model", "second_target",
    "difference", "ci_low", "ci_high", "p", "p_holm", "pairs", "covers",
]  # fmt: skip


def difference_table(estimates: Mapping[Key, AccuracyEstimate], comparisons: Iterable[tuple[Key, Key]]) -> pd.DataFrame:
    """A row per comparison: first - second [percentage points], paired by (seed, chip), with its 95 % interval.

    p: two-sided paired t test; p_holm: corrected over the table (`correction.holm`), while the intervals stand each
    alone. pairs: (seed, chip) pairs that both have; covers: `models`, or `chips` with a single model. The target
    `digital` is paired with every chip of the other side. Two that share no pair get a row of 0 pairs and NaN.
    Raises UnknownNameError for a key that has no estimate. See `paired_difference`.
    """
    rows = [[*first, *second, *_difference(estimates, first, second)] for first, second in comparisons]
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_holm"])
    table["p_holm"] = holm(table["p"].to_numpy(dtype=float))
    return table[COLUMNS]


def _difference(
    estimates: Mapping[Key, AccuracyEstimate], first: Key, second: Key
) -> tuple[float, float, float, float, int, str]:
    """difference, ci_low, ci_high, p, pairs, covers"""
    for key in (first, second):
        if key not in estimates:
            raise unknown_name("model and target", " on ".join(key), [" on ".join(known) for known in estimates])
    left, right = estimates[first], estimates[second]
    if first[1] == DIGITAL and second[1] != DIGITAL:
        left = _on_chips_of(right, left)
    elif second[1] == DIGITAL and first[1] != DIGITAL:
        right = _on_chips_of(left, right)
    if left is None or right is None or left.accuracies.index.intersection(right.accuracies.index).empty:
        return math.nan, math.nan, math.nan, math.nan, 0, ""
    found = paired_difference(left, right)
    return found.mean, *found.ci, found.p_value, found.pairs, "models" if found.seeds > 1 else "chips"


def _on_chips_of(other: AccuracyEstimate, digital: AccuracyEstimate) -> AccuracyEstimate | None:
    """The digital accuracy of each model on every chip of `other`; None where they have no model in common."""
    table = other.table[["seed", "chip"]].merge(digital.table[["seed", "accuracy"]], on="seed")
    return None if table.empty else AccuracyEstimate(table)
