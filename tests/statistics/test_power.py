"""The number of seeds that `plan` names settles differences as often as it says."""

import math

import numpy as np
import pytest
from support.estimates import estimate

from aimc_robust.errors import InputError
from aimc_robust.statistics.paired_difference import compare_pairs, paired_difference
from aimc_robust.statistics.power import POWER, power_of, seeds_table, seeds_to_settle
from aimc_robust.statistics.t_interval import LEVEL

COMPARISONS = 10


def accuracies(rng, seeds, chips, shift=0.0, chip_sd=0.0):
    """(seeds, chips) accuracies of one method: models differ by 1 point, chips cost this method `chip_sd`."""
    models, of_chips = rng.standard_normal((seeds, 1)), chip_sd * rng.standard_normal((1, chips))
    return 50.0 + shift + models + of_chips + 0.5 * rng.standard_normal((seeds, chips))


def difference(rng, seeds, chips, **options):
    return paired_difference(
        estimate(accuracies(rng, seeds, chips, **options)), estimate(accuracies(rng, seeds, chips))
    )


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "size"), [(4, 6.0), (8, 2.5), (15, 1.5)])
def test_the_power_is_the_share_of_simulated_pages_that_settle_the_difference(seeds, size):
    rng = np.random.default_rng(0)
    predicted = power_of(difference(rng, 400, 10), size, seeds, COMPARISONS)
    settled = [difference(rng, seeds, 10, shift=size).p_value < LEVEL / COMPARISONS for _ in range(400)]
    assert 0.2 < predicted < 0.99
    assert abs(np.mean(settled) - predicted) < 0.08


def test_the_seeds_named_are_the_fewest_with_that_power():
    pilot = difference(np.random.default_rng(1), 6, 10)
    seeds = seeds_to_settle(pilot, 2.0, COMPARISONS)
    assert power_of(pilot, 2.0, seeds, COMPARISONS) >= POWER > power_of(pilot, 2.0, seeds - 1, COMPARISONS)
    assert seeds_to_settle(pilot, 1.0, COMPARISONS) > seeds
    assert seeds_to_settle(pilot, 2.0, 10 * COMPARISONS) > seeds


def test_seeds_do_not_settle_what_the_chips_hide():
    pilot = difference(np.random.default_rng(2), 50, 4, chip_sd=10.0)
    assert seeds_to_settle(pilot, 2.0, COMPARISONS) is None


def test_a_single_model_shows_no_spread():
    assert seeds_to_settle(difference(np.random.default_rng(3), 1, 10), 2.0, COMPARISONS) is None


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan])
def test_a_difference_of_nothing_is_refused(size):
    with pytest.raises(InputError, match="above 0"):
        seeds_to_settle(difference(np.random.default_rng(4), 3, 4), size, COMPARISONS)


def test_the_table_has_a_row_per_target():
    rng = np.random.default_rng(5)
    estimates = {
        (method, target): estimate(spread * accuracies(rng, 5, 6))
        for method in ("a", "b", "c")
        for target, spread in (("quiet", 0.1), ("wild", 1.0))
    }
    pairs = [((method, target), ("a", target)) for method in ("b", "c") for target in ("quiet", "wild")]
    table = seeds_table(compare_pairs(estimates, pairs), 0.5).set_index("target")
    assert list(table["pairs"]) == [2, 2]
    assert table.loc["wild", "sd"] > 5.0 * table.loc["quiet", "sd"]
    expected = max(
        seeds_to_settle(paired_difference(estimates[first], estimates[second]), 0.5, 4)
        for first, second in pairs
        if first[1] == "quiet"
    )
    assert table.loc["quiet", "seeds_largest"] == expected
