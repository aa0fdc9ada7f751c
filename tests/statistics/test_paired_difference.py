"""Differences of two methods on the same models, chips and images."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aimc_robust.errors import InputError
from aimc_robust.statistics.crossed_effects import CrossedEffects
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.paired_difference import paired_difference


def estimate(values, *, first_chip=0, first_seed=0):
    seeds, chips = np.shape(values)
    rows = [
        {"train_seed": first_seed + s, "chip": first_chip + c, "accuracy": values[s][c]}
        for s in range(seeds)
        for c in range(chips)
    ]
    return Estimate(pd.DataFrame(rows))


def two_methods(seeds, chips, *, difference=1.0, chip_effect=8.0):
    """Two tables: a bad chip is bad for both, what remains is small."""
    rng = np.random.default_rng(seeds * 100 + chips)
    shared = 60.0 + rng.normal(0, 1.0, (seeds, 1)) + rng.normal(0, chip_effect, (seeds, chips))
    own = rng.normal(0, 0.3, (2, seeds, chips))
    return shared + difference + own[0], shared + own[1]


def interval(values):
    return stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))


def width(ci):
    return ci[1] - ci[0]


def test_with_one_model_the_interval_is_over_its_chips():
    first, second = two_methods(1, 25)
    found = paired_difference(estimate(first), estimate(second))
    assert found.mean == pytest.approx((first - second).mean())
    assert found.ci == pytest.approx(interval((first - second)[0]))


def test_with_more_models_the_interval_is_over_them():
    first, second = two_methods(4, 10)
    found = paired_difference(estimate(first), estimate(second))
    assert found.mean == pytest.approx((first - second).mean())
    half_width = CrossedEffects(first - second).mean_error().half_width()
    assert found.ci == pytest.approx((found.mean - half_width, found.mean + half_width))


def test_with_more_models_and_one_chip_the_interval_is_students_over_them():
    first, second = two_methods(4, 1)
    found = paired_difference(estimate(first), estimate(second))
    assert found.ci == pytest.approx(interval((first - second)[:, 0]))


def test_a_chip_that_is_bad_for_one_method_is_so_in_all_its_models():
    first, second = two_methods(10, 10)
    effect = np.random.default_rng(0).normal(0.0, 2.0, (1, 10))
    alone, shared = (paired_difference(estimate(x), estimate(second)) for x in (first, first + effect))
    assert width(shared.ci) > 5 * width(alone.ci)
    assert shared.p_value > alone.p_value


def test_what_both_share_cancels():
    first, second = two_methods(1, 25)
    paired = paired_difference(estimate(first), estimate(second))
    unpaired = interval(first[0]), interval(second[0])
    assert width(paired.ci) < 0.1 * min(map(width, unpaired))
    assert paired.p_value < 1e-6
    assert unpaired[0][0] < unpaired[1][1]  # side by side the two could not be told apart


def test_exchanging_the_two_turns_the_sign():
    first, second = map(estimate, two_methods(3, 5))
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert back.mean == pytest.approx(-there.mean)
    assert back.ci == pytest.approx((-there.ci[1], -there.ci[0]))


def test_rows_are_paired_by_seed_and_chip_and_not_by_position():
    first, second = two_methods(3, 5)
    shuffled = Estimate(estimate(second).table.sample(frac=1.0, random_state=0))
    expected = paired_difference(estimate(first), estimate(second))
    found = paired_difference(estimate(first), shuffled)
    assert found.mean == pytest.approx(expected.mean)
    assert found.ci == pytest.approx(expected.ci)


def test_only_what_both_have_counts():
    first, second = two_methods(1, 10)
    found = paired_difference(estimate(first), estimate(second[:, 4:], first_chip=4))
    assert found.ci == pytest.approx(interval((first - second)[0, 4:]))


@pytest.mark.parametrize("shift", [{"first_chip": 10}, {"first_seed": 10}], ids=["other chips", "other seeds"])
def test_two_estimates_that_share_nothing_are_refused(shift):
    first, second = two_methods(2, 3)
    with pytest.raises(InputError, match="train_seed"):
        paired_difference(estimate(first), estimate(second, **shift))


def test_a_single_pair_has_a_difference_and_no_interval():
    found = paired_difference(estimate([[12.0]]), estimate([[10.0]]))
    assert found.mean == 2.0
    assert all(map(math.isnan, found.ci))


def test_with_one_model_the_p_value_is_that_of_scipys_paired_t_test_over_chips():
    first, second = two_methods(1, 25, difference=0.1)
    found = paired_difference(estimate(first), estimate(second))
    assert found.p_value == pytest.approx(stats.ttest_rel(first[0], second[0]).pvalue)
    assert (found.seeds, found.pairs) == (1, 25)


@pytest.mark.parametrize("chips", [1, 10])
def test_with_more_models_the_p_value_is_the_level_whose_interval_ends_at_0(chips):
    first, second = two_methods(4, chips, difference=0.1)
    found = paired_difference(estimate(first), estimate(second))
    error = CrossedEffects(first - second).mean_error()
    assert error.half_width(found.p_value) == pytest.approx(abs(found.mean))
    assert (found.seeds, found.pairs, found.covers) == (4, 4 * chips, "models")
    if chips == 1:
        assert found.p_value == pytest.approx(stats.ttest_rel(first[:, 0], second[:, 0]).pvalue)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("difference", np.linspace(-0.4, 0.4, 9))
def test_the_p_value_is_below_5_percent_exactly_where_the_interval_leaves_out_zero(difference, seeds):
    found = paired_difference(*map(estimate, two_methods(seeds, 8, difference=difference)))
    assert (not found.ci[0] <= 0.0 <= found.ci[1]) is (found.p_value < 0.05)


def test_exchanging_the_two_leaves_the_p_value():
    first, second = map(estimate, two_methods(3, 5))
    assert paired_difference(first, second).p_value == pytest.approx(paired_difference(second, first).p_value)


def test_differences_that_are_equal_but_for_rounding_settle_nothing():
    second = np.array([[70.1, 12.7, 35.3]])
    found = paired_difference(estimate(second + 0.1), estimate(second))
    assert len(set((second + 0.1 - second)[0])) > 1
    assert math.isnan(found.p_value)


def test_a_difference_without_a_test_has_no_p_value():
    assert math.isnan(paired_difference(estimate([[12.0]]), estimate([[10.0]])).p_value)
