"""The states that a device states: its own methods, evaluated on evenly spread random numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.cell_model_checks import age, programming_error, programming_std
from aimc_robust.devices.cells import Clip, ProgrammedCells

POINTS = 1 << 16  # a sample of as many cells, without the scatter of a random one
GOLDEN_RATIO = (math.sqrt(5.0) - 1.0) / 2.0


def stated_states(cell: CellModel, targets: np.ndarray, times_s: Sequence[float]) -> np.ndarray:
    """Evaluate programming error and drift on a lattice that covers both random numbers evenly; no cell is stuck.

    This is what the simulation of cells is compared with, so it shares only the device's own methods with it.

    Returns:
        States (times, points, targets) [cell.unit], each point with the same probability.
    """
    i = np.arange(POINTS)
    first, second = (i + 0.5) / POINTS, np.modf((i + 0.5) * GOLDEN_RATIO)[0]
    normal, eta = (torch.from_numpy(values / values.std()) for values in (ndtri(first), ndtri(second)))
    numbers = {"programming": normal, "programming-uniform": torch.from_numpy(first), "drift": eta}

    def draw(effect: str, like: Tensor) -> Tensor:
        return numbers[effect].clone()

    def states(target: Tensor) -> list[np.ndarray]:
        xi = programming_error(cell, target, draw)
        programmed = _clipped(target + programming_std(cell, target) * xi, cell.programming_clip, cell.window)
        cells = ProgrammedCells(target, programmed, xi)
        return [
            _clipped(age(cell, cells, draw, t), cell.drift_clip, cell.limits).numpy()
            if cell.has_drift and t > cell.drift_starts_s
            else programmed.numpy()
            for t in times_s
        ]

    with torch.no_grad():  # each target for itself, so that cells that influence each other differ from the simulation
        return np.stack([states(normal.new_full((POINTS,), target)) for target in targets.tolist()], axis=-1)


def _clipped(state: Tensor, clip: Clip, bounds: tuple[float, float]) -> Tensor:
    low, high = (0.0, math.inf) if clip == "nonnegative" else bounds
    return state.clamp(low, high)
