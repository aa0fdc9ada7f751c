"""Mapping and programming agree with CrossSim 3.2.0, number by number (see data/README.md)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from aimc_robust import Crossbar
from aimc_robust.hardware.crossbar import program_weights
from aimc_robust.hardware.mapping import MAPPINGS, weight_limit

DATA = Path(__file__).parents[1] / "data"
CASES = json.loads((DATA / "crosssim.json").read_text(encoding="utf-8"))
with np.load(DATA / "crosssim.npz") as stored:
    ARRAYS = {name: torch.from_numpy(stored[name]) for name in stored.files}

PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def by_id(cases: list[dict]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case["id"] for case in cases])


def mapped(case: dict, mapping: str, weight: Tensor) -> tuple[Tensor, ...]:
    u = (weight / weight_limit(weight, case["percentile"])).clamp(-1.0, 1.0)
    return MAPPINGS[mapping].to_states(u, case["g_min"], case["cell_bits"])


def golden_states(case: dict) -> list[Tensor]:
    return [ARRAYS[f"{case['id']}/g{device}"].double() for device in range(case["devices"])]


def worst(error: Tensor, case: dict) -> float:
    """The largest error among the elements that may be compared."""
    safe = ARRAYS.get(f"{case['id']}/safe")
    return float((error if safe is None else error[safe]).abs().max())


@PRECISIONS
@by_id(CASES["mapping"])
def test_target_states_and_weights_read_back_are_crosssims(case, dtype):
    weight = ARRAYS[case["matrix"]].to(dtype)
    w_max = weight_limit(weight, case["percentile"])
    assert float(w_max) == pytest.approx(case["w_max"], rel=1e-6)
    states, golden = mapped(case, case["mapping"], weight), golden_states(case)
    assert len(states) == len(golden)
    for ours, theirs in zip(states, golden, strict=True):
        assert worst(ours.double() - theirs, case) < case["tolerance"]
    read_back = MAPPINGS[case["mapping"]].to_weights(states, case["g_min"], case["cell_bits"]) * w_max
    assert worst((read_back - ARRAYS[f"{case['id']}/w_eff"]) / case["w_max"], case) < case["tolerance"]


def test_the_stored_mapping_cases_cover_every_mapping_with_and_without_levels_and_clipping():
    keys = ("mapping", "cell_bits", "percentile")
    seen = {tuple(case[key] for key in keys) for case in CASES["mapping"]}
    assert seen == {(name, bits, p) for name in MAPPINGS for bits in (0, 4, 7) for p in (1.0, 0.999)}
    assert {case["g_min"] for case in CASES["mapping"]} == {0.0, 50.0 / 225.0}


@by_id([case for case in CASES["mapping"] if case["mapping"] == "one-sided" and case["matrix"] == "m0_W"])
def test_another_mapping_does_not_agree(case):
    ours = mapped(case, "two-sided", ARRAYS[case["matrix"]])[0].double()
    assert worst(ours - golden_states(case)[0], case) > 0.1


@by_id([case for case in CASES["mapping"] if case["cell_bits"] == 4])
def test_without_its_levels_a_case_does_not_agree(case):
    ours = mapped(case | {"cell_bits": 0}, case["mapping"], ARRAYS[case["matrix"]])[0].double()
    assert worst(ours - golden_states(case)[0], case) > 0.01


def programming_error(case: dict, dtype: torch.dtype, draws: list[str]) -> float:
    """Largest difference to CrossSim's programmed weights in units of w_max, given its own normal draws."""
    crossbar = Crossbar(
        case["device"], window=tuple(case["window"]), mapping=case["mapping"], cell_bits=case["cell_bits"]
    )
    xi = iter([ARRAYS[f"{case['id']}/{name}"].to(dtype) for name in draws])
    programmed = program_weights(crossbar, ARRAYS["programming_W"].to(dtype), lambda states: next(xi))
    assert programmed.dtype == dtype
    return float((programmed - ARRAYS[f"{case['id']}/w_prog"]).abs().max()) / case["w_max"]


@PRECISIONS
@by_id(CASES["programming"])
def test_programmed_weights_are_crosssims_given_its_draws(case, dtype):
    assert programming_error(case, dtype, ["xi_pos", "xi_neg"]) < case["tolerance"]


def test_the_stored_programming_cases_cover_every_device_with_and_without_levels():
    seen = {(case["device"], case["cell_bits"]) for case in CASES["programming"]}
    devices = ("rram-milo2021", "rram-wan2022", "pcm-joshi2020", "sonos-agrawal2022")
    assert seen == {(device, bits) for device in devices for bits in (0, 7)}


@by_id(CASES["programming"])
def test_with_the_draws_of_plus_and_minus_swapped_it_does_not_agree(case):
    assert programming_error(case, torch.float64, ["xi_neg", "xi_pos"]) > 100 * case["tolerance"]
