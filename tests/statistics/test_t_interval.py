"""Errors of means: intervals and p values are one statement, at every level."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aimc_robust.statistics.t_interval import MeanError, mean_error, t_interval

variances = st.floats(1e-6, 1e4)
errors = st.builds(
    MeanError, variances, st.integers(1, 30), variances, st.integers(1, 60), variances, st.integers(1, 600)
)


@given(errors, st.floats(0.01, 30.0))
def test_the_p_value_is_the_level_whose_interval_ends_at_0(error, ratio):
    mean = ratio * error.half_width() / 10.0
    p = error.p_value(mean)
    assert 0.0 <= p <= 1.0
    assert p == error.p_value(-mean)
    if 1e-200 < p < 0.999:
        assert error.half_width(p) == pytest.approx(mean, rel=1e-6)


@given(errors, st.floats(1e-12, 1.0), st.floats(1e-12, 1.0))
def test_intervals_of_higher_confidence_are_wider(error, one, other):
    low, high = sorted((one, other))
    assert error.half_width(low) >= error.half_width(high)


@given(errors)
def test_shared_chips_never_narrow_an_interval(error):
    alone = MeanError(error.variance, error.df)
    assert error.half_width() >= alone.half_width()
    assert error.p_value(1.0) >= alone.p_value(1.0)


def test_a_chip_effect_counts_beyond_what_noise_produces_at_the_level():
    error = MeanError(1.0, 4, 3.0, 9, 2.0, 36)
    for level in (0.5, 0.05, 1e-3):
        quantile = stats.f.ppf(min(10 * level, 0.5), 9, 36)
        t = stats.t.ppf(1 - level / 2, [4, 9])
        assert error.half_width(level) == pytest.approx(math.sqrt(t[0] ** 2 + t[1] ** 2 * (3.0 - quantile * 2.0)))


@pytest.mark.parametrize("n", [2, 10])
def test_one_sample_is_scipys_t_interval_and_t_test(n):
    values = np.random.default_rng(n).normal(1.0, 2.0, n)
    found = stats.ttest_1samp(values, 0.0)
    assert t_interval(values) == pytest.approx(tuple(found.confidence_interval()))
    assert mean_error(values).p_value(values.mean()) == pytest.approx(found.pvalue)


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0]], ids=["a single value", "no spread"])
def test_without_an_error_there_is_no_test(values):
    assert math.isnan(mean_error(values).p_value(3.0))
