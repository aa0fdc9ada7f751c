"""Stopping at a half-width: how many chips, and the interval that accounts for the look."""

import math

import numpy as np
import pytest
from scipy import stats
from support.estimates import estimate

from aimc_robust.errors import InputError
from aimc_robust.statistics.paired_difference import paired_difference
from aimc_robust.statistics.t_interval import t_interval
from aimc_robust.statistics.two_stage_sampling import DEFAULT_PILOT, chips_needed


def accuracies(n, seed=0):
    return np.random.default_rng(seed).normal(80.0, 1.5, n)


def half(interval):
    return (interval[1] - interval[0]) / 2


def test_the_number_of_chips_is_steins():
    pilot = accuracies(10)
    t = stats.t.ppf(0.975, 9)
    assert chips_needed(pilot, 0.3) == math.ceil((t * pilot.std(ddof=1) / 0.3) ** 2) > 10


@pytest.mark.parametrize("half_width", [0.1, 0.25, 0.5, 2.0])
@pytest.mark.parametrize("pilot", [2, 5, DEFAULT_PILOT])
def test_that_many_chips_reach_the_wished_half_width_and_one_fewer_would_not(pilot, half_width):
    values = accuracies(pilot)
    n = chips_needed(values, half_width)
    reached = half(t_interval(np.append(values, accuracies(n - pilot, seed=1)), pilot))
    assert reached <= half_width
    if n > pilot:
        assert reached * math.sqrt(n / (n - 1)) > half_width


def test_a_quiet_device_needs_no_more_than_the_pilot():
    assert chips_needed(accuracies(10), 50.0) == 10


def test_the_interval_has_the_mean_of_all_chips_and_the_spread_of_the_pilot():
    values = accuracies(40)
    mean, error = values.mean(), values[:10].std(ddof=1) / math.sqrt(40)
    assert t_interval(values, 10) == pytest.approx(stats.t.interval(0.95, 9, loc=mean, scale=error))
    assert t_interval(values, 10) != pytest.approx(t_interval(values), rel=1e-4)


@pytest.mark.parametrize("n", [2, 7, 10])
def test_up_to_the_pilot_it_is_the_t_interval(n):
    assert t_interval(accuracies(n), 10) == pytest.approx(t_interval(accuracies(n)))


def test_a_single_chip_has_no_interval():
    assert all(map(math.isnan, t_interval(accuracies(1), 10)))


def test_a_pilot_of_equal_values_asks_for_no_more_and_gives_no_width():
    pilot = [0.1 * 3 * 100] * 5 + [30.0] * 5  # equal but for rounding
    assert len(set(pilot)) == 2
    assert chips_needed(pilot, 1e-3) == 10
    low, high = t_interval(pilot, 10)
    assert low == high == pytest.approx(30.0)


def test_an_estimate_takes_the_first_chips_for_the_pilot_in_whatever_order_rows_arrived():
    values = accuracies(40)
    assert estimate([values], pilot=10).ci == pytest.approx(t_interval(values, 10))
    assert estimate([values], pilot=10).for_column("accuracy").ci == pytest.approx(t_interval(values, 10))
    assert estimate([values]).ci == pytest.approx(t_interval(values))


def test_over_models_the_interval_is_that_of_their_means_however_many_chips_each_took():
    models = [accuracies(n, seed=n) for n in (10, 23, 41)]
    assert estimate(models, pilot=10).ci == pytest.approx(t_interval(np.array([m.mean() for m in models])))


def test_differences_after_a_pilot_take_their_spread_from_the_pilot():
    first, second = accuracies(40), accuracies(30, seed=1)
    differences = first[:30] - second
    found = paired_difference(estimate([first], pilot=12), estimate([second], pilot=10))
    assert found.ci == pytest.approx(t_interval(differences, 10))
    t = abs(differences.mean()) / (differences[:10].std(ddof=1) / math.sqrt(30))
    assert found.p_value == pytest.approx(2 * stats.t.sf(t, 9))


@pytest.mark.parametrize(
    ("pilot", "half_width", "message"),
    [
        ([80.0], 0.5, "pilot_values"),
        ([80.0, math.nan], 0.5, "pilot_values"),
        ([80.0, 81.0], 0.0, "half_width"),
        ([80.0, 81.0], -1.0, "half_width"),
        ([80.0, 81.0], math.inf, "half_width"),
    ],
)
def test_what_cannot_be_decided_is_refused(pilot, half_width, message):
    with pytest.raises(InputError, match=message):
        chips_needed(pilot, half_width)


@pytest.mark.parametrize("pilot", [1, 0, 2.5])
def test_a_pilot_without_a_spread_is_refused(pilot):
    with pytest.raises(InputError, match="pilot"):
        estimate([accuracies(10)], pilot=pilot)
