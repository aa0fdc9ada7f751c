"""How one weight matrix lies in arrays, and what these do for one input of the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from aimc_robust.hardware.config.converters import DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.tiling import partition
from aimc_robust.hardware.conversion.array_reads import MatrixReads
from aimc_robust.noise.analog_weights import AnalogWeight


@dataclass(frozen=True, kw_only=True)
class ArrayActivity:
    """What the arrays of one weight matrix do for one input of the model.

    Attributes:
        reads: Matrix-vector multiplies: input vectors that are applied to the matrix, such as one per position of a
            convolution's output, per token, or per time step. The arrays of all groups are read as often.
        input_slices: Parts in which an input is applied, one after another (`DAC.slice_bits`); 1: at once.
        array_reads: Single arrays that are read: reads x input slices x arrays.
        dac_conversions: Inputs that drive a row of an array, in each array anew: one conversion per input slice.
        adc_conversions: Column currents that are converted, after all input slices or after each (`ADC.per_slice`).
    """

    reads: int
    input_slices: int
    array_reads: int
    dac_conversions: int
    adc_conversions: int


@dataclass(frozen=True, kw_only=True)
class LayerMapping:
    """How one weight matrix lies in arrays.

    Each group of a convolution has arrays of its own, and so has each bank of devices, such as a bit slice. All groups
    and banks are cut alike. A cell of an array holds one weight, or one digit of it, in `devices_per_cell` devices,
    whose currents are added or subtracted in the column.

    Attributes:
        layer: Name of the matrix, as in tables and ranges.
        shares: Further layers whose weight is the same, in the same arrays.
        crossbar: Where it is stored.
        weights: Number of weights.
        groups: Groups of a convolution.
        rows: Rows that one group's matrix takes: inputs, and bias rows.
        bias_rows: Rows of the bias among them.
        columns: Columns that one group's matrix takes: outputs.
        row_tiles: Rows used in each array, along the inputs.
        column_tiles: Columns used in each array, along the outputs.
        activity: What the arrays do for an example input; None without one.
    """

    layer: str
    shares: tuple[str, ...]
    crossbar: Crossbar
    weights: int
    groups: int
    rows: int
    bias_rows: int
    columns: int
    row_tiles: tuple[int, ...]
    column_tiles: tuple[int, ...]
    activity: ArrayActivity | None = None

    @property
    def banks(self) -> int:
        """Banks of devices, each in arrays of its own: 1, or the bit slices of a weight."""
        return self.crossbar.weights.mapping.banks

    @property
    def devices_per_weight(self) -> int:
        """Devices that store one weight, of all banks."""
        return len(self.crossbar.weights.mapping.signs)

    @property
    def devices_per_cell(self) -> int:
        """Devices in one cell of an array."""
        return self.devices_per_weight // self.banks

    @property
    def differential(self) -> bool:
        """Whether currents of devices are subtracted from each other."""
        return set(self.crossbar.weights.mapping.signs) == {1.0, -1.0}

    @property
    def arrays(self) -> int:
        """Number of arrays."""
        return self.groups * self.banks * len(self.row_tiles) * len(self.column_tiles)

    @property
    def array_rows(self) -> int:
        """Rows that each array has: the crossbar's limit; without one the rows used."""
        return self.crossbar.arrays.rows or self.rows

    @property
    def array_columns(self) -> int:
        """Columns that each array has: the crossbar's limit; without one the columns used."""
        return self.crossbar.arrays.columns or self.columns

    @property
    def cells_used(self) -> int:
        """Cells that hold a weight or a bias."""
        return self.groups * self.banks * self.rows * self.columns

    @property
    def cells(self) -> int:
        """Cells of all its arrays."""
        return self.arrays * self.array_rows * self.array_columns

    @property
    def utilization(self) -> float:
        """Share of the cells of its arrays that hold something, 0 to 1."""
        return self.cells_used / self.cells

    @property
    def devices(self) -> int:
        """Devices that hold something."""
        return self.cells_used * self.devices_per_cell

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as docs/how-to/describe-hardware.md lists them."""
        crossbar, activity = self.crossbar, self.activity
        dac, adc = crossbar.periphery.dac, crossbar.periphery.adc
        return {
            "layer": self.layer,
            "shares": list(self.shares),
            "device": crossbar.device.cell.name,
            "mapping": crossbar.weights.mapping.description,
            "weights": self.weights,
            "groups": self.groups,
            "rows": self.rows,
            "bias_rows": self.bias_rows,
            "columns": self.columns,
            "array_rows": self.array_rows,
            "array_columns": self.array_columns,
            "row_tiles": list(self.row_tiles),
            "column_tiles": list(self.column_tiles),
            "banks": self.banks,
            "devices_per_weight": self.devices_per_weight,
            "differential": self.differential,
            "arrays": self.arrays,
            "devices": self.devices,
            "utilization": self.utilization,
            "dac_bits": dac.bits if dac is not None and dac.bits else None,
            "adc_bits": None if adc is None else adc.bits,
            "activity": None if activity is None else vars(activity),
        }


def map_layer(
    weight: AnalogWeight, crossbar: Crossbar, reads: MatrixReads | None, shares: tuple[str, ...] = ()
) -> LayerMapping:
    """Cut one weight matrix into the arrays of a crossbar; `reads` counts an example input, if there is one."""
    matrix = weight.filters_first().flatten(1)
    groups = int(getattr(weight.module, "groups", 1))
    bias_rows = 0 if weight.bias is None else crossbar.arrays.bias_rows
    rows, columns = matrix.shape[1] + bias_rows, len(matrix) // groups
    layer = LayerMapping(
        layer=weight.layer,
        shares=shares,
        crossbar=crossbar,
        weights=weight.parameter.numel(),
        groups=groups,
        rows=rows,
        bias_rows=bias_rows,
        columns=columns,
        row_tiles=tuple(stop - start for start, stop in partition(rows, crossbar.arrays.rows)),
        column_tiles=tuple(stop - start for start, stop in partition(columns, crossbar.arrays.columns)),
    )
    return layer if reads is None else _with_activity(layer, reads)


def _with_activity(layer: LayerMapping, counted: MatrixReads) -> LayerMapping:
    dac, adc = layer.crossbar.periphery.dac, layer.crossbar.periphery.adc
    slices = _input_slices(dac, signed=counted.signed)
    driven = counted.inputs + counted.reads * layer.groups * layer.bias_rows
    columns = layer.groups * layer.banks * len(layer.row_tiles) * layer.columns
    activity = ArrayActivity(
        reads=counted.reads,
        input_slices=slices,
        array_reads=counted.reads * slices * layer.arrays,
        dac_conversions=driven * slices * layer.banks * len(layer.column_tiles),
        adc_conversions=counted.reads * columns * (slices if adc is not None and adc.per_slice else 1),
    )
    return LayerMapping(**{**vars(layer), "activity": activity})


def _input_slices(dac: DAC | None, *, signed: bool) -> int:
    """Number of parts in which an input is applied; a DAC of kind `auto` has a sign bit if inputs have a sign."""
    if dac is None or not dac.slice_bits:
        return 1
    has_sign = dac.kind == "sign-magnitude" or (dac.kind == "auto" and signed)
    return math.ceil((dac.bits - has_sign) / dac.slice_bits)
