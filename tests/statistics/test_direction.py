"""A metric of which lower values are better: each statistic is the mirror image of that of the negated values."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.estimates import estimate

from aimc_robust.errors import InputError
from aimc_robust.statistics.estimate import Estimate, WorstChip
from aimc_robust.statistics.paired_difference import compare_pairs, difference_table, paired_difference
from aimc_robust.statistics.primary_metric import PrimaryMetric

LOWER = PrimaryMetric("perplexity", better="lower", bounds=(1.0, math.inf))
HIGHER = PrimaryMetric("score", better="higher", bounds=(-math.inf, -1.0))
VALUES = hnp.arrays(
    float,
    st.tuples(st.just(2), st.integers(1, 4), st.integers(1, 6)),  # methods, models, chips
    elements=st.floats(1.0, 1e6, allow_subnormal=False),
)
KEYS = ("a", "x"), ("b", "x")


def both(values):
    """The estimates of two methods, and of their negated values where higher is better."""
    return [
        [estimate(sign * method, metric=metric) for method in values] for sign, metric in ((1.0, LOWER), (-1.0, HIGHER))
    ]


def same(found, mirrored):
    assert found == pytest.approx(-mirrored, rel=1e-9, abs=1e-9, nan_ok=True)


@given(VALUES)
def test_estimates_are_mirrored(values):
    lower, higher = (estimates[0] for estimates in both(values))
    same(lower.mean, higher.mean)
    for low, high in ((lower.ci, higher.ci), (lower.skewed_ci, higher.skewed_ci)):
        same(low[0], high[1])
        same(low[1], high[0])
    same(lower.skewness, higher.skewness)
    same(lower.reached_by(0.95), higher.reached_by(0.95))
    same(lower.quantile(0.3), higher.quantile(0.7))
    assert lower.worst == WorstChip(-higher.worst.value, higher.worst.train_seed, higher.worst.chip)
    spreads = [(e.components.noise, *e.components.noise_ci, e.sd_noise, e.sd_seed) for e in (lower, higher)]
    assert spreads[0] == pytest.approx(spreads[1], nan_ok=True)


@given(VALUES, st.integers(0, 23))
def test_yields_are_mirrored(values, chip):
    lower, higher = (estimates[0] for estimates in both(values))
    threshold = values[0].flat[chip % values[0].size]  # at the threshold a chip passes
    found, mirrored = lower.yield_at(threshold), higher.yield_at(-threshold)
    assert (found.passing, found.chips) == (mirrored.passing, mirrored.chips)
    assert found.passing == (values[0] <= threshold).sum()


@given(VALUES)
def test_who_is_settled_to_be_better_is_the_same(values):
    lower, higher = (dict(zip(KEYS, estimates, strict=True)) for estimates in both(values))
    found, mirrored = compare_pairs(lower, [KEYS])[KEYS], compare_pairs(higher, [KEYS])[KEYS]
    assert (found.settled, found.sign) == (mirrored.settled, mirrored.sign)
    same(found.difference.mean, mirrored.difference.mean)
    if found.settled:
        assert (found.sign == 1) == (values[0].mean() < values[1].mean())


def test_the_lower_of_two_perplexities_is_settled_to_be_better_with_a_negative_difference():
    values = np.random.default_rng(0).normal([[[14.0]], [[16.0]]], 0.1, (2, 1, 10))
    estimates = dict(zip(KEYS, both(values)[0], strict=True))
    found = compare_pairs(estimates, [KEYS, KEYS[::-1]])
    assert (found[KEYS].sign, found[KEYS[::-1]].sign) == (1, -1)
    assert difference_table(estimates, [KEYS])["difference"][0] == pytest.approx(-2.0, abs=0.1)


def test_the_worst_chip_the_quantile_and_the_yield_of_perplexities():
    found = estimate([[12.0, 19.0, 14.0, 15.0]], metric=LOWER)
    assert found.worst == WorstChip(19.0, train_seed=0, chip=1)
    assert found.reached_by(0.95) == pytest.approx(np.quantile([12.0, 14.0, 15.0, 19.0], 0.95))
    assert found.yield_at(14.0).passing == 2


def test_an_interval_ends_where_the_metric_does():
    found = estimate([[1.0, 1.1, 9.0]], metric=LOWER)
    assert found.ci[0] == 1.0
    assert found.ci[1] - found.mean == pytest.approx(found.effects.mean_error().half_width())


@pytest.mark.parametrize("value", [0.5, math.nan, math.inf])
def test_a_value_outside_the_metrics_bounds_is_refused(value):
    with pytest.raises(InputError, match="perplexity"):
        estimate([[2.0, value]], metric=LOWER)


def test_what_is_no_share_of_images_has_no_sampling_error():
    assert math.isnan(estimate([[14.0, 15.0]], metric=LOWER, n=4000).sampling_half_width)


def test_two_metrics_have_no_difference():
    first, second = (estimates[0] for estimates in both(np.full((1, 2, 3), 5.0)))
    with pytest.raises(InputError, match="perplexity and score"):
        paired_difference(first, second)
    with pytest.raises(InputError, match="perplexity and score"):
        compare_pairs(dict(zip(KEYS, (first, second), strict=True)), [KEYS])


def test_other_columns_have_their_own_direction_and_the_way_back_keeps_the_first():
    table = pd.DataFrame({"train_seed": 0, "chip": [0, 1], "perplexity": [12.0, 19.0], "loss": [2.5, 2.9]})
    table["hits"], table["mae"] = [0.3, 0.1], [0.4, 0.2]
    found = Estimate(table, metric=LOWER, others=(PrimaryMetric("mae", better="lower"),))
    assert [found.for_column(name).worst.chip for name in ("perplexity", "hits", "mae")] == [1, 1, 0]
    assert found.for_column("hits").for_column("perplexity").worst == found.worst
    assert Estimate(table, metric=LOWER).for_column("loss").worst.value == 2.9


def test_the_better_end_of_the_share_that_is_reached():
    found = estimate([[10.0, 20.0, 30.0]])
    assert (found.reached_by(1.0), found.reached_by(0.0)) == (10.0, 30.0)
    assert found.reached_by(0.95) == pytest.approx(found.quantile(0.05))
