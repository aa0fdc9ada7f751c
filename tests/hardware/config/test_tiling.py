"""Cutting a matrix into arrays: every index once, never above the limit, CrossSim's cut where that keeps within it."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aimc_robust.hardware.config.tiling import partition


def crosssims_sizes(count: int, limit: int) -> list[int]:
    """CrossSim 3.2's: as few arrays as possible, rint(count / arrays) each, the rest in the last."""
    arrays = -(-count // limit)
    size = round(count / arrays)
    return [size] * (arrays - 1) + [count - size * (arrays - 1)]


@settings(derandomize=True)
@given(st.integers(1, 2000), st.integers(1, 300))
@example(18, 5)  # CrossSim's last array would have 6
@example(5, 4)
@example(1, 1)
def test_every_index_is_in_one_array_and_no_array_exceeds_the_limit(count, limit):
    tiles = partition(count, limit)
    assert [index for start, stop in tiles for index in range(start, stop)] == list(range(count))
    sizes = [stop - start for start, stop in tiles]
    assert min(sizes) > 0
    assert max(sizes) <= limit
    assert len(sizes) == -(-count // limit)  # and no more arrays than are needed
    theirs = crosssims_sizes(count, limit)
    if min(theirs) > 0 and max(theirs) <= limit:
        assert sizes == theirs
    else:
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("count", "limit", "sizes"), [(49, 16, [12, 12, 12, 13]), (49, 17, [16, 16, 17]), (70, 32, [23, 23, 24])]
)
def test_recorded_cuts_are_crosssims(count, limit, sizes):
    assert [stop - start for start, stop in partition(count, limit)] == sizes


@pytest.mark.parametrize("limit", [0, 7, 8])
def test_a_matrix_within_the_limit_stays_whole(limit):
    assert partition(7, limit) == [(0, 7)]


def test_crosssims_own_cut_would_break_the_limit():
    assert crosssims_sizes(18, 5) == [4, 4, 4, 6]
    assert [stop - start for start, stop in partition(18, 5)] == [4, 5, 4, 5]
