"""Hall's interval: the transformed statistic lies within the quantiles of Student's t at its ends."""

import math

import numpy as np
import pytest
from scipy import stats

from aimc_robust.statistics.t_interval import hall_interval, skewness, t_interval

SKEWED = 90.0 - np.random.default_rng(0).gamma(1.0, 3.0, 20)


def transformed(limit, values):
    """Hall's statistic for a true mean of `limit`."""
    n, g = len(values), stats.skew(values, bias=False)
    t = (values.mean() - limit) / stats.sem(values)
    return t + g * t**2 / (3 * math.sqrt(n)) + g**2 * t**3 / (27 * n) + g / (6 * math.sqrt(n))


def test_the_transformed_statistic_meets_students_quantiles_at_the_ends():
    low, high = hall_interval(SKEWED)
    quantile = stats.t.ppf(0.975, 19)
    assert transformed(low, SKEWED) == pytest.approx(quantile)
    assert transformed(high, SKEWED) == pytest.approx(-quantile)


def test_the_longer_arm_lies_on_the_side_of_the_tail():
    low, high = hall_interval(SKEWED)
    assert SKEWED.mean() - low > 1.5 * (high - SKEWED.mean())
    mirrored = hall_interval(-SKEWED)
    assert mirrored == pytest.approx((-high, -low))


def test_without_skewness_it_is_students_interval():
    symmetric = np.concatenate([SKEWED, 2 * SKEWED.mean() - SKEWED])
    assert skewness(symmetric) == pytest.approx(0.0, abs=1e-9)
    assert hall_interval(symmetric) == pytest.approx(t_interval(symmetric))


def test_the_skewness_is_scipys_adjusted_one():
    assert skewness(SKEWED) == pytest.approx(stats.skew(SKEWED, bias=False))


@pytest.mark.parametrize("values", [[1.0, 2.0], [5.0, 5.0, 5.0, 5.0]])
def test_too_few_or_equal_values_have_no_skewness(values):
    assert math.isnan(skewness(values))


def test_few_values_have_no_interval_and_equal_ones_one_of_width_0():
    assert all(map(math.isnan, hall_interval(SKEWED[:4])))
    assert hall_interval([5.0] * 6) == (5.0, 5.0)
