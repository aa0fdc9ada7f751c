"""Yield and its exact interval against statsmodels, and its coverage summed over the binomial distribution."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint
from support.estimates import estimate

from aimc_robust.errors import InputError
from aimc_robust.statistics.binomial import (
    allowed_failures,
    chips_for_yield,
    clopper_pearson,
    share_interval,
    yield_bounds,
)

COUNTS = [(0, 1), (1, 1), (0, 25), (3, 25), (25, 25), (50, 100), (999, 1000)]


@pytest.mark.parametrize(("above", "chips"), COUNTS)
def test_the_interval_agrees_with_statsmodels(above, chips):
    assert clopper_pearson(above, chips) == pytest.approx(proportion_confint(above, chips, method="beta"))


@pytest.mark.parametrize(("above", "chips"), COUNTS)
def test_each_limit_leaves_the_count_a_tail_of_two_and_a_half_percent(above, chips):
    low, high = clopper_pearson(above, chips)
    if above > 0:
        assert stats.binom.sf(above - 1, chips, low) == pytest.approx(0.025)
    if above < chips:
        assert stats.binom.cdf(above, chips, high) == pytest.approx(0.025)


def limits(chips, interval=clopper_pearson):
    """(chips + 1, 2): the interval of every count."""
    return np.array([interval(count, chips) for count in range(chips + 1)])


def covered(distribution, share, limits):
    """Probability, under a distribution of the count 0 .. chips, that the count's interval holds `share`."""
    return float(distribution[(limits[:, 0] <= share) & (share <= limits[:, 1])].sum())


def binomial(chips, share):
    return stats.binom.pmf(np.arange(chips + 1), chips, share)


def wald(count, chips):
    """The textbook interval, as a negative control."""
    half = 1.96 * math.sqrt(count * (chips - count) / chips**3)
    return count / chips - half, count / chips + half


@pytest.mark.parametrize("chips", [1, 5, 25, 100])
def test_it_never_covers_less_than_95_percent(chips):
    shares = np.linspace(0.001, 0.999, 333)
    exact = limits(chips)
    found = [covered(binomial(chips, p), p, exact) for p in shares]
    assert min(found) >= 0.95
    if chips == 100:
        assert np.mean(found) < 0.98  # and is not wide for nothing


def test_the_textbook_interval_would():
    assert covered(binomial(25, 0.95), 0.95, limits(25, wald)) < 0.80


def independent(*yields):
    """Distribution of how many of the models pass on a chip, 0 .. models, if each decides on its own."""
    distribution = np.ones(1)
    for p in yields:
        distribution = np.convolve(distribution, [1.0 - p, p])
    return distribution


def covered_in_common(passing, chips, interval):
    """Probability that an interval of (share, chips) holds the yield of models that meet the same chips."""
    models, distribution = len(passing) - 1, np.ones(1)
    for _ in range(chips):
        distribution = np.convolve(distribution, passing)
    shares = np.arange(len(distribution)) / (models * chips)
    found = np.array([interval(share, chips) for share in shares])
    return covered(distribution, passing @ np.arange(models + 1) / models, found)


AGREE = np.array([0.3, 0.0, 0.0, 0.7])  # three models, which all pass on a chip or all fail
DEPENDENCES = [AGREE, independent(0.5, 0.9, 0.95), independent(0.05, 0.95, 0.5), independent(0.9, 0.9, 0.9)]
DEPENDENCES += list(np.random.default_rng(0).dirichlet([0.3] * 4, size=60))


@pytest.mark.parametrize("chips", [2, 10, 25])
def test_models_that_meet_the_same_chips_are_covered_however_much_they_agree(chips):
    assert min(covered_in_common(passing, chips, share_interval) for passing in DEPENDENCES) >= 0.95


def test_chips_of_all_models_counted_as_independent_would_not_be():
    def pooled(share, chips):
        return clopper_pearson(round(share * 3 * chips), 3 * chips)

    assert covered_in_common(AGREE, 10, pooled) < 0.80


def test_an_estimate_counts_the_chips_at_or_above_the_threshold():
    found = estimate([[80.0, 90.0, 70.0, 85.0]]).yield_at(80.0)
    assert (found.passing, found.chips, found.share, found.threshold) == (3, 4, 75.0, 80.0)
    low, high = clopper_pearson(3, 4)
    assert found.ci == pytest.approx((100 * low, 100 * high))
    assert found.covers == "chips of this model"


def test_with_several_models_all_their_chips_count_and_the_interval_says_whose():
    found = estimate([[80.0, 90.0], [70.0, 85.0, 95.0]]).yield_at(85)
    assert (found.passing, found.chips) == (3, 5)
    assert found.share == pytest.approx(100.0 * (1 / 2 + 2 / 3) / 2)  # each model counts the same
    assert found.ci == pytest.approx([100.0 * limit for limit in share_interval(found.share / 100.0, 2)])
    assert found.covers == "chips of these models"


def test_ten_chips_that_three_models_meet_are_ten():
    chips = [90.0] * 7 + [70.0] * 3
    assert estimate([chips] * 3).yield_at(80.0).ci == pytest.approx(estimate([chips]).yield_at(80.0).ci)


def test_a_threshold_that_an_accuracy_meets_to_the_last_image_counts():
    shares = [100.0 * 933 / 1000, 100.0 * 932 / 1000]
    assert estimate([shares]).yield_at(93.3).passing == 1


def test_a_perfect_sample_of_25_chips_does_not_promise_a_perfect_yield():
    low, high = estimate([[99.0] * 25]).yield_at(90.0).ci
    assert (low, high) == pytest.approx((100 * 0.025 ** (1 / 25), 100.0))


@pytest.mark.parametrize("threshold", [math.nan, math.inf, "90"])
def test_a_threshold_that_is_no_finite_number_is_refused(threshold):
    with pytest.raises(InputError, match="threshold"):
        estimate([[80.0, 90.0]]).yield_at(threshold)


@pytest.mark.parametrize(("above", "chips"), [(0, 0), (3, 2), (-1, 2), (0.5, 2)])
def test_counts_that_cannot_be_are_refused(above, chips):
    with pytest.raises(InputError, match="whole number"):
        clopper_pearson(above, chips)


@pytest.mark.parametrize(("passing", "chips"), [(0, 4), (59, 59), (92, 93), (3, 25)])
def test_a_one_sided_bound_leaves_the_count_a_tail_of_five_percent(passing, chips):
    low, high = yield_bounds(passing, chips)
    if passing > 0:
        assert stats.binom.sf(passing - 1, chips, low) == pytest.approx(0.05)
    if passing < chips:
        assert stats.binom.cdf(passing, chips, high) == pytest.approx(0.05)
    assert (low > 0) == (passing > 0)
    assert (high < 1) == (passing < chips)


@pytest.mark.parametrize(
    ("required", "failures", "chips"), [(0.95, 0, 59), (0.95, 1, 93), (0.9, 0, 29), (0.99, 0, 299)]
)
def test_the_numbers_of_chips_are_those_of_wilks(required, failures, chips):
    assert chips_for_yield(required, failures) == chips
    assert allowed_failures(chips, required) == failures
    assert allowed_failures(chips - 1, required) == failures - 1


@pytest.mark.parametrize("required", [0.0, 1.0, -0.1, 95])
def test_a_yield_that_no_number_of_chips_shows_is_refused(required):
    with pytest.raises(InputError, match="above 0 and below 1"):
        chips_for_yield(required)
