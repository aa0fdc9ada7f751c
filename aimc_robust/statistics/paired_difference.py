"""Paired differences on the same seeds, chips and images, and which of all that a page makes are settled."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from aimc_robust.errors import InputError, unknown_name
from aimc_robust.statistics.crossed_effects import CrossedEffects, chip_matrix
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.estimate_keys import Key, checked_pairs, require_estimate
from aimc_robust.statistics.multiple_testing import holm
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.statistics.t_interval import LEVEL, MeanError

DIGITAL = "digital"  # this target is equal on every chip, so it has one row per model
COLUMNS = [
    "first_model", "first_target", "second_model", "second_target",
    "difference", "ci_low", "ci_high", "p", "p_holm", "settled", "pairs", "covers",
]  # fmt: skip


@dataclass(frozen=True)
class PairedDifference:
    """Difference first - second with its 95 % interval.

    Whether it is settled depends on all comparisons that are made beside it: see `compare_pairs`.

    Attributes:
        metric: What differs, in its unit; percentages differ by points.
        mean: Mean difference.
        ci: 95 % interval of the mean; NaN without replication.
        seeds: Number of trained models of each.
        p_value: Two-sided p value of 0: below 0.05 exactly where `ci` excludes 0. NaN without an interval or spread.
        pairs: Number of (seed, chip) pairs that both have.
        error: Sampling error of the mean, from which `ci` and `p_value` follow.
    """

    metric: PrimaryMetric
    mean: float
    ci: tuple[float, float]
    seeds: int
    p_value: float
    pairs: int
    error: MeanError

    @property
    def covers(self) -> Literal["models", "chips"]:
        """Population of `ci`: `models`, or `chips` if there is a single model."""
        return "models" if self.seeds > 1 else "chips"


def paired_difference(first: Estimate, second: Estimate) -> PairedDifference:
    """Compute first - second, paired by (seed, chip), so that shared effects cancel.

    The interval is that of `Estimate.ci`, applied to the differences: over models that meet the same chips, or over
    chips with one model. Digital weights are paired with every chip. If a pilot decided the number of chips of either,
    the differences of the (smaller) pilot give the standard deviation over the chips of one model. This is exact as for
    one estimate: what two pilots decide from their spreads is independent of the mean difference.

    Raises:
        InputError: if one is no Estimate, the two share no (train_seed, chip) pair, or are of different metrics.

    References:
        Miller, Adding error bars to evals, arXiv 2411.00640.
    """
    require_estimate("first", first)
    require_estimate("second", second)
    metric = first.metric
    if second.metric != metric:
        raise InputError(f"expected two estimates of one metric, got {metric.name} and {second.metric.name}.")
    if first.is_digital and not second.is_digital:
        first = _repeat_for_chips(first, second) or first
    elif second.is_digital and not first.is_digital:
        second = _repeat_for_chips(second, first) or second
    seeds, chips, differences = _pairs(first, second)
    if len(seeds) == 0:
        raise _UnpairedError(
            "the two estimates share no (train_seed, chip) pair; evaluate both on the same seeds and chips."
        )
    effects = CrossedEffects(chip_matrix(seeds, chips, differences))
    error = effects.mean_error(min((e.pilot for e in (first, second) if e.pilot is not None), default=None))
    mean = float(effects.model_means.mean())
    ci, p_value = _interval(metric, mean, error, LEVEL), error.p_value(mean)
    return PairedDifference(metric, mean, ci, len(effects.matrix), p_value, len(differences), error)


def _interval(metric: PrimaryMetric, mean: float, error: MeanError, level: float) -> tuple[float, float]:
    """Interval of confidence 1 - level, within what differences of the metric can be."""
    half_width, largest = error.half_width(level), metric.bounds[1] - metric.bounds[0]
    low, high = np.clip([mean - half_width, mean + half_width], -largest, largest)
    return float(low), float(high)


class _UnpairedError(InputError):
    """Two estimates have no (train_seed, chip) pair in common."""


def _pairs(first: Estimate, second: Estimate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seeds, chips, and first - second, of the (seed, chip) pairs that both have, in ascending order."""
    (seeds1, chips1, values1), (seeds2, chips2, values2) = first.sorted_rows, second.sorted_rows
    if np.array_equal(seeds1, seeds2) and np.array_equal(chips1, chips2):  # the common case
        return seeds1, chips1, values1 - values2
    pairs = np.column_stack([np.concatenate([seeds1, seeds2]), np.concatenate([chips1, chips2])])
    keys = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
    keys1, keys2 = keys[: len(seeds1)], keys[len(seeds1) :]
    _, rows1, rows2 = np.intersect1d(keys1, keys2, assume_unique=True, return_indices=True)
    return seeds1[rows1], chips1[rows1], values1[rows1] - values2[rows2]


@dataclass(frozen=True)
class Comparison:
    """A paired difference as one of all comparisons that a page makes.

    Attributes:
        difference: first - second; None if the two are unpaired, without a (seed, chip) pair in common.
        p_holm: Its p value, corrected for all comparisons of the page; NaN if it could not be tested.
        simultaneous_ci: Its interval of confidence 1 - 0.05 / m for m comparisons (Bonferroni): with 95 % confidence,
            those of the whole page contain their true differences. None if it could not be tested.
    """

    difference: PairedDifference | None
    p_holm: float
    simultaneous_ci: tuple[float, float] | None = None

    @property
    def settled(self) -> bool:
        """Whether the two differ: the corrected p value is below 0.05.

        Of all differences that a page calls settled, not a single one is due to chance with 95 % confidence.
        """
        return self.p_holm < LEVEL

    @property
    def sign(self) -> int:
        """1 if first is settled to be better than second, -1 if worse, 0 if nothing is settled."""
        if self.difference is None or not self.settled:
            return 0
        return 1 if self.difference.metric.is_better(self.difference.mean, 0.0) else -1


def compare_pairs(
    estimates: Mapping[Key, Estimate], pairs: Iterable[tuple[Key, Key]]
) -> dict[tuple[Key, Key], Comparison]:
    """Compare pairs (first, second) of estimates: the one definition of "settled" of all reports.

    Differences are paired by trained model and chip (`paired_difference`) and their p values are corrected for all
    comparisons together by Holm's method, which is valid whatever their dependence. So give all comparisons of a page
    in one call. A statement about a pair that was selected by its results, such as the best of M methods against the
    baseline, is valid if every pair that could have been selected is among `pairs`. A pair that occurs twice, in
    whatever order, counts once. The target `digital` is paired with every chip of the other side.

    Raises:
        UnknownNameError: if a key has no estimate.
    """
    pairs = list(dict.fromkeys(pairs))
    differences = {pair: _difference(estimates, *pair) for pair in pairs}
    tested = {frozenset(pair): d.p_value for pair, d in differences.items() if d is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    count = sum(not math.isnan(p) for p in tested.values())

    def comparison(pair: tuple[Key, Key], difference: PairedDifference | None) -> Comparison:
        p_holm = float(corrected.get(frozenset(pair), math.nan))
        if difference is None or math.isnan(p_holm):
            return Comparison(difference, p_holm)
        interval = _interval(difference.metric, difference.mean, difference.error, LEVEL / count)
        return Comparison(difference, p_holm, interval)

    return {pair: comparison(pair, difference) for pair, difference in differences.items()}


def difference_table(estimates: Mapping[Key, Estimate], comparisons: Iterable[tuple[Key, Key]]) -> pd.DataFrame:
    """Compute a table of paired differences with a row per pair; see `compare_pairs`.

    Args:
        estimates: Estimate of each (model, target).
        comparisons: Pairs (first, second) of keys of `estimates`.

    Returns:
        `difference`, `ci_low`, `ci_high`: first - second, in the metric's unit (points for a percentage), and its 95 %
        interval, not corrected for the other rows. `p`: its two-sided p value. `p_holm`: p value corrected over the
        table. `settled`: whether `p_holm` is below 0.05. `pairs`: number of (seed, chip) pairs that both have; with 0
        the other numbers are NaN. `covers`: population of the interval, `models`, or `chips` with a single model.

    Raises:
        InputError: if a key is no pair of names, or a value no Estimate.
        UnknownNameError: if a key has no estimate.
    """
    return comparison_table(compare_pairs(estimates, checked_pairs(estimates, comparisons)))


def comparison_table(comparisons: Mapping[tuple[Key, Key], Comparison]) -> pd.DataFrame:
    """Return the rows of `difference_table` of comparisons as `compare_pairs` makes them."""
    rows = []
    for (first, second), comparison in comparisons.items():
        d, settled = comparison.difference, comparison.settled
        unpaired = [math.nan, math.nan, math.nan, math.nan, math.nan, False, 0, ""]
        values = unpaired if d is None else [d.mean, *d.ci, d.p_value, comparison.p_holm, settled, d.pairs, d.covers]
        rows.append([*first, *second, *values])
    return pd.DataFrame(rows, columns=COLUMNS)


def _difference(estimates: Mapping[Key, Estimate], first: Key, second: Key) -> PairedDifference | None:
    for key in (first, second):
        if key not in estimates:
            raise unknown_name("model and target", " on ".join(key), [" on ".join(known) for known in estimates])
    minuend: Estimate | None = estimates[first]
    subtrahend: Estimate | None = estimates[second]
    if first[1] == DIGITAL and second[1] != DIGITAL:
        minuend = _repeat_for_chips(estimates[first], estimates[second])
    elif second[1] == DIGITAL and first[1] != DIGITAL:
        subtrahend = _repeat_for_chips(estimates[second], estimates[first])
    try:
        return None if minuend is None or subtrahend is None else paired_difference(minuend, subtrahend)
    except _UnpairedError:  # failed trainings left no (seed, chip) pair in common
        return None


def _repeat_for_chips(digital: Estimate, other: Estimate) -> Estimate | None:
    """Digital value of each model repeated for every chip of `other`; None without a common model."""
    values = digital.table[["train_seed", digital.metric.name]]
    table = other.table[["train_seed", "chip"]].merge(values, on="train_seed")
    return None if table.empty else Estimate(table, metric=digital.metric)
