"""IR drop: the effective states of an array whose wires have resistance.

Devices and wires are linear resistors, so the currents are a linear function of the inputs: there is one effective
matrix, which depends on the states alone. It is computed once for each chip; a read costs nothing more.

With states g (outputs o, inputs j) in units of the window's maximum, and wires in units of that device's resistance,

    effective = g t c + (g c (1 - t)) U

- t[o, j]: voltage on row j at output o per volt at its start, if all columns are at ground. A row is then a ladder of
  resistors, which two recursions solve exactly.
- c[o, j]: share of a current into column o at input j that leaves at its end, if all rows are at their inputs; by
  reciprocity it is the ladder of the column.
- U[j, k]: voltage of the columns at row j per volt of input k, the mean over columns in which each weighs by the
  current that row j loses into it, g (1 - t). Columns are not at ground: they raise the voltages on rows by (1 - t) U.
  The voltage of each column is that of its own ladder with its own currents, as if its voltages were those that rows
  see; so outputs differ in how far they raise a row, but not in how far they are raised by it.

It is exact if either rows or columns have no resistance, or if a single column conducts.
docs/how-to/describe-hardware.md states where it errs by less than 1 %.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_robust.hardware.config.parasitics import WireResistances
from aimc_robust.hardware.config.tiling import Interval

LARGEST_FALL = 40.0  # from the middle of a column [natural logarithm]; beyond it no current arrives

Signed = Mapping[float, Tensor]
"""Sign of the voltage (+1, -1) -> a nonnegative value for each device, (groups, outputs, inputs)."""


class WiredArrays(NamedTuple):
    """Arrays with IR drop.

    Attributes:
        states: Effective signed states, (groups, outputs, inputs).
        attenuations: Sign -> factor t c of the current of each device.
        coupling: Largest product, over arrays, of the current that is lost along rows and along columns, each relative
            to what is left.
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
    cut = _Cut(rows, columns, groups=len(next(iter(devices.values()))))
    arrays = {sign: cut.arrays(g) for sign, g in devices.items()}
    loads = reduce(torch.add, arrays.values())
    # Rows start at the first output, columns end behind the last input.
    along_rows = {sign: _ladder(g, wires.row, wires.row_terminal, dim=1) for sign, g in arrays.items()}
    along_columns = _ladder(loads.flip(2), wires.column, wires.column_terminal, dim=2).flip(2).contiguous()
    attenuations = {sign: t * along_columns for sign, t in along_rows.items()}
    states = reduce(torch.add, (sign * g * attenuations[sign] for sign, g in arrays.items()))
    coupling = 0.0
    if wires.rows_drop and wires.columns_drop:
        reached = {sign: g * along_rows[sign] for sign, g in arrays.items()}
        missing = {sign: g - reached[sign] for sign, g in arrays.items()}
        source = reduce(torch.add, (sign * g for sign, g in reached.items()))
        columns_of = _Columns(reduce(torch.add, reached.values()), wires)
        for lost in missing.values():
            states.baddbmm_(lost * along_columns, columns_of.mean_voltages(source, lost))
        left = reduce(torch.add, reached.values()), loads * along_columns
        coupling = float((_lost_of_left(loads, left[0]) * _lost_of_left(loads, left[1])).max())
    return WiredArrays(cut.matrix(states), {sign: cut.matrix(t) for sign, t in attenuations.items()}, coupling)


def _lost_of_left(conductances: Tensor, left: Tensor) -> Tensor:
    """What each array loses of its conductances, relative to what is left."""
    total, remains = conductances.sum(dim=(1, 2)), left.sum(dim=(1, 2))
    return (total - remains).clamp_(min=0.0) / remains.clamp(min=torch.finfo(left.dtype).tiny)


class _Cut:
    """Cuts matrices (groups, outputs, inputs) into arrays (number, outputs, inputs), all of one size.

    Smaller arrays are filled up with devices that do not conduct, at the ends of rows and at the starts of columns,
    where they change nothing.
    """

    def __init__(self, rows: Sequence[Interval], columns: Sequence[Interval], *, groups: int) -> None:
        self._cuts = [(o, i, *column, *row) for o, column in enumerate(columns) for i, row in enumerate(rows)]
        self._height, self._width = (max(stop - start for start, stop in cut) for cut in (rows, columns))
        self._shape = (groups, len(columns), len(rows), self._width, self._height)
        self._matrix_shape = (groups, columns[-1][1], rows[-1][1])

    def arrays(self, matrix: Tensor) -> Tensor:
        arrays = matrix.new_zeros(self._shape)
        for o, i, first, last, start, stop in self._cuts:
            arrays[:, o, i, : last - first, self._height - (stop - start) :] = matrix[:, first:last, start:stop]
        return arrays.flatten(0, 2)

    def matrix(self, arrays: Tensor) -> Tensor:
        arrays, matrix = arrays.unflatten(0, self._shape[:3]), arrays.new_empty(self._matrix_shape)
        for o, i, first, last, start, stop in self._cuts:
            matrix[:, first:last, start:stop] = arrays[:, o, i, : last - first, self._height - (stop - start) :]
        return matrix


def _ladder(g: Tensor, segment: float, terminal: float, *, dim: int) -> Tensor:
    """Voltages along wires in direction `dim`, per volt at their start, with conductances g from nodes to ground."""
    if segment == terminal == 0:
        return torch.ones_like(g)
    steps = g.movedim(dim, 0).contiguous()
    admittances = _admittances(steps, segment)
    divisors = admittances * segment
    divisors[0].add_(admittances[0], alpha=terminal)
    voltages = divisors.add_(1.0).reciprocal_()
    for i in range(1, len(voltages)):  # faster than cumprod
        voltages[i].mul_(voltages[i - 1])
    return voltages.movedim(0, dim)


def _admittances(g: Tensor, segment: float) -> Tensor:
    """Admittance of each node (steps, ...) of a wire with everything behind it."""
    admittances = torch.empty_like(g)
    admittances[-1] = g[-1]
    ones = torch.ones_like(g[0])
    for i in range(len(g) - 2, -1, -1):
        behind = admittances[i + 1]
        torch.addcdiv(g[i], behind, torch.add(ones, behind, alpha=segment), out=admittances[i])
    return admittances


class _Columns:
    """Columns with these conductances, (arrays, outputs, inputs), as ladders from their ends.

    A current into node k meets the conductances of both sides of the column; from there to the nodes that lie farther
    from the column's end, voltages fall as on a ladder. So the resistance between nodes j and k >= j is a product of
    one factor of j and one of k, and the matrix of resistances is symmetric.
    """

    def __init__(self, load: Tensor, wires: WireResistances) -> None:
        steps = load.movedim(2, 0)
        farther = _admittances(steps.flip(0).contiguous(), wires.column).flip(0)
        nearer = torch.empty_like(farther)  # without the node's own conductance
        nearer[-1] = 1.0 / (wires.column + wires.column_terminal)
        for k in range(len(steps) - 2, -1, -1):
            behind = nearer[k + 1] + steps[k + 1]
            nearer[k] = behind / (1.0 + wires.column * behind)
        fall = farther.mul(wires.column).log1p_()
        fall = fall.cumsum(dim=0) - fall  # logarithm of the voltages, from each node to the farthest
        fall.sub_(fall[-1:] / 2.0).clamp_(-LARGEST_FALL, LARGEST_FALL)
        self._of_farther = fall.exp().movedim(0, 2)
        self._of_nearer = (farther.add_(nearer).reciprocal_() * fall.neg_().exp_()).movedim(0, 2)

    def mean_voltages(self, source: Tensor, shares: Tensor) -> Tensor:
        """Voltages (arrays, node, input) per volt of currents `source` [per volt], the mean with weights `shares`.

        Both are (arrays, outputs, inputs); each node has its own weights.
        """
        below = (shares * self._of_nearer).mT @ (self._of_farther * source)
        above = (shares * self._of_farther).mT @ (self._of_nearer * source)
        total = shares.sum(dim=1).clamp(min=torch.finfo(shares.dtype).tiny)
        return below.tril_().add_(above.triu_(1)).div_(total.unsqueeze(2))
