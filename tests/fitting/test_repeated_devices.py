"""Goodness of fit where devices were programmed repeatedly: right about cells that are not independent."""

import numpy as np
import pytest
from support.measurements import programmed_repeatedly as table

from aimc_robust import fit_card
from aimc_robust.fitting.repeated_devices import design_effect, draw_devices, one_cell_per_device


def fit(rows, **options):
    return fit_card(rows, name="found", drift="none", **options)


@pytest.mark.parametrize("options", [{}, {"fixed": True}], ids=str)
def test_devices_with_offsets_of_their_own_are_not_called_badly_fitted(options):
    p = []
    for seed in range(8):
        rows = table(0.6, devices=60, cycles=8, seed=seed, **options)
        goodness = fit(rows).goodness
        assert goodness.faults() == []
        p.append((goodness.p_distance, goodness.p_anderson, goodness.p_law))
    assert (np.mean(p, axis=0) > 0.25).all()  # 0.5 but for few tables


def test_without_the_devices_the_same_tables_look_badly_fitted():
    found = [
        fit(table(0.6, devices=60, cycles=8, seed=seed, fixed=True).drop(columns=["device", "cycle"]))
        for seed in range(8)
    ]
    assert min(one.goodness.p_anderson for one in found) < 0.003
    assert sum(one.goodness.p_anderson < 0.01 for one in found) > 1


@pytest.mark.parametrize("programming", ["normal", "empirical"])
def test_an_error_of_another_shape_is_still_found(programming):
    rows = table(0.5, devices=200, cycles=8)
    z = np.random.default_rng(1).standard_t(3, len(rows)) * 0.6
    rows["measured"] = np.maximum(rows["target"] + (1.0 + 0.02 * rows["target"]) * z, 0.0)
    faults = fit(rows, programming=programming).goodness.faults()
    if programming == "empirical":
        assert faults == []
    else:
        assert "--programming empirical" in faults[0]


def test_what_cannot_be_known_is_not_tested():
    found = fit(table(0.6, devices=6, cycles=40))
    assert np.isnan([found.goodness.p_distance, found.goodness.p_anderson, found.goodness.p_law]).all()
    assert found.goodness.faults() == []
    assert "their distribution is not tested" in found.card.source.fit


def test_targets_of_one_device_need_no_cycles():
    rows = table(0.6, devices=60, cycles=8, seed=3).drop_duplicates(["device", "target"])
    found = fit(rows.drop(columns="cycle"))
    assert found.device_share is None
    assert found.goodness.faults() == []


def test_devices_are_drawn_whole_and_one_cell_of_each_alone():
    device = np.repeat(np.arange(50), 4)
    drawn = draw_devices(np.random.default_rng(0), device, 20)
    assert len(drawn) == 20
    assert len(np.unique(device[drawn])) == 5
    alone = one_cell_per_device(device)
    np.testing.assert_array_equal(device[alone], np.arange(50))
    assert len(np.unique(alone % 4)) == 4
    assert design_effect([np.arange(200)], device, 0.5) == 1.0 + 0.25 * 3
