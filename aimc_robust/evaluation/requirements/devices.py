"""Which devices meet a requirement, and by which factor their programming error may grow."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.limits import check_time
from aimc_robust.evaluation.requirements.quantities import geometric_levels
from aimc_robust.evaluation.requirements.search import LevelSearch
from aimc_robust.evaluation.requirements.simulator import Simulator
from aimc_robust.statistics.binomial import yield_bounds

SCALES = geometric_levels(16.0, 1 / 64)
AT_ONE = SCALES.index(1.0)
COLUMNS = [
    "device",
    "time_s",
    "compensated",
    "judgement",
    "passing",
    "chips",
    "yield_low",
    "yield_high",
    "margin",
    "worst_loss",
    "note",
]


def judge_devices(
    simulator: Simulator,
    cells: Sequence[CellModel],
    *,
    search_on: Sequence[int],
    confirm_on: Sequence[int],
    allowed: int,
    required: float,
    on_step: Callable[[str], None],
) -> pd.DataFrame:
    """Judge whether devices, with all errors that their cards state, meet a requirement on the template.

    Returns:
        One row per device: `device`; `time_s`, 0 if it does not change with time; `compensated`: whether global drift
        compensation acts, as for all that drift; `judgement`: `meets` or `fails` if a one-sided 95 % bound of the yield
        shows it, else `not settled`; `passing` of the `chips` of the confirmation with the bounds `yield_low` and
        `yield_high` [percent]; `margin`: the largest factor on its programming error at which it meets the requirement
        on the chips of the search, 0 if there is none, 16 if no factor up to 16 is too large; `worst_loss` of the
        chips; `note`: warnings, such as that of a time outside the range that its source covers.
    """
    rows = []
    for cell in cells:
        on_step(f"device {cell.name}")
        rows.append(_row(simulator, cell, search_on, confirm_on, allowed, required))
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(
    simulator: Simulator,
    cell: CellModel,
    search_on: Sequence[int],
    confirm_on: Sequence[int],
    allowed: int,
    required: float,
) -> dict[str, Any]:
    time_s = simulator.time_s if cell.depends_on_time else 0.0
    compensated = cell.has_drift and time_s > 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        hardware = simulator.hardware.map(
            lambda crossbar: crossbar.replace(
                device=cell, programming=True, drift=True, read_noise=True, error_scale=1.0
            )
        )
        for crossbar in hardware.crossbars:
            crossbar.device.check_window(time_s=time_s)
            check_time(cell, time_s)

    def losses(level: int, chips: Sequence[int]) -> list[float]:
        scaled = hardware.map(lambda crossbar: crossbar.replace(error_scale=SCALES[level]))
        return simulator.losses(scaled, chips, time_s=time_s, compensates=compensated, key=cell.name)

    at_one = losses(AT_ONE, confirm_on)
    passing, chips = sum(simulator.passes(at_one)), len(confirm_on)
    low, high = yield_bounds(passing, chips)
    search = LevelSearch(lambda level, chosen: simulator.passes(losses(level, chosen)), len(SCALES), search_on, allowed)
    found = search.hardest(AT_ONE, jump=8)
    return {
        "device": cell.name,
        "time_s": time_s,
        "compensated": compensated,
        "judgement": "meets" if low >= required else "fails" if high < required else "not settled",
        "passing": passing,
        "chips": chips,
        "yield_low": 100.0 * low,
        "yield_high": 100.0 * high,
        "margin": 0.0 if found is None else SCALES[found],
        "worst_loss": max(at_one),
        "note": " ".join(dict.fromkeys(str(warning.message) for warning in caught)),
    }
