"""Claim: a report without true differences calls a difference settled with a probability of at most 5 %.

    python benchmarks/statistics/family_wise_error.py

Reports of 6 methods on 10 targets. A chip is bad for all methods, a trained model is good on all targets, and beyond
that each method has its own bad chips. The rule of the reports (every method against the baseline on every target,
Holm over all of them) beside single comparisons of the best method with the baseline, by Student t over the trained
models: what these reports once did.
"""

import itertools
from typing import NamedTuple

import numpy as np

from aimc_robust.statistics.t_interval import LEVEL, MeanError

METHODS, TARGETS = 6, 10
REPORTS = 2000


class Spread(NamedTuple):
    """Standard deviations of accuracies [points]."""

    model: float = 1.0  # between trained models of a method, on all targets
    model_on_target: float = 0.5  # in addition, on one target
    chip: float = 2.0  # between chips, for all methods
    chip_of_method: float = 0.7  # in addition, for one method
    residual: float = 1.5


TYPICAL = Spread()


def accuracies(rng: np.random.Generator, reports: int, seeds: int, chips: int, spread: Spread = TYPICAL) -> np.ndarray:
    """Accuracies of equally good methods, shape (reports, methods, targets, seeds, chips)."""
    shape = (reports, METHODS, TARGETS, seeds, chips)

    def effect(sd: float, axes: str) -> np.ndarray:
        return sd * rng.standard_normal([n if axis in axes else 1 for axis, n in zip("rmtsc", shape, strict=True)])

    models = effect(spread.model, "rms") + effect(spread.model_on_target, "rmts")
    return (
        models + effect(spread.chip, "rtc") + effect(spread.chip_of_method, "rmtc") + effect(spread.residual, "rmtsc")
    )


def mean_errors(differences: np.ndarray) -> tuple[np.ndarray, MeanError]:
    """Means of differences of shape (..., seeds, chips), and their errors, as `CrossedEffects` has them for one."""
    seeds, chips = differences.shape[-2:]
    models, columns = differences.mean(axis=-1), differences.mean(axis=-2)
    mean = models.mean(axis=-1)
    residuals = differences - models[..., None] - columns[..., None, :] + mean[..., None, None]
    dfs = seeds - 1, chips - 1, (seeds - 1) * (chips - 1)
    error = MeanError(
        models.var(axis=-1, ddof=1) / seeds, dfs[0],
        columns.var(axis=-1, ddof=1) / chips, dfs[1],
        (residuals**2).sum(axis=(-2, -1)) / dfs[2] / (seeds * chips), dfs[2],
    )  # fmt: skip
    return mean, error


def settled(mean: np.ndarray, error: MeanError) -> np.ndarray:
    """Which differences of shape (reports, comparisons) Holm's method settles in each report."""
    comparisons = mean.shape[1]
    found = np.zeros(mean.shape, dtype=bool)
    while True:
        counts, before = found.sum(axis=1), found.copy()
        for count in np.unique(counts[counts < comparisons]):
            rows = counts == count
            part = MeanError(*(value[rows] if np.ndim(value) else value for value in error))
            found[rows] |= np.abs(mean[rows]) > part.half_width(LEVEL / (comparisons - count))
        if np.array_equal(found, before):
            return found


def judge_reports(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each headline (best method above the baseline on a target) is settled, by today's and the old rule.

    Also counts a method that is settled below the baseline as a headline of the new rule.

    Args:
        values: Accuracies, shape (reports, methods, targets, seeds, chips); method 0 is the baseline.

    Returns:
        Two arrays of shape (reports, targets).
    """
    differences = values[:, 1:] - values[:, :1]
    mean, error = mean_errors(differences)
    flat = MeanError(*(v.reshape(len(v), -1) if np.ndim(v) else v for v in error))
    new = settled(mean.reshape(len(mean), -1), flat).reshape(mean.shape).any(axis=1)
    best = np.expand_dims(mean.argmax(axis=1), 1)
    top, variance = (np.take_along_axis(v, best, axis=1)[:, 0] for v in (mean, error.variance))
    return new, top > MeanError(variance, error.df).half_width()


def main() -> None:
    print(f"Methods: {METHODS}, targets: {TARGETS}, reports: {REPORTS}\n")
    print("| seeds | chips | true difference | reports: any settled [%] | single comparisons | headlines settled [%] | "
          "single comparisons |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for (seeds, chips), gain in itertools.product([(3, 10), (3, 25), (5, 25), (10, 25)], (0.0, 2.0, 5.0, 10.0)):
        rng = np.random.default_rng([seeds, chips])
        parts = []
        for _ in range(REPORTS // 100):
            values = accuracies(rng, 100, seeds, chips)
            values[:, -1] += gain
            parts.append(judge_reports(values))
        cells = []
        for share in (lambda x: x.any(axis=1).mean(), np.mean):
            cells += [f"{100 * share(np.concatenate(rule)):.1f}" for rule in zip(*parts, strict=True)]
        print(f"| {seeds} | {chips} | {gain:g} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
