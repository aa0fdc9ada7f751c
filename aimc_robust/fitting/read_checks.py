"""Checks of the read noise of simulated cells."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import ndtr

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.cell_model_checks import read_std
from aimc_robust.devices.cells import CellStates
from aimc_robust.fitting.checks import (
    EXACT_TOLERANCE,
    MIN_VALUES,
    Check,
    correlation_checks,
    equality_check,
    moment_checks,
    uniformity_check,
)
from aimc_robust.fitting.simulated_cells import READS, SimulatedCells


def read_checks(cell: CellModel, cells: SimulatedCells) -> list[Check]:
    """Check that reads, standardized by the stated width for each cell, are normal, of width 1 and independent."""
    if cells.reads is None:
        return []
    span, checks = float(np.ptp(cells.targets)), []
    for i, time_s in enumerate(cells.times_s):
        states = CellStates(torch.from_numpy(cells.states[0]), torch.from_numpy(cells.states[i]))
        std = read_std(cell, states, time_s=time_s).numpy()
        noise = cells.reads[i] - cells.states[i][:, None]
        silent = std <= EXACT_TOLERANCE * span
        if silent.any():
            largest = float(np.abs(noise[np.broadcast_to(silent[:, None], noise.shape)]).max())
            name = "the read of cells without read noise (largest noise)"
            checks.append(equality_check(name, None, time_s, 0.0, largest, span * 10.0))
        z = noise / np.where(silent, np.nan, std)[:, None]
        for j, target in enumerate(cells.targets.tolist()):
            values = z[..., j][np.isfinite(z[..., j])]
            if len(values) >= MIN_VALUES:
                checks += moment_checks(" of read noise (relative)", target, time_s, values)
        pooled = z[np.isfinite(z)]
        if len(pooled) < MIN_VALUES:
            continue
        checks.append(uniformity_check("the distribution of read noise (distance)", None, time_s, ndtr(pooled)))
        checks += correlation_checks("the correlation of one read and the next", z[:, 1:], z[:, : READS - 1])
        checks += correlation_checks("the correlation of read noise between cells", z[:, :, 1:], z[:, :, :-1])
    return checks
