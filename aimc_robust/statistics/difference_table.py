"""Table of paired differences between models and targets, with p values corrected for multiple testing."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from aimc_robust.errors import unknown_name
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.multiple_testing import holm
from aimc_robust.statistics.paired_difference import paired_difference

Key = tuple[str, str]
"""(label of a model or method, name of a target)"""

DIGITAL = "digital"  # this target is equal on every chip, so it has one row per model
COLUMNS = [
    "first_model", "first_target", "second_model", "second_target",
    "difference", "ci_low", "ci_high", "p", "p_holm", "pairs", "covers",
]  # fmt: skip


def difference_table(estimates: Mapping[Key, AccuracyEstimate], comparisons: Iterable[tuple[Key, Key]]) -> pd.DataFrame:
    """Compute a table of paired differences; see `paired_difference`.

    The target `digital` is paired with every chip of the other side. A comparison without a common (seed, chip) pair
    gets a row with 0 pairs and NaN.

    Args:
        estimates: Estimate of each (model, target).
        comparisons: Pairs (first, second) of keys of `estimates`.

    Returns:
        One row per comparison. `difference`, `ci_low`, `ci_high`: first - second [percentage points] and its 95 %
        interval, not corrected for the other rows. `p`: two-sided p value of the paired t test. `p_holm`: p value
        corrected over the table (`multiple_testing.holm`). `pairs`: number of (seed, chip) pairs that both have.
        `covers`: population of the interval, `models`, or `chips` with a single model.

    Raises:
        UnknownNameError: if a key has no estimate.
    """
    rows = [[*first, *second, *_difference(estimates, first, second)] for first, second in comparisons]
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p_holm"])
    table["p_holm"] = holm(table["p"].to_numpy(dtype=float))
    return table[COLUMNS]


def _difference(
    estimates: Mapping[Key, AccuracyEstimate], first: Key, second: Key
) -> tuple[float, float, float, float, int, str]:
    """Columns difference, ci_low, ci_high, p, pairs and covers of one row."""
    for key in (first, second):
        if key not in estimates:
            raise unknown_name("model and target", " on ".join(key), [" on ".join(known) for known in estimates])
    minuend: AccuracyEstimate | None = estimates[first]
    subtrahend: AccuracyEstimate | None = estimates[second]
    if first[1] == DIGITAL and second[1] != DIGITAL:
        minuend = _repeat_for_chips(estimates[first], estimates[second])
    elif second[1] == DIGITAL and first[1] != DIGITAL:
        subtrahend = _repeat_for_chips(estimates[second], estimates[first])
    if (
        minuend is None
        or subtrahend is None
        or minuend.accuracies.index.intersection(subtrahend.accuracies.index).empty
    ):
        return math.nan, math.nan, math.nan, math.nan, 0, ""
    result = paired_difference(minuend, subtrahend)
    return result.mean, *result.ci, result.p_value, result.pairs, "models" if result.seeds > 1 else "chips"


def _repeat_for_chips(digital: AccuracyEstimate, other: AccuracyEstimate) -> AccuracyEstimate | None:
    """Digital accuracy of each model repeated for every chip of `other`; None without a common model."""
    table = other.table[["seed", "chip"]].merge(digital.table[["seed", "accuracy"]], on="seed")
    return None if table.empty else AccuracyEstimate(table)
