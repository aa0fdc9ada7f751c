"""Effective states of arrays with resistive wires agree with the currents that CrossSim 3.2's solvers computed."""

import json

import numpy as np
import torch
from support.golden import DATA, by_id
from torch import Tensor

from aimc_robust.hardware.config.parasitics import WireResistances
from aimc_robust.hardware.programming.ir_drop import wired_arrays
from aimc_robust.hardware.programming.wired_banks import LARGEST_COUPLING

CASES = json.loads((DATA / "crosssim-ir-drop.json").read_text(encoding="utf-8"))
with np.load(DATA / "crosssim-ir-drop.npz") as stored:
    ARRAYS = {name: torch.from_numpy(stored[name]).double() for name in stored.files}


def computed(case: dict, **changes: float) -> tuple[Tensor, float]:
    """Our effective states, and the coupling that says how good they are."""
    devices = {1.0: ARRAYS[f"{case['states']}/positive"]}
    if case["interleaved"]:
        devices[-1.0] = ARRAYS[f"{case['states']}/negative"]
    ohms = {name: case[name] for name in ("row", "column", "column_terminal")} | {"row_terminal": 0.0} | changes
    outputs, inputs = devices[1.0].shape
    result = wired_arrays(
        {sign: g.unsqueeze(0) for sign, g in devices.items()},
        WireResistances(**ohms),
        rows=[(0, inputs)],
        columns=[(0, outputs)],
    )
    return result.states[0], result.coupling


@by_id(CASES)
def test_currents_are_crosssims(case):
    recorded = ARRAYS[f"{case['id']}/currents"]
    states, coupling = computed(case)
    error = float((states - recorded).norm() / recorded.norm())
    one_wire = not (case["row"] and case["column"])
    assert error < (1e-6 if one_wire else 2e-3 if coupling < LARGEST_COUPLING else 1e-2)
    larger, _ = computed(case, row=1.1 * case["row"], column=1.1 * case["column"])
    assert float((larger - recorded).norm() / recorded.norm()) > 3.0 * error


def test_the_cases_cover_both_topologies_each_wire_and_large_losses():
    assert {(bool(case["row"]), bool(case["column"]), case["interleaved"]) for case in CASES} == {
        (rows, columns, interleaved)
        for rows, columns in ((True, False), (False, True), (True, True))
        for interleaved in (False, True)
    }
    assert any(case["column_terminal"] for case in CASES)
    lost = [1 - float((ARRAYS[f"{case['id']}/currents"] / ARRAYS[f"{case['states']}/positive"]).mean())
            for case in CASES if not case["interleaved"]]  # fmt: skip
    assert min(lost) < 0.01
    assert max(lost) > 0.3
