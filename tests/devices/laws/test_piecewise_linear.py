"""The piecewise linear law: nodes, steps and dead zones, as programming error, drift and read noise."""

import numpy as np
import pytest
import torch
from support.device_oracle import Reference, reference_std
from support.draws import draws

from aimc_robust.devices.laws.piecewise_linear import PiecewiseLinear
from aimc_robust.devices.library import load_card
from aimc_robust.devices.moments import integrated_moments
from aimc_robust.devices.states import cell_states
from aimc_robust.errors import InputError
from aimc_robust.fitting.verify import verify_card

LAW = {"kind": "piecewise-linear", "states": [1.0, 4.0, 4.0, 10.0, 20.0], "stds": [0.0, 0.0, 0.5, 1.5, 1.0]}


def card(programming=LAW, **tables):
    values = load_card("pcm-joshi2020").model_dump(exclude_none=True) | {"name": "nodes", "programming": programming}
    return load_card(values | tables)


def drift(*stds, states=LAW["states"]):
    rows = [{"time_s": 10.0 * i, "std": LAW | {"stds": s, "states": states}} for i, s in enumerate(stds)]
    return {"kind": "table", "limits_s": [0.0, 100.0], "at": rows}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_std_is_that_of_the_nodes_and_linear_between_them(dtype):
    law = PiecewiseLinear(**LAW)
    state = torch.tensor([0.0, 1.0, 3.999, 4.0, 7.0, 10.0, 15.0, 20.0, 30.0], dtype=dtype)
    expected = [0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 1.25, 1.0, 1.0]
    assert law.std(state).tolist() == pytest.approx(expected, abs=1e-6)
    assert law.std(state).dtype == dtype
    grid = torch.linspace(0.0, 25.0, 501, dtype=torch.float64).reshape(3, 167)
    assert law.std(grid).numpy() == pytest.approx(reference_std(law, grid.numpy()))


def test_targets_in_a_dead_zone_are_programmed_exactly():
    target = torch.tensor([0.5, 2.0, 3.9, 4.1]).expand(500, 4).contiguous()
    error = cell_states(card(), target, draws(1)).now - target
    assert (error[:, :3] == 0.0).all()
    assert error[:, 3].std() == pytest.approx(0.5, rel=0.15)


@pytest.mark.parametrize("time_s", [0.0, 5.0, 30.0])
def test_states_have_the_moments_of_the_second_implementation(time_s):
    device = card(drift=drift(LAW["stds"], [0.1, 0.2, 0.9, 1.2, 2.0]))
    target = torch.tensor([2.0, 6.0, 12.0, 20.0], dtype=torch.float64)
    found = integrated_moments(device, target, time_s=time_s)
    expected = np.array([Reference(device, t, time_s).moments() for t in target.tolist()])
    assert found.mean.numpy() == pytest.approx(expected[:, 0], rel=1e-4)
    assert found.variance.numpy() == pytest.approx(expected[:, 1], rel=3e-3, abs=1e-9)


def test_simulated_cells_are_verified_and_read_with_it():
    device = card(drift=drift(LAW["stds"], [0.1, 0.2, 0.9, 1.2, 2.0]), read=LAW)
    verdict = verify_card(device, cells=300)
    assert verdict.verified, verdict.sentence()


BAD = {
    "numbers that do not match": ({"stds": [0.0, 1.0]}, ["2 and 5", "stds"]),
    "states that fall": ({"states": [1.0, 4.0, 3.0, 10.0, 20.0]}, ["states", "rise", "4, 3"]),
    "a state three times": ({"states": [1.0, 4.0, 4.0, 4.0, 20.0]}, ["states", "at most twice"]),
    "a step at the end": ({"states": [1.0, 4.0, 5.0, 20.0, 20.0]}, ["states", "inner"]),
    "a step at the start": ({"states": [1.0, 1.0, 5.0, 20.0, 21.0]}, ["states", "inner"]),
    "a negative std": ({"stds": [0.0, 0.0, -0.5, 1.5, 1.0]}, ["stds.2", "equal to 0"]),
    "one node": ({"states": [1.0], "stds": [1.0]}, ["states", "at least 2"]),
}


@pytest.mark.parametrize("fault", BAD)
def test_an_invalid_table_is_refused(fault):
    changes, wanted = BAD[fault]
    with pytest.raises(InputError) as caught:
        card(LAW | changes)
    assert [part for part in wanted if part not in str(caught.value)] == []


def test_rows_of_a_drift_table_have_the_same_states():
    table = drift(LAW["stds"], LAW["stds"])
    table["at"][1]["std"] = table["at"][1]["std"] | {"states": [1.0, 4.0, 4.0, 10.0, 21.0]}
    with pytest.raises(InputError, match=r"same std\.states in every row"):
        card(drift=table)
