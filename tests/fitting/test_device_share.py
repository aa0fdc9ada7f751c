"""The share of the programming error that stays with a device: found where there is one, not where there is none."""

import numpy as np
import pandas as pd
import pytest
import torch
from support.measurements import programmed_repeatedly as table

from aimc_robust import Crossbar, device_states, fit_card, load_card
from aimc_robust.errors import DataError
from aimc_robust.fitting.device_share import _intraclass


def fit(rows, **options):
    return fit_card(rows, name="found", drift="none", **options)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("options", [{}, {"fixed": True}, {"reads": 3}, {"unbalanced": True}], ids=str)
def test_a_known_share_is_found(share, options):
    found = fit(table(share, seed=int(100 * share), **options))
    assert found.device_share.low < share < found.device_share.high
    assert found.device_share.share == pytest.approx(share, abs=0.1)
    assert found.card.programming.device_share == pytest.approx(found.device_share.share, rel=1e-3)
    assert f"{100 * found.device_share.share:.1f} % of the programming error's variance" in found.card.source.note
    assert found.device_share.devices == 200


def test_shuffled_devices_share_nothing():
    rows = table(0.6)
    order = np.random.default_rng(1).permutation(len(rows))
    shuffled = rows.assign(device=rows["device"].to_numpy()[order], cycle=rows["cycle"].to_numpy()[order])
    found = fit(shuffled)
    assert found.device_share.share < 0.05
    assert found.card.programming.device_share == 0.0
    assert "reaches 0" in found.card.source.note


def test_the_interval_covers_the_share_and_p_is_uniform_without_one():
    covered, small = 0, 0
    device, target = np.tile(np.arange(60), 4), np.tile(np.arange(60) % 5, 4)
    for seed in range(400):
        rng = np.random.default_rng(seed)
        z, own = rng.normal(size=240), rng.normal(size=60)[device]
        _, low, high, _ = _intraclass(np.sqrt(0.3) * own + np.sqrt(0.7) * z + target, device, target, 0.0)
        covered += low <= 0.3 <= high
        small += _intraclass(z + target, device, target, 0.0)[3] < 0.1
    assert 0.92 * 400 < covered < 0.98 * 400
    assert 0.06 * 400 < small < 0.14 * 400


def test_an_offset_of_targets_is_not_taken_for_one_of_devices():
    found = fit(table(0.0, fixed=True, offset=1.0))
    assert found.device_share.share < 0.05


def test_without_reading_twice_its_noise_counts_as_the_cycles():
    rows = table(0.6, reads=4)
    once = fit(rows.groupby(["device", "cycle", "target"], as_index=False).first())
    assert fit(rows).device_share.share - once.device_share.share > 0.02


def test_simulated_chips_give_back_the_share_of_their_card():
    card = load_card("independent-gaussian").model_dump(exclude_none=True)
    card |= {"name": "again", "programming": {"kind": "polynomial", "coefficients": [0.05], "device_share": 0.4}}
    model = torch.nn.Linear(40, 20, bias=False)
    rows = []
    for cycle in range(4):
        states = device_states(model, Crossbar(load_card(card), mapping="offset", window=(0.3, 0.8)), cycle=cycle)
        values = states.table("weight")
        rows.append(pd.DataFrame({"target": values["target"], "measured": values["programmed"], "cycle": cycle}))
        rows[-1]["device"] = np.arange(len(values))
    found = fit(pd.concat(rows), unit="1")
    assert found.device_share.low < 0.4 < found.device_share.high
    empirical = fit(pd.concat(rows), unit="1", programming="empirical")
    assert empirical.card.programming.device_share == pytest.approx(0.4, abs=0.06)


def test_columns_and_too_few_devices():
    rows = table(0.5)
    assert fit(rows.drop(columns=["cycle"])).device_share is None
    with pytest.raises(DataError, match="cycle needs the column device"):
        fit(rows.drop(columns=["device"]))
    with pytest.raises(DataError, match="the cycle is blank"):
        fit(rows.assign(cycle=" "))
    with pytest.raises(DataError, match=r"row \d+: target .*another target in the same cycle"):
        fit(rows.assign(cycle=1))
    few = fit(rows.query("device < 5 or cycle == 'c0'"))
    assert few.device_share is None
    assert "fewer than 10 devices" in few.warnings[-1]
