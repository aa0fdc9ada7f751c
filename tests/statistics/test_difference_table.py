"""The table of differences: each row a paired difference, the p values corrected over all of them."""

import math

import numpy as np
import pytest
from support.estimates import estimate

from aimc_robust.errors import UnknownNameError
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.multiple_testing import holm
from aimc_robust.statistics.paired_difference import compare_pairs, difference_table, paired_difference


def accuracies(seed, seeds=1, chips=8, mean=80.0):
    return np.random.default_rng(seed).normal(mean, 1.0, (seeds, chips))


ESTIMATES = {
    ("sgd", "rram"): estimate(accuracies(0)),
    ("sgd", "sonos"): estimate(accuracies(1, mean=80.5)),
    ("rwp", "rram"): estimate(accuracies(2, mean=83.0)),
    ("rwp", "sonos"): estimate(accuracies(3, mean=81.0)),
    ("sgd", "digital"): estimate([[90.0]]),
    ("rwp", "digital"): estimate([[89.0]]),
}
COMPARISONS = [
    (("rwp", "rram"), ("sgd", "rram")),
    (("rwp", "sonos"), ("sgd", "sonos")),
    (("sgd", "sonos"), ("sgd", "rram")),
]


def test_each_row_is_a_paired_difference():
    table = difference_table(ESTIMATES, COMPARISONS)
    for (first, second), (_, row) in zip(COMPARISONS, table.iterrows(), strict=True):
        found = paired_difference(ESTIMATES[first], ESTIMATES[second])
        assert (row["first_model"], row["first_target"]) == first
        assert (row["second_model"], row["second_target"]) == second
        assert (row["difference"], row["ci_low"], row["ci_high"], row["p"]) == (found.mean, *found.ci, found.p_value)
        assert (row["pairs"], row["covers"]) == (8, "chips")


def test_the_p_values_are_corrected_over_the_whole_table():
    table = difference_table(ESTIMATES, COMPARISONS)
    assert list(table["p_holm"]) == list(holm(table["p"]))
    assert table["p_holm"].min() == pytest.approx(3 * table["p"].min())
    assert list(table["settled"]) == list(table["p_holm"] < 0.05)
    assert set(table["settled"]) == {True, False}


def test_a_pair_that_occurs_twice_counts_once_in_either_direction():
    once = compare_pairs(ESTIMATES, COMPARISONS)
    twice = compare_pairs(ESTIMATES, [*COMPARISONS, *COMPARISONS, *[pair[::-1] for pair in COMPARISONS]])
    for first, second in COMPARISONS:
        here, back = twice[first, second], twice[second, first]
        assert here == once[first, second]
        assert (back.p_holm, back.settled, back.sign) == (here.p_holm, here.settled, -here.sign)


def test_a_difference_that_cannot_be_tested_is_not_settled():
    estimates = {("a", "x"): estimate([[80.0]]), ("b", "x"): estimate([[70.0]])}
    comparison = compare_pairs(estimates, [(("a", "x"), ("b", "x"))])[("a", "x"), ("b", "x")]
    assert comparison.difference.mean == 10.0
    assert (comparison.settled, comparison.sign) == (False, 0)


def test_what_is_settled_alone_may_not_be_among_many():
    rng = np.random.default_rng(0)
    estimates = {(f"m{i}", "x"): estimate(rng.normal(80.0, 1.0, (1, 10))) for i in range(20)}
    estimates["good", "x"] = estimate(rng.normal(81.5, 1.0, (1, 10)))
    pairs = [(key, ("m0", "x")) for key in estimates if key != ("m0", "x")]
    good = ("good", "x"), ("m0", "x")
    assert compare_pairs(estimates, [good])[good].settled
    assert not compare_pairs(estimates, pairs)[good].settled


def test_a_large_difference_among_thirty_of_none_is_the_one_that_stays():
    rng = np.random.default_rng(0)
    estimates = {(f"m{i}", "rram"): estimate(rng.normal(80.0 + 10.0 * (i == 7), 1.0, (1, 8))) for i in range(31)}
    base = estimate(rng.normal(80.0, 1.0, (1, 8)))
    table = difference_table(estimates | {("base", "rram"): base}, [(key, ("base", "rram")) for key in estimates])
    assert list(table.index[table["p_holm"] < 0.05]) == [7]
    assert (table["p_holm"] >= table["p"]).all()
    assert (table["p_holm"] > table["p"]).any()


@pytest.mark.parametrize("turned", [False, True])
def test_digital_is_paired_with_every_chip(turned):
    pair = (("sgd", "digital"), ("sgd", "rram"))
    (_, row), *_ = difference_table(ESTIMATES, [pair[::-1] if turned else pair]).iterrows()
    sign = -1 if turned else 1
    analog = ESTIMATES["sgd", "rram"]
    low, high = (90.0 - limit for limit in analog.ci[::-1])
    assert row["difference"] == pytest.approx(sign * (90.0 - analog.mean))
    assert sorted([sign * row["ci_low"], sign * row["ci_high"]]) == pytest.approx([low, high])
    assert row["pairs"] == 8


def test_digital_is_paired_within_each_trained_model():
    digital, analog = np.array([[90.0], [92.0], [91.0]]), accuracies(5, seeds=3, mean=-10.0)
    analog += digital  # a model that is better digitally is better on every chip
    estimates = {("a", "digital"): estimate(digital), ("b", "rram"): estimate(analog)}
    (_, row), *_ = difference_table(estimates, [(("b", "rram"), ("a", "digital"))]).iterrows()
    found = paired_difference(estimate(analog), estimate(np.repeat(digital, 8, axis=1)))
    assert (row["difference"], row["ci_low"], row["ci_high"]) == pytest.approx((found.mean, *found.ci))
    assert (row["pairs"], row["covers"]) == (24, "models")


def test_two_digital_models_differ_without_an_interval():
    (_, row), *_ = difference_table(ESTIMATES, [(("sgd", "digital"), ("rwp", "digital"))]).iterrows()
    assert (row["difference"], row["pairs"]) == (1.0, 1)
    assert all(math.isnan(row[name]) for name in ("ci_low", "ci_high", "p", "p_holm"))


def test_a_single_chip_of_a_device_is_not_taken_for_all_of_them():
    estimates = ESTIMATES | {("sgd", "pcm"): estimate([[75.0]])}
    (_, row), *_ = difference_table(estimates, [(("sgd", "pcm"), ("sgd", "rram"))]).iterrows()
    assert row["pairs"] == 1


def other_models(table):
    return Estimate(table.assign(train_seed=table["train_seed"] + 10))


@pytest.mark.parametrize("target", ["rram", "digital"])
def test_what_shares_no_model_has_an_empty_row_that_does_not_count(target):
    estimates = ESTIMATES | {("late", target): other_models(ESTIMATES["sgd", target].table)}
    table = difference_table(estimates, [*COMPARISONS, (("late", target), ("sgd", "rram"))])
    last = table.iloc[-1]
    assert (last["pairs"], last["covers"]) == (0, "")
    assert last[["difference", "ci_low", "ci_high", "p", "p_holm"]].isna().all()
    assert list(table["p_holm"][:-1]) == list(difference_table(ESTIMATES, COMPARISONS)["p_holm"])


def test_an_unknown_key_is_named_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'sgd on ram'.*'sgd on rram'"):
        difference_table(ESTIMATES, [(("sgd", "ram"), ("rwp", "rram"))])


def test_no_comparison_is_an_empty_table_with_all_columns():
    table = difference_table(ESTIMATES, [])
    assert list(table.columns) == list(difference_table(ESTIMATES, COMPARISONS).columns)
    assert table.empty
