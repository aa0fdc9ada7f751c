"""Where each device of a weight matrix lies: its array, row and column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aimc_robust.hardware.config.mapping import WeightMapping
from aimc_robust.hardware.config.tiling import ArraySize, partition


@dataclass(frozen=True, eq=False)
class Addresses:
    """The addresses of a matrix's devices, all counted from 0.

    Device d of the weight of output o and input i is in the bank and of the sign of `devices[d]`, in the group, array
    column and column of `columns[o]`, and in the array row and row of `rows[i]`. One array holds what has the same
    bank, group, array row and array column; devices of both signs share its row and column, as a pair or, in chips
    that have one array for each sign, in two arrays.

    Attributes:
        devices: (bank, sign) of each device of the mapping, (devices, 2).
        columns: (group, array column, column in the array) of each output, (outputs, 3). The groups of a convolution
            have inputs, and so arrays, of their own.
        rows: (array row, row in the array) of each input and bias row, (inputs, 2).
    """

    devices: np.ndarray
    columns: np.ndarray
    rows: np.ndarray

    def __post_init__(self) -> None:
        for array in (self.devices, self.columns, self.rows):
            array.flags.writeable = False


def matrix_addresses(
    mapping: WeightMapping, arrays: ArraySize, outputs: int, inputs: int, *, groups: int = 1
) -> Addresses:
    """Return the addresses of a matrix (outputs, inputs), bias rows included, cut by `partition`."""
    per_bank, per_group = len(mapping.signs) // mapping.banks, outputs // groups
    columns = _cut(per_group, arrays.columns)
    return Addresses(
        devices=np.array([(d // per_bank, int(sign)) for d, sign in enumerate(mapping.signs)], dtype=np.int32),
        columns=np.concatenate([np.insert(columns, 0, group, axis=1) for group in range(groups)]),
        rows=_cut(inputs, arrays.rows),
    )


def _cut(count: int, limit: int) -> np.ndarray:
    """(number of the interval, position in it) of each of `count` rows or columns."""
    intervals = enumerate(partition(count, limit))
    return np.array([(n, i) for n, (start, stop) in intervals for i in range(stop - start)], dtype=np.int32)
