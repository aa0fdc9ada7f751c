"""Cells of known target states, simulated as every network is: weights programmed onto a crossbar."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.program import program

READS = 8  # of each cell at each time


@dataclass(frozen=True, kw_only=True)
class SimulatedCells:
    """Cells of several chips. States in [cell.unit], without stuck cells unless stated.

    Attributes:
        targets: Target states (targets,).
        times_s: Times [s], the first 0.
        states: States (times, chips, cells, targets).
        again: `states` of the first chip at the last time (cells, targets), programmed a second time.
        reads: Reads (times, chips, reads, cells, targets); None for a device without read noise.
        with_stuck: `states` at time 0 with the device's stuck cells (chips, cells, targets); None for one without.
    """

    targets: np.ndarray
    times_s: tuple[float, ...]
    states: np.ndarray
    again: np.ndarray
    reads: np.ndarray | None
    with_stuck: np.ndarray | None


def simulate_cells(
    cell: CellModel, *, targets: int, cells: int, chips: int, times_s: Sequence[float], chip_seed: int
) -> SimulatedCells:
    """Program a linear layer of `cells` outputs and `targets` inputs on `chips` chips, in float64.

    The weights of input j hold target j of an even grid over the window, both ends included, so that the weight at
    the end of the window is 1. With the offset mapping each weight is one device, and the state is a linear function
    of the weight that is read back.
    """
    low, high = cell.window
    weights = np.linspace(-1.0, 1.0, targets)
    model = nn.utils.skip_init(nn.Linear, targets, cells, bias=False, dtype=torch.float64)  # draws nothing
    model.weight.data.copy_(torch.from_numpy(weights).expand(cells, targets))
    inputs = torch.eye(targets, dtype=torch.float64).repeat(READS, 1)

    def states_of(weight: np.ndarray) -> np.ndarray:
        return low + (weight + 1.0) / 2.0 * (high - low)

    def programmed(chip: int, time_s: float, **options: Any) -> nn.Module:
        crossbar = Crossbar(cell, mapping="offset", **options)
        return program(model, crossbar, chip_seed=chip_seed, chip=chip, time_s=time_s)

    def states(chip: int, time_s: float, stuck: tuple[float, float] | None) -> np.ndarray:
        analog = programmed(chip, time_s, read_noise=False, stuck=stuck)
        return states_of(next(analog.parameters()).detach().numpy())

    def reads(chip: int, time_s: float) -> np.ndarray:
        outputs = programmed(chip, time_s, stuck=(0.0, 0.0))(inputs).detach().numpy().reshape(READS, targets, cells)
        return states_of(outputs.transpose(0, 2, 1))

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of times outside the device's limits, where it is verified too
        return SimulatedCells(
            targets=states_of(weights),
            times_s=tuple(times_s),
            states=np.array([[states(chip, t, (0.0, 0.0)) for chip in range(chips)] for t in times_s]),
            again=states(0, times_s[-1], (0.0, 0.0)),
            reads=np.array([[reads(chip, t) for chip in range(chips)] for t in times_s])
            if cell.has_read_noise
            else None,
            with_stuck=np.array([states(chip, 0.0, None) for chip in range(chips)])
            if any(cell.stuck_fractions)
            else None,
        )
