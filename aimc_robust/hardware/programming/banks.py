"""The banks of devices of one programmed matrix: their signed states, read through ideal or resistive wires."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import Tensor

from aimc_robust.devices.cell_model_checks import read_std
from aimc_robust.devices.cells import CellStates
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.programming.weights_to_states import Cells, LayerDraws, program_matrix
from aimc_robust.hardware.programming.wired_banks import ReadVariance, wired_banks
from aimc_robust.noise.analog_weights import AnalogWeight


class Banks(NamedTuple):
    """Devices of one matrix, in units of the window's maximum.

    Attributes:
        states: Signed states (outputs, inputs) of each bank.
        variances: Variance of read noise of each bank; empty without read noise.
        currents: Sum of the states of all banks, each times its factor: weights without offset, divided by `limit`.
        limit: Weight at the end of the window.
    """

    states: list[Tensor]
    variances: list[Tensor]
    currents: Tensor
    limit: Tensor


def program_banks(
    crossbar: Crossbar,
    weight: AnalogWeight,
    matrix: Tensor,
    draws: LayerDraws,
    *,
    time_s: float,
    with_variances: bool = True,
    checked: bool = True,
) -> Banks:
    """Program `matrix` of a weight onto the devices of a chip, and read their states at a time.

    `checked`: see `WeightLayout.weight_limit`.
    """
    device = crossbar.device
    layer = weight.array_owner
    cells = program_matrix(device, crossbar.weights, matrix, draws, time_s=time_s, layer=layer, checked=checked)
    reads = with_variances and device.reads_with_noise
    read_variance = partial(_read_variance, crossbar, time_s) if reads else None
    if crossbar.wires is None:
        states, variances = _banks(crossbar, cells, read_variance)
    else:
        states, variances = wired_banks(
            crossbar, cells.states, groups=weight.groups, layer=weight.layer, read_variance=read_variance
        )
    currents = sum(factor * part for factor, part in zip(crossbar.factors[0], states, strict=True))
    assert isinstance(currents, Tensor)
    return Banks(states, variances, currents, cells.limit)


def _read_variance(crossbar: Crossbar, time_s: float, states: CellStates) -> Tensor:
    return (read_std(crossbar.device.cell, states, time_s=time_s) / crossbar.device.programming_window[1]).square_()


def _banks(crossbar: Crossbar, cells: Cells, read_variance: ReadVariance | None) -> tuple[list[Tensor], list[Tensor]]:
    """Signed states and variances of each bank, through wires without resistance."""
    mapping, high = crossbar.weights.mapping, crossbar.device.programming_window[1]
    per_bank = len(mapping.signs) // mapping.banks
    banks: list[Tensor] = []
    variances: list[Tensor] = []
    for device, (states, sign) in enumerate(zip(cells.states, mapping.signs, strict=True)):
        signed = states.now * (sign / high)
        first = device % per_bank == 0
        banks = [*banks, signed] if first else [*banks[:-1], banks[-1].add_(signed)]
        if read_variance is not None:
            variance = read_variance(states)
            variances = [*variances, variance] if first else [*variances[:-1], variances[-1].add_(variance)]
    return banks, variances
