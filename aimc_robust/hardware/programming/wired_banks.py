"""The devices of one matrix in arrays whose wires have resistance."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from aimc_robust.devices.cells import CellStates
from aimc_robust.errors import InputError, warn
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.tiling import partition
from aimc_robust.hardware.programming.ir_drop import wired_arrays

# Product of the currents lost along rows and along columns, each relative to what is left, up to which products err by
# less than 1 %, as tests/hardware/programming/test_ir_drop.py and benchmarks/ir_drop.py measure.
LARGEST_COUPLING = 0.03

ReadVariance = Callable[[CellStates], Tensor]
"""Variance of each device's read noise, in units of the window's maximum."""


def wired_banks(
    crossbar: Crossbar, cells: Iterator[CellStates], *, groups: int, layer: str, read_variance: ReadVariance | None
) -> tuple[list[Tensor], list[Tensor]]:
    """Compute the effective signed states of each bank, (outputs, inputs) with a maximum of 1, and read variances.

    Devices of one bank and one sign lie at the same crossing, where their conductances add. Each group of a convolution
    has its own arrays. The read noise of a device is attenuated as its current is.

    Warns, or raises InputError (see `on_out_of_range`), where so much is lost along rows and columns at once that
    currents err by more than 1 %.
    """
    mapping, high = crossbar.weights.mapping, crossbar.device.programming_window[1]
    per_bank = len(mapping.signs) // mapping.banks
    banks: list[Tensor] = []
    variances: list[Tensor] = []
    coupling = 0.0
    for bank in range(mapping.banks):
        devices: dict[float, Tensor] = {}
        noise: dict[float, Tensor] = {}
        for sign in mapping.signs[bank * per_bank : (bank + 1) * per_bank]:
            states = next(cells)
            _add(devices, sign, states.now / high)
            if read_variance is not None:
                _add(noise, sign, read_variance(states))
        current, variance, part = _bank(crossbar, devices, noise, groups)
        banks.append(current)
        variances += [] if variance is None else [variance]
        coupling = max(coupling, part)
    if coupling > LARGEST_COUPLING:
        _tell(crossbar, layer)
    return banks, variances


def _add(sums: dict[float, Tensor], sign: float, values: Tensor) -> None:
    sums[sign] = sums[sign] + values if sign in sums else values


def _bank(
    crossbar: Crossbar, devices: dict[float, Tensor], noise: dict[float, Tensor], groups: int
) -> tuple[Tensor, Tensor | None, float]:
    """Effective signed states, variance of read noise and coupling of the arrays of one bank."""
    arrays, wires = crossbar.arrays, crossbar.wires
    assert arrays.parasitics is not None
    assert wires is not None
    parts = [devices] if arrays.parasitics.interleaved else [{sign: g} for sign, g in devices.items()]
    current: Tensor | None = None
    variance: Tensor | None = None
    coupling = 0.0
    for part in parts:
        grouped = {sign: g.unflatten(0, (groups, -1)) for sign, g in part.items()}
        outputs, inputs = next(iter(grouped.values())).shape[1:]
        wired = wired_arrays(
            grouped, wires, rows=partition(inputs, arrays.rows), columns=partition(outputs, arrays.columns)
        )
        coupling = max(coupling, wired.coupling)
        states = wired.states.flatten(0, 1)
        current = states if current is None else current.add_(states)
        for sign in part if noise else ():
            attenuated = noise[sign] * wired.attenuations[sign].flatten(0, 1).square()
            variance = attenuated if variance is None else variance.add_(attenuated)
    assert current is not None
    return current, variance, coupling


def _tell(crossbar: Crossbar, layer: str) -> None:
    message = (
        f"IR drop in the layer {layer!r} is beyond the range in which it is computed to 1 %, since much current is "
        "lost along rows and columns; use smaller arrays (rows, columns), or backend='crosssim' for the exact circuit."
    )
    if crossbar.device.on_out_of_range == "error":
        raise InputError(message)
    warn(message)
