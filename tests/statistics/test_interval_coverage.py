"""Nominal 95 % intervals hold the truth in 93 to 97 of 100 repetitions; those that should not, do not.

A share of 2000 repetitions has a standard error of 0.5 points.
"""

import itertools

import numpy as np
import pytest
from scipy import stats
from support.benchmark_scripts import load_script
from support.estimates import estimate

from aimc_robust.statistics.crossed_effects import CrossedEffects
from aimc_robust.statistics.paired_difference import paired_difference
from aimc_robust.statistics.t_interval import MeanError, hall_interval, t_interval
from aimc_robust.statistics.two_stage_sampling import chips_needed

script = load_script("statistics/coverage.py")
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


@pytest.mark.parametrize("chips", [10, 25])
def test_over_strongly_skewed_chips_halls_interval_covers_and_students_does_not(chips):
    values = skewed(np.random.default_rng(chips), chips, sd=6.0, shape=1.0)
    assert honest(coverage([hall_interval(row) for row in values]))
    assert coverage([t_interval(row) for row in values]) < 0.93


def test_a_normal_quantile_in_place_of_students_would_cover_too_little():
    values = normal(np.random.default_rng(5), 5)
    half = 1.96 * values.std(axis=1, ddof=1) / np.sqrt(5)
    assert coverage(np.stack([values.mean(1) - half, values.mean(1) + half], axis=1)) < 0.90


SHARES = list(itertools.product((0.0, 0.05, 0.2, 0.5), (0.0, 0.14, 0.3)))  # of the variance: models, chips


@pytest.mark.parametrize("chips", [5, 10, 50])
@pytest.mark.parametrize("models", [2, 3, 10, 20])
def test_over_models_that_share_their_chips(models, chips):
    coverages = [
        1.0 - script.miss_rate(MeanError.half_width, models, chips, model_share=a, chip_share=b) for a, b in SHARES
    ]
    assert min(coverages) > 0.938
    assert max(coverages) < 0.981


@pytest.mark.parametrize("level", [1e-3, 1e-5])
@pytest.mark.parametrize(("models", "chips"), [(2, 50), (3, 25), (10, 5), (20, 10)])
def test_tests_at_the_small_levels_of_a_correction_keep_them(models, chips, level):
    for a, b in SHARES:
        rate = script.miss_rate(MeanError.half_width, models, chips, model_share=a, chip_share=b, level=level)
        assert rate < 1.05 * level


def test_chips_taken_for_independent_between_models_would_cover_far_too_little():
    def student(models, chips):
        return 1.0 - script.miss_rate(script.student_over_models, models, chips, model_share=0.09, chip_share=0.14)

    assert student(3, 10) == pytest.approx(0.941, abs=0.003)
    assert student(10, 10) == pytest.approx(0.868, abs=0.003)
    assert student(20, 5) < 0.80


def crossed(rng, models, chips, sd_model, sd_chip, sd_residual, repetitions=1000):
    effects = rng.normal(0, sd_model, (repetitions, models, 1)) + rng.normal(0, sd_chip, (repetitions, 1, chips))
    return TRUTH + effects + rng.normal(0, sd_residual, (repetitions, models, chips))


@pytest.mark.parametrize("sds", [(1.0, 0.0, 2.0), (0.5, 1.0, 2.0), (0.0, 1.0, 0.5)])
def test_the_quadrature_agrees_with_simulated_tables(sds):
    values = crossed(np.random.default_rng(1), 4, 10, *sds)
    shares = np.square(sds) / np.square(sds).sum()
    expected = 1.0 - script.miss_rate(MeanError.half_width, 4, 10, model_share=shares[0], chip_share=shares[1])
    assert coverage([estimate(each).ci for each in values[:20]]) >= 0.8  # the same through tables
    assert coverage([crossed_interval(each) for each in values]) == pytest.approx(expected, abs=0.022)


@pytest.mark.slow
def test_over_models_that_stopped_after_different_numbers_of_chips():
    for sd_chip in (0.0, 1.0):
        intervals = []
        for table in crossed(np.random.default_rng(8), 4, 80, 0.5, sd_chip, 2.0):
            stopped = [min(chips_needed(row[:10], 1.0), 80) for row in table]
            intervals.append(crossed_interval(np.where(np.arange(80) < np.array(stopped)[:, None], table, np.nan)))
        assert 0.93 <= coverage(intervals) <= 0.98


def crossed_interval(matrix):
    effects = CrossedEffects(matrix[:, ~np.isnan(matrix).all(axis=0)])
    mean, half_width = effects.model_means.mean(), effects.mean_error().half_width()
    return mean - half_width, mean + half_width


def test_pooled_chips_of_few_models_would_cover_far_too_little_for_new_models():
    values = nested(np.random.default_rng(3), 3, 10, 2.0, 2.0)
    assert coverage([t_interval(row) for row in values.reshape(REPETITIONS, -1)]) < 0.75


@pytest.mark.parametrize("shape", [(1, 8), (3, 5), (5, 3)], ids=["over chips", "over 3 models", "over 5 models"])
def test_paired_differences_with_chips_that_are_bad_for_both(shape):
    rng = np.random.default_rng(shape[0])
    shared = rng.normal(0, 5.0, (REPETITIONS, 1, shape[1]))
    first, second = (nested(rng, *shape, (shape[0] > 1) * 1.0, 0.5) + shared for _ in range(2))
    first += 0.7
    # `paired_difference` through its tables for some, the interval it comes to for all.
    intervals = np.array([crossed_interval(each) for each in first - second])
    for i in range(20):
        assert paired_difference(estimate(first[i]), estimate(second[i])).ci == pytest.approx(intervals[i])
    assert 0.93 <= coverage(intervals, truth=0.7) <= 0.98


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
        intervals.append(t_interval(values[: chips[-1]], 10))
    assert honest(coverage(intervals))
    if half_width < 1:
        assert np.std(chips) > 5  # the stops did differ


def test_stopping_at_a_half_width_with_a_cap_and_a_small_pilot():
    intervals = []
    for values in normal(np.random.default_rng(11), 30):
        n = min(chips_needed(values[:4], 0.6), 30)
        intervals.append(t_interval(values[:n], 4))
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
        intervals.append(t_interval(row[: min(chips_needed(row[:pilot], 0.9), 200)], pilot))
    assert honest(coverage(intervals))
