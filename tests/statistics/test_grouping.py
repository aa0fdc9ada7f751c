"""Splitting by model gives the same numbers whether or not all models have equally many chips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimc_robust.statistics.grouping import group_by_model, model_means, model_stds


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_each_model_has_its_own_values_mean_and_deviation_to_the_last_bit(counts, key):
    seeds = np.repeat(np.arange(len(counts)) * 3, counts)
    values = np.random.default_rng(key).normal(70.0, 3.0, len(seeds))
    expected = [values[seeds == seed] for seed in np.unique(seeds)]
    found = group_by_model(seeds, values)
    assert [list(chips) for chips in found] == [list(chips) for chips in expected]
    assert model_means(found).tolist() == [chips.mean() for chips in expected]
    assert model_stds(found).tolist() == [chips.std(ddof=1) for chips in expected if len(chips) > 1]


@pytest.mark.parametrize(("counts", "together"), [([4, 4], True), ([1, 1, 1], True), ([3, 5], False), ([5, 3], False)])
def test_models_of_equal_size_are_one_array(counts, together):
    seeds = np.repeat(np.arange(len(counts)), counts)
    assert isinstance(group_by_model(seeds, np.zeros(len(seeds))), np.ndarray) == together
