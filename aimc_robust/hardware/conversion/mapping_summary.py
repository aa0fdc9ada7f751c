"""Summary of a model's mapping: arrays of each layer, how full they are, and what they do for one input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import nn

from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.conversion.array_reads import MatrixReads
from aimc_robust.hardware.conversion.layer_mapping import LayerMapping, map_layer
from aimc_robust.noise.analog_weights import analog_weights

COUNTS = ("reads", "array_reads", "dac_conversions", "adc_conversions")
SUMS = ("weights", "arrays", "devices")
VERSION = 1  # of the JSON form; a change of meaning increases it


@dataclass(frozen=True)
class MappingSummary:
    """The arrays of a model's layers, see `coverage`.

    Attributes:
        layers: The weight matrices on arrays, in the order of the model; one that several layers share appears once.
    """

    layers: tuple[LayerMapping, ...]

    @property
    def arrays(self) -> int:
        """Number of arrays."""
        return sum(layer.arrays for layer in self.layers)

    @property
    def utilization(self) -> float:
        """Share of the cells of all arrays that hold something, 0 to 1."""
        cells = sum(layer.cells for layer in self.layers)
        return sum(layer.cells_used for layer in self.layers) / cells if cells else 0.0

    @property
    def table(self) -> pd.DataFrame:
        """A row per matrix; columns as the JSON form, `reads` to `adc_conversions` for an example input only."""
        rows = [layer.to_json() for layer in self.layers]
        activities = [row.pop("activity") or {} for row in rows]
        return pd.DataFrame([row | activity for row, activity in zip(rows, activities, strict=True)])

    def total(self) -> dict[str, Any]:
        """Return the sums over all layers: weights, arrays, devices and, for an example input, its activity."""
        rows = [layer.to_json() for layer in self.layers]
        sums: dict[str, Any] = {name: sum(row[name] for row in rows) for name in SUMS}
        sums["utilization"] = self.utilization
        activities = [row["activity"] for row in rows]
        counted = None if None in activities else {name: sum(part[name] for part in activities) for name in COUNTS}
        return sums | {"activity": counted}

    def to_json(self) -> dict[str, Any]:
        """Return plain values for an energy estimator, as docs/how-to/describe-hardware.md lists them."""
        return {"version": VERSION, "layers": [layer.to_json() for layer in self.layers], "total": self.total()}

    def summary(self) -> str:
        """Summarize arrays and activity in one sentence."""
        total = self.total()
        text = f"{self.arrays:,} array{'s' * (self.arrays != 1)}, {100.0 * self.utilization:.1f} % used"
        if counted := total["activity"]:
            text += (
                f"; per example {counted['array_reads']:,} array reads, {counted['dac_conversions']:,} DAC and "
                f"{counted['adc_conversions']:,} ADC conversions"
            )
        return f"{text}."


def map_model(
    prepared: nn.Module,
    hardware: Hardware,
    reads: Mapping[str, MatrixReads] | None = None,
) -> MappingSummary:
    """Cut the weight matrices of a model from `prepare` into arrays.

    Digital layers are left out. `reads` are those of `MacCount`, for the same hardware.
    """
    users: dict[int, list[str]] = {}
    for use in analog_weights(prepared, include_shared=True).values():
        users.setdefault(id(use.parameter), []).append(use.layer)
    layers = [
        map_layer(weight, crossbar, None if reads is None else reads[name], tuple(users[id(weight.parameter)][1:]))
        for name, weight in analog_weights(prepared).items()
        if (crossbar := hardware.crossbar_of(weight.layer)) is not None
    ]
    return MappingSummary(tuple(layers))
