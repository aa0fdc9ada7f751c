"""The search against brute force over all levels, and how often a confirmed level has too low a yield."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimc_robust.evaluation.requirements.search import BLOCK, LevelSearch, confirm
from aimc_robust.statistics.binomial import allowed_failures, chips_for_yield


def passes_from(thresholds, calls=None):
    """A chip passes at its threshold and at easier levels."""

    def passes(level, chips):
        if calls is not None:
            calls.extend((level, chip) for chip in chips)
        return [level >= thresholds[chip] for chip in chips]

    return passes


@given(
    thresholds=st.lists(st.integers(0, 31), min_size=1, max_size=60),
    allowed=st.integers(0, 5),
    start=st.integers(-3, 40),
    jump=st.integers(1, 9),
)
@settings(max_examples=200, deadline=None)
def test_the_search_finds_what_all_levels_of_all_chips_give(thresholds, allowed, start, jump):
    levels = 30  # a threshold of 30 or 31 is never reached
    calls = []
    search = LevelSearch(passes_from(thresholds, calls), levels, range(len(thresholds)), allowed)
    enough = [level for level in range(levels) if sum(level < t for t in thresholds) <= allowed]
    assert search.hardest(start, jump) == min(enough, default=None)
    assert len(calls) == len(set(calls))  # nothing is measured twice


def test_the_search_measures_a_fraction_of_all():
    thresholds = np.random.default_rng(0).integers(30, 70, size=93)
    calls = []
    LevelSearch(passes_from(thresholds, calls), 107, range(93), 1).hardest(50, 8)
    assert len(calls) < 4 * 93


def test_a_failing_level_ends_with_its_block():
    calls = []
    assert confirm(passes_from([99] * 64, calls), 5, levels=90, chips=range(64), allowed=1) is None
    assert len(calls) == BLOCK


def test_a_level_is_confirmed_from_the_easiest_on():
    thresholds = [0] * 58 + [11]  # one chip fails at levels 0 to 10
    confirmed = confirm(passes_from(thresholds), 10, levels=30, chips=range(59), allowed=0)
    assert (confirmed.level, confirmed.passing, confirmed.chips) == (11, 59, 59)
    tolerant = confirm(passes_from(thresholds), 10, levels=30, chips=range(59), allowed=1)
    assert (tolerant.level, tolerant.passing) == (10, 58)


def wrong_share(required, *, confirming, repetitions=3000):
    """How often the level has a yield below the required one. Thresholds are uniform: level k has the yield k / 100."""
    generator = np.random.default_rng(1)
    chips = chips_for_yield(required, failures=1)
    allowed, wrong, levels = allowed_failures(chips, required), 0, []
    for _ in range(repetitions):
        thresholds = generator.integers(1, 101, size=2 * chips)
        passes = passes_from(thresholds)
        found = LevelSearch(passes, 101, range(chips), allowed).hardest(80, 8)
        if confirming:
            confirmed = confirm(passes, found, levels=101, chips=range(chips, 2 * chips), allowed=allowed)
            found = 100 if confirmed is None else confirmed.level
        else:  # the mistake: chips that chose the level, and the share of them instead of its bound
            found = int(np.sort(thresholds[:chips])[int(np.ceil(required * chips)) - 1])
        wrong += found < 100 * required
        levels.append(found)
    return wrong / repetitions, np.mean(levels)


@pytest.mark.slow
@pytest.mark.parametrize("required", [0.8, 0.95])
def test_a_confirmed_level_is_wrong_in_at_most_5_percent(required):
    wrong, mean = wrong_share(required, confirming=True)
    assert wrong <= 0.05
    assert mean < 100 * required + 75 * (1 - required) + 1  # and is not safe by being far too easy


def test_the_share_of_the_chips_that_chose_the_level_is_not_enough():
    assert wrong_share(0.95, confirming=False)[0] > 0.2
