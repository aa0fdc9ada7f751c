"""Noise of the DACs, drawn for every row at every read of every array."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from aimc_robust.hardware.config.tiling import Interval, partition
from aimc_robust.hardware.layers.array_product import ArrayProduct
from aimc_robust.hardware.layers.input_stage import RowInputs
from aimc_robust.hardware.programming.read_noise import Array


class NoisyInputs(ArrayProduct):
    """An input stage whose DACs add noise of their own, see `DAC.noise`.

    The noise of a row is the same for all columns of an array, so that the errors of its outputs are correlated. It is
    drawn anew for every array, and at every read: for every window of a convolution, also of overlapping ones.

    Two forms have the same distribution. The plain one adds noise to the inputs of each read. For a convolution of C
    columns in R > C rows, the other draws C numbers for a read instead of R: n G^T, with independent normal n, is
    (n Q) (G Q)^T, where the columns of Q are an orthonormal basis of the rows of the states G (C, R), and n Q are again
    independent normal numbers. It needs states that do not vary from read to read and rows that are all driven.
    """

    @abstractmethod
    def read_inputs(self, x: Tensor) -> Tensor:
        """Return the inputs of every read, (..., rows), or (images, groups, rows, *positions) of a convolution."""

    @abstractmethod
    def read_product(self, inputs: Tensor, matrix: Tensor) -> Tensor:
        """Multiply inputs in the layout of `read_inputs` with a matrix (outputs, rows)."""

    @property
    def column_tiles(self) -> list[Interval]:
        """[start, stop) of the columns of each array, of every group."""
        return partition(self.shape[0] // self.groups, self.crossbar.arrays.columns)

    @property
    def array_of_outputs(self) -> list[int]:
        """Number of the array of each output, among those that the layer's outputs are cut into."""
        tiles = self.column_tiles
        one_group = [number for number, (start, stop) in enumerate(tiles) for _ in range(start, stop)]
        return [group * len(tiles) + number for group in range(self.groups) for number in one_group]

    @property
    def copies_of_inputs(self) -> int:
        """How many times the memory of its inputs a layer needs: that of all windows, where noise is drawn for each."""
        has_noise = self.noise is not None and self.crossbar.periphery.dac_noise > 0
        return self.input_rows // self.shape[1] if has_noise else 1

    def read_noisy_inputs(
        self,
        rows: RowInputs,
        matrix: Tensor,
        variances: Tensor | None,
        interval: Interval,
        array: Array,
        std: float,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the currents of the rows in `interval` with noisy inputs, and the variance of their read noise.

        Args:
            rows: Inputs of the rows.
            matrix: Signed states (outputs, inputs and bias rows).
            variances: Variances of read noise, like `matrix`; None: there is none.
            interval: [start, stop) of the rows of the array.
            array: Bank, tile, and so on, see `read_noise.Array`.
            std: Standard deviation of the noise.
        """
        if self.outputs_last or variances is not None or rows.driven is not None:
            return self._noise_on_inputs(rows, matrix, variances, interval, array, std)
        current = self.row_products(rows, matrix, *interval)
        states = matrix[:, interval[0] : interval[1]].unflatten(0, (self.groups, -1))
        parts = []
        for number, (first, last) in enumerate(self.column_tiles):
            reduced = _in_basis_of_rows(states[:, first:last])
            like = current.new_empty((len(current), self.groups * reduced.shape[2], *current.shape[2:]))
            noise = self._draw(like, (*array, number)).unflatten(1, (self.groups, -1))
            parts.append(self.read_product(noise, reduced.flatten(0, 1)))
        return current.add_(self._join(parts), alpha=std), None

    def _noise_on_inputs(
        self,
        rows: RowInputs,
        matrix: Tensor,
        variances: Tensor | None,
        interval: Interval,
        array: Array,
        std: float,
    ) -> tuple[Tensor, Tensor | None]:
        """Add noise to the inputs of each read, for each array of columns."""
        inputs = self._rows_in(rows.inputs, rows.bias_input, interval)
        driven = None if rows.driven is None else self._rows_in(rows.driven, torch.ones_like(rows.bias_input), interval)
        states = matrix[:, interval[0] : interval[1]].unflatten(0, (self.groups, -1))
        spread = None if variances is None else variances[:, interval[0] : interval[1]].unflatten(0, (self.groups, -1))
        currents, of_variance = [], []
        for number, (first, last) in enumerate(self.column_tiles):
            flat = inputs if self.outputs_last else inputs.flatten(1, 2)
            noise = self._draw(flat, (*array, number)).reshape(inputs.shape)
            noisy = inputs + std * (noise if driven is None else noise * driven)
            currents.append(self.read_product(noisy, states[:, first:last].flatten(0, 1)))
            if spread is not None:
                with torch.no_grad():
                    of_variance.append(self.read_product(noisy.square(), spread[:, first:last].flatten(0, 1)))
        return self._join(currents), self._join(of_variance) if of_variance else None

    def _rows_in(self, x: Tensor, bias_input: Tensor, interval: Interval) -> Tensor:
        """Return what drives the rows in `interval` at each read, in the layout of `read_inputs`."""
        axis = -1 if self.outputs_last else 2
        inputs, (start, stop) = self.read_inputs(x), interval
        inputs = inputs.narrow(axis, start, max(min(stop, self.input_rows) - start, 0))
        if stop <= self.input_rows:
            return inputs
        shape = list(inputs.shape)
        shape[axis] = stop - max(start, self.input_rows)
        return torch.cat([inputs, bias_input.expand(shape)], dim=axis)

    def _draw(self, like: Tensor, array: Array) -> Tensor:
        assert self.noise is not None
        return self.noise.draw(like, ("dac", *array), outputs_last=self.outputs_last)

    def _join(self, parts: list[Tensor]) -> Tensor:
        """Return outputs of all arrays of columns, in the order of the layer's."""
        if len(parts) == 1:
            return parts[0]
        if self.outputs_last:
            return torch.cat(parts, dim=-1)
        return torch.cat([part.unflatten(1, (self.groups, -1)) for part in parts], dim=2).flatten(1, 2)


def _in_basis_of_rows(states: Tensor) -> Tensor:
    """Return states (groups, columns, rows) times an orthonormal basis of their rows, which is a constant."""
    if states.shape[1] >= states.shape[2]:
        return states
    with torch.no_grad():
        basis = torch.linalg.qr(states.mT).Q
    return states @ basis
