"""Converter ranges of each layer, as `calibrate` finds them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import pair


@dataclass(frozen=True, kw_only=True)
class LayerRanges:
    """Ranges of one layer.

    inputs: (low, high) of the layer's inputs, in their own unit; the DAC's full scale is the larger magnitude.
    outputs: (low, high) of an array's column currents for each weight slice (one without bit slicing), in units of
        the current of one device at the top of the window with a full-scale input.
    """

    inputs: tuple[float, float]
    outputs: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", pair("inputs of a layer's ranges", self.inputs))
        outputs = tuple(pair("outputs of a layer's ranges", output) for output in self.outputs)
        object.__setattr__(self, "outputs", outputs)

    @property
    def full_scale(self) -> float:
        """The largest input magnitude."""
        return max(abs(self.inputs[0]), abs(self.inputs[1]))

    @property
    def signed(self) -> bool:
        """Whether any input was negative."""
        return self.inputs[0] < 0


def missing_ranges(layer: str) -> InputError:
    """The error for a layer whose converters have no ranges."""
    return InputError(
        f"no converter ranges for the layer {layer!r}; program with the crossbar that "
        "`calibrate(model, crossbar, batches)` returns, or give the DAC a kind and full_scale and the ADC a range."
    )


def ranges_to_json(ranges: Mapping[str, LayerRanges]) -> dict[str, Any]:
    """Plain lists and numbers, for files."""
    return {
        name: {"inputs": list(layer.inputs), "outputs": [list(output) for output in layer.outputs]}
        for name, layer in ranges.items()
    }


def ranges_from_json(values: Mapping[str, Any]) -> dict[str, LayerRanges]:
    """What `ranges_to_json` wrote. Raises InputError for anything else."""
    try:
        return {
            name: LayerRanges(inputs=layer["inputs"], outputs=tuple(layer["outputs"])) for name, layer in values.items()
        }
    except (TypeError, KeyError, AttributeError):
        raise InputError(
            "ranges must map a layer's name to {inputs: [low, high], outputs: [[low, high], ...]}."
        ) from None
