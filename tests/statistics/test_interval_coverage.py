"""Nominal 95 % intervals hold the truth in 93 to 97 of 100 repetitions; those that should not, do not.

A share of 2000 repetitions has a standard error of 0.5 points.
"""

import numpy as np
import pytest
from scipy import stats
from support.estimates import estimate

from aimc_robust.statistics.paired_difference import paired_difference
from aimc_robust.statistics.t_interval import t_interval
from aimc_robust.statistics.two_stage_sampling import chips_needed, stein_interval
from aimc_robust.statistics.variance_components import variance_components

REPETITIONS = 2000
TRUTH = 80.0


def coverage(intervals, truth=TRUTH):
    """Share of intervals (repetitions, 2) that hold the truth."""
    low, high = np.transpose(np.asarray(intervals))
    return np.mean((low <= truth) & (truth <= high))


def honest(share):
    return 0.93 <= share <= 0.97


def normal(rng, n, sd=2.0):
    return TRUTH + rng.normal(0, sd, (REPETITIONS, n))


def skewed(rng, n, sd=2.0, shape=4.0):
    """Accuracies on 2000 images, of a probability with a tail of bad chips: skewness -2 / sqrt(shape)."""
    tail = (rng.gamma(shape, 1.0, (REPETITIONS, n)) - shape) / np.sqrt(shape)
    return 100 * rng.binomial(2000, (TRUTH - sd * tail) / 100) / 2000


def nested(rng, seeds, chips, sd_seed, sd_noise):
    """(repetitions, seeds, chips)"""
    between = rng.normal(0, sd_seed, (REPETITIONS, seeds, 1))
    return TRUTH + between + rng.normal(0, sd_noise, (REPETITIONS, seeds, chips))


@pytest.mark.parametrize("draw", [normal, skewed])
@pytest.mark.parametrize("chips", [5, 10, 25])
def test_over_chips(draw, chips):
    assert honest(coverage([t_interval(row) for row in draw(np.random.default_rng(chips), chips)]))


def test_a_normal_quantile_in_place_of_students_would_cover_too_little():
    values = normal(np.random.default_rng(5), 5)
    half = 1.96 * values.std(axis=1, ddof=1) / np.sqrt(5)
    assert coverage(np.stack([values.mean(1) - half, values.mean(1) + half], axis=1)) < 0.90


@pytest.mark.parametrize(("sd_seed", "sd_noise"), [(1.0, 0.3), (1.0, 8.0), (0.0, 2.0)])
@pytest.mark.parametrize("seeds", [3, 4, 5])
def test_over_models(seeds, sd_seed, sd_noise):
    values = nested(np.random.default_rng(seeds), seeds, 10, sd_seed, sd_noise)
    assert honest(coverage([t_interval(means) for means in values.mean(2)]))


def test_over_models_that_stopped_after_different_numbers_of_chips():
    rng = np.random.default_rng(8)
    intervals = []
    for models in nested(rng, 4, 80, 0.5, 2.0):
        stopped = [chips[: min(chips_needed(chips[:10], 1.0), 80)] for chips in models]
        intervals.append(t_interval(np.array([chips.mean() for chips in stopped])))
    assert honest(coverage(intervals))


def test_pooled_chips_of_few_models_would_cover_far_too_little_for_new_models():
    values = nested(np.random.default_rng(3), 3, 10, 2.0, 2.0)
    assert coverage([t_interval(row) for row in values.reshape(REPETITIONS, -1)]) < 0.75


@pytest.mark.parametrize("shape", [(1, 8), (3, 5), (5, 3)], ids=["over chips", "over 3 models", "over 5 models"])
def test_paired_differences_with_chips_that_are_bad_for_both(shape):
    rng = np.random.default_rng(shape[0])
    shared = rng.normal(0, 5.0, (REPETITIONS, 1, shape[1]))
    first, second = (nested(rng, *shape, (shape[0] > 1) * 1.0, 0.5) + shared for _ in range(2))
    first += 0.7
    differences = first - second
    # `paired_difference` through its tables for some, the interval it comes to for all.
    values = differences.mean(2) if shape[0] > 1 else differences[:, 0]
    intervals = np.array([t_interval(row) for row in values])
    for i in range(20):
        assert paired_difference(estimate(first[i]), estimate(second[i])).ci == pytest.approx(intervals[i])
    assert honest(coverage(intervals, truth=0.7))


def test_unpaired_the_chips_that_are_bad_for_both_would_only_widen_the_interval():
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 5.0, (REPETITIONS, 8))
    first, second = (TRUTH + shared + rng.normal(0, 0.5, (REPETITIONS, 8)) for _ in range(2))
    pairs = zip(first[:500], second[:500], strict=True)
    welch = [stats.ttest_ind(a, b, equal_var=False).confidence_interval() for a, b in pairs]
    assert coverage(welch, truth=0.0) > 0.999


@pytest.mark.parametrize("half_width", [0.4, 0.8, 1.5, 4.0])
@pytest.mark.parametrize("draw", [normal, skewed])
def test_stopping_at_a_half_width(draw, half_width):
    intervals, chips = [], []
    for values in draw(np.random.default_rng(10), 600):
        chips.append(min(chips_needed(values[:10], half_width), 600))
        intervals.append(stein_interval(values[: chips[-1]], 10))
    assert honest(coverage(intervals))
    if half_width < 1:
        assert np.std(chips) > 5  # the stops did differ


def test_stopping_at_a_half_width_with_a_cap_and_a_small_pilot():
    intervals = []
    for values in normal(np.random.default_rng(11), 30):
        n = min(chips_needed(values[:4], 0.6), 30)
        intervals.append(stein_interval(values[:n], 4))
    assert honest(coverage(intervals))


def looked_at_after_every_chip(values, pilot, half_width):
    """The t interval of the first n >= pilot chips at which it is narrow enough (or of all)."""
    n = np.arange(1, values.shape[1] + 1)
    means = np.cumsum(values, axis=1) / n
    squares = np.cumsum((values - TRUTH) ** 2, axis=1) - n * (means - TRUTH) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        half = stats.t.ppf(0.975, n - 1) * np.sqrt(squares / (n - 1) / n)
    narrow = (half <= half_width) & (n >= pilot)
    narrow[:, -1] = True
    at = narrow.argmax(axis=1)
    rows = np.arange(len(values))
    return np.stack([means[rows, at] - half[rows, at], means[rows, at] + half[rows, at]], axis=1)


@pytest.mark.parametrize("pilot", [3, 5])
def test_a_look_after_every_chip_would_cover_too_little(pilot):
    values = normal(np.random.default_rng(12), 200)
    assert coverage(looked_at_after_every_chip(values, pilot, 0.9)) < 0.93
    intervals = []
    for row in values:
        intervals.append(stein_interval(row[: min(chips_needed(row[:pilot], 0.9), 200)], pilot))
    assert honest(coverage(intervals))


@pytest.mark.parametrize("counts", [(10, 10, 10), (25, 4, 8, 15)], ids=["balanced", "unbalanced"])
def test_the_variance_components(counts):
    # 2000 repetitions: a standard error of 0.5 points.
    rng = np.random.default_rng(len(counts))
    found = [variance_components([rng.normal(0, 1.0) + rng.normal(TRUTH, 2.0, n) for n in counts]) for _ in range(2000)]
    assert honest(coverage([each.noise_ci for each in found], truth=2.0**2))
    assert honest(coverage([each.share_ci for each in found], truth=1.0 / (1.0 + 4.0)))


def test_the_interval_of_the_noise_would_cover_too_little_if_models_were_pooled():
    rng = np.random.default_rng(4)
    pooled = nested(rng, 3, 10, 2.0, 2.0)[:1000].reshape(1000, 1, 30)
    assert coverage([variance_components(models).noise_ci for models in pooled], truth=2.0**2) < 0.70
