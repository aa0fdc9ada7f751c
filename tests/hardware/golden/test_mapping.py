"""Mapping agrees with CrossSim 3.2.0, number by number (see tests/golden/README.md)."""

import pytest
from support.golden import ARRAYS, CASES, PRECISIONS, by_id, stored_array
from torch import Tensor

from aimc_robust.hardware.config.mapping import WeightMapping
from aimc_robust.hardware.config.standard_mappings import MAPPINGS, BitSliced
from aimc_robust.hardware.config.weight_layout import layer_limit

UNSLICED = ("one-sided", "two-sided", "offset")


def mapping_of(case: dict) -> WeightMapping:
    if case["mapping"] == "bit-sliced":
        return BitSliced(weight_bits=case["weight_bits"], slices=case["slices"])
    return MAPPINGS[case["mapping"]]


def target_states(case: dict, mapping: WeightMapping, weight: Tensor) -> list[Tensor]:
    u = (weight / layer_limit(weight, case["percentile"])).clamp(-1.0, 1.0)
    return [g.clone() for g in mapping.to_states(u, case["g_min"], case["cell_bits"])]


def golden_states(case: dict) -> list[Tensor]:
    return [stored_array(case, f"g{device}") for device in range(case["devices"])]


def worst(error: Tensor, case: dict) -> float:
    """The largest error among the elements that may be compared."""
    safe = stored_array(case, "safe")
    return float((error if safe is None else error[safe]).abs().max())


@PRECISIONS
@by_id(CASES["mapping"])
def test_target_states_and_weights_read_back_are_crosssims(case, dtype):
    weight = ARRAYS[case["matrix"]].to(dtype)
    w_max = layer_limit(weight, case["percentile"])
    assert float(w_max) == pytest.approx(case["w_max"], rel=1e-6)
    mapping = mapping_of(case)
    states, golden = target_states(case, mapping, weight), golden_states(case)
    assert len(states) == len(golden)
    for ours, theirs in zip(states, golden, strict=True):
        assert worst(ours.double() - theirs, case) < case["tolerance"]
    read_back = mapping.to_weights(tuple(states), case["g_min"], case["cell_bits"]) * w_max
    assert worst((read_back - stored_array(case, "w_eff")) / case["w_max"], case) < case["tolerance"]


def test_the_stored_mapping_cases_cover_every_mapping_with_and_without_levels_and_clipping():
    seen = {tuple(case[key] for key in ("mapping", "cell_bits", "percentile")) for case in CASES["mapping"]}
    unsliced = {(name, bits, p) for name in UNSLICED for bits in (0, 4, 7) for p in (1.0, 0.999)}
    assert seen == unsliced | {("bit-sliced", bits, p) for bits in (0, 4, 7) for p in (1.0, 0.999)}
    assert {*UNSLICED, "bit-sliced"} == set(MAPPINGS)
    sliced = {(case["weight_bits"], case["cell_bits"]) for case in CASES["mapping"] if "weight_bits" in case}
    assert sliced == {(8, 0), (8, 4), (9, 4), (14, 7), (15, 7)}
    assert {case["g_min"] for case in CASES["mapping"]} == {0.0, 50.0 / 225.0}


@by_id([case for case in CASES["mapping"] if case["mapping"] == "one-sided" and case["matrix"] == "m0_W"])
def test_another_mapping_does_not_agree(case):
    ours = target_states(case, MAPPINGS["two-sided"], ARRAYS[case["matrix"]])[0].double()
    assert worst(ours - golden_states(case)[0], case) > 0.1


@by_id([case for case in CASES["mapping"] if case["mapping"] == "bit-sliced" and case["matrix"] == "m0_W"])
def test_another_number_of_weight_bits_does_not_agree(case):
    other = BitSliced(weight_bits=case["weight_bits"] - 2, slices=2)
    ours = target_states(case, other, ARRAYS[case["matrix"]])[0].double()
    assert worst(ours - golden_states(case)[0], case) > 0.1


@by_id([case for case in CASES["mapping"] if case["cell_bits"] == 4 and case["mapping"] in UNSLICED])
def test_without_its_levels_a_case_does_not_agree(case):
    ours = target_states(case | {"cell_bits": 0}, mapping_of(case), ARRAYS[case["matrix"]])[0].double()
    assert worst(ours - golden_states(case)[0], case) > 0.01
