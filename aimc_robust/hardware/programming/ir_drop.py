"""IR drop: the effective states of an array whose wires have resistance.

Devices and wires are linear resistors, so the currents are a linear function of the inputs: there is one effective
matrix, which depends on the states alone. It is computed once for each chip; a read costs nothing more.

With states g (outputs o, inputs j) in units of the window's maximum, and wires in units of that device's resistance,

    effective = g t c + (g c (1 - t)) U

- t[o, j]: voltage on row j at output o per volt at its start, if all columns are at ground. A row is then a ladder of
  resistors, which two recursions solve exactly.
- c[o, j]: share of a current into column o at input j that leaves at its end, if all rows are at their inputs; by
  reciprocity it is the ladder of the column.
- U[j, k]: voltage of the mean column at row j per volt of input k. Columns are not at ground: they raise the voltages
  on rows by (1 - t) U. Here they are taken to be alike, with the mean load and the mean current.

It is exact if either rows or columns have no resistance. Otherwise the error is of second order in the differences
between columns; docs/hardware.md states where it is below 1 %.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_robust.hardware.config.parasitics import WireResistances
from aimc_robust.hardware.config.tiling import Interval

Signed = Mapping[float, Tensor]
"""Sign of the voltage (+1, -1) -> a nonnegative value for each device, (groups, outputs, inputs)."""


class WiredArrays(NamedTuple):
    """Arrays with IR drop.

    Attributes:
        states: Effective signed states, (groups, outputs, inputs).
        attenuations: Sign -> factor t c of the current of each device.
        coupling: Largest product, over arrays, of the shares of current that are lost along rows and along columns.
    """

    states: Tensor
    attenuations: Signed
    coupling: float


def wired_arrays(
    devices: Signed, wires: WireResistances, *, rows: Sequence[Interval], columns: Sequence[Interval]
) -> WiredArrays:
    """Compute the effective states of matrices that are cut into arrays of `rows` (inputs) and `columns` (outputs).

    `devices` holds the states of each sign: both share columns.
    """
    along_rows = {sign: _transfers(g, columns, wires.row, wires.row_terminal, dim=1) for sign, g in devices.items()}
    loads = torch.stack(list(devices.values())).sum(dim=0)
    # Columns end behind the last row.
    along_columns = _transfers(loads, rows, wires.column, wires.column_terminal, dim=2, from_end=True)
    attenuations = {sign: t * along_columns for sign, t in along_rows.items()}
    states = torch.zeros_like(loads)
    for sign, g in devices.items():
        states.add_(g * attenuations[sign], alpha=sign)
    if not (wires.rows_drop and wires.columns_drop):
        return WiredArrays(states, attenuations, 0.0)
    reached = {sign: g * along_rows[sign] for sign, g in devices.items()}
    load = torch.stack(list(reached.values())).sum(dim=0)
    source = torch.stack([sign * g for sign, g in reached.items()]).sum(dim=0)
    lifted = (loads - load) * along_columns
    coupling = 0.0
    for inputs in (slice(*interval) for interval in rows):
        for outputs in (slice(*interval) for interval in columns):
            part = (slice(None), outputs, inputs)
            mean_column = _column_voltages(load[part].mean(dim=1), source[part].mean(dim=1), wires)
            states[part] += lifted[part] @ mean_column
            total = loads[part].sum(dim=(1, 2)).clamp(min=torch.finfo(loads.dtype).tiny)
            lost_in_rows = (loads[part] - load[part]).sum(dim=(1, 2)) / total
            lost_in_columns = (loads[part] * (1.0 - along_columns[part])).sum(dim=(1, 2)) / total
            coupling = max(coupling, float((lost_in_rows * lost_in_columns).max()))
    return WiredArrays(states, attenuations, coupling)


def _transfers(
    g: Tensor, cuts: Sequence[Interval], segment: float, terminal: float, *, dim: int, from_end: bool = False
) -> Tensor:
    """Voltages on wires along `dim`, each cut into arrays, per volt at the start of each: those of a ladder."""
    if segment == terminal == 0:
        return torch.ones_like(g)
    voltages = torch.empty_like(g)
    for start, stop in cuts:
        steps = g.narrow(dim, start, stop - start).movedim(dim, 0)
        steps = steps.flip(0) if from_end else steps.contiguous()
        solved = _ladder(steps, segment, terminal)
        voltages.narrow(dim, start, stop - start).copy_((solved.flip(0) if from_end else solved).movedim(0, dim))
    return voltages


def _ladder(g: Tensor, segment: float, terminal: float) -> Tensor:
    """Voltages at the nodes (steps, ...) of a wire, from its start, with a conductance g from each to ground."""
    admittances = torch.empty_like(g)  # of everything from a node on
    admittances[-1] = g[-1]
    ones = torch.ones_like(g[0])
    for i in range(len(g) - 2, -1, -1):
        beyond = admittances[i + 1]
        torch.addcdiv(g[i], beyond, torch.add(ones, beyond, alpha=segment), out=admittances[i])
    divisors = admittances * segment
    divisors[0].add_(admittances[0], alpha=terminal)
    return divisors.add_(1.0).reciprocal_().cumprod(dim=0)


def _column_voltages(load: Tensor, source: Tensor, wires: WireResistances) -> Tensor:
    """Voltages (groups, node, input) of a column with these conductances and currents per volt, (groups, inputs)."""
    node = torch.arange(load.shape[-1], 0, -1, dtype=load.dtype, device=load.device)
    # Resistance that the ways of two nodes to the column's end have in common.
    common = torch.minimum(node, node.unsqueeze(1)) * wires.column + wires.column_terminal
    identity = torch.eye(len(node), dtype=load.dtype, device=load.device)
    return torch.linalg.solve(identity + common * load.unsqueeze(-2), common * source.unsqueeze(-2))
