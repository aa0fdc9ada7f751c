"""Holm's correction against statsmodels, by hand, and by how often a true null is rejected."""

import gc

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from aimc_robust.errors import InputError
from aimc_robust.statistics.multiple_testing import holm


def test_three_p_values_by_hand():
    # Sorted: 0.01 x 3, 0.02 x 2 raised to none, 0.03 x 1 raised to the 0.04 before it.
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])


@pytest.mark.parametrize("m", [1, 2, 7, 30])
def test_it_agrees_with_statsmodels(m, monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda *_: 0)  # statsmodels does at every call: with torch loaded, half a second
    rng = np.random.default_rng(m)
    for _ in range(4):
        p_values = rng.choice([0.0, 0.001, 0.01, 1.0, *rng.random(m) ** 4], m)  # ties and both ends too
        np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], rtol=1e-12)


def test_what_was_not_tested_stays_nan_and_does_not_count():
    found = holm([0.03, np.nan, 0.01, 0.02, np.nan])
    assert np.isnan(found).tolist() == [False, True, False, False, True]
    assert found[[0, 2, 3]] == pytest.approx([0.04, 0.03, 0.04])


@pytest.mark.parametrize("p_values", [[], [np.nan, np.nan]], ids=["no test", "none possible"])
def test_nothing_to_correct_is_no_error(p_values):
    assert np.isnan(holm(p_values)).all()
    assert len(holm(p_values)) == len(p_values)


def p_values_under_the_null(shared):
    """(4000 tables, 8 tests) of normal statistics with a common part, as differences from one baseline have."""
    rng = np.random.default_rng(5)
    z = np.sqrt(shared) * rng.normal(size=(4000, 1)) + np.sqrt(1 - shared) * rng.normal(size=(4000, 8))
    return 2 * stats.norm.sf(np.abs(z))


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_a_table_without_differences_shows_one_in_at_most_5_of_100(shared):
    tables = p_values_under_the_null(shared)
    some = np.mean([(holm(table) <= 0.05).any() for table in tables])
    assert some <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(tables))
    assert some > 0.02  # it does not buy that by never finding anything


def test_uncorrected_it_would_show_one_in_a_third_of_all_tables():
    assert (p_values_under_the_null(0.0) <= 0.05).any(1).mean() > 0.3  # 1 - 0.95^8


@pytest.mark.parametrize("p_values", [[0.5, 1.1], [-0.1], [[0.1], [0.2]]], ids=["above 1", "below 0", "a matrix"])
def test_what_are_no_p_values_is_refused(p_values):
    with pytest.raises(InputError, match="p_values"):
        holm(p_values)
