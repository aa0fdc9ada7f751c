"""Converter ranges of a model's layers, the result of `calibrate`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aimc_robust.errors import InputError, names_arguments, short_repr
from aimc_robust.hardware.config.converters import parse_range

FOLDED, FOLD, LAYERS = "folded BatchNorms", "fold", "layers"  # keys of `found_with`


@names_arguments
@dataclass(frozen=True, kw_only=True)
class LayerRanges:
    """Converter ranges of one layer.

    Attributes:
        inputs: (low, high) of the layer's inputs, in their own unit; the DAC's full scale is the larger magnitude.
        outputs: (low, high) of an array's column currents for each weight slice (one without bit slicing), in units of
            the current of one device at the top of the window with a full-scale input.

    Raises:
        InputError: if a range is not two finite numbers with low < high.
    """

    inputs: tuple[float, float]
    outputs: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", parse_range("inputs of a layer's ranges", self.inputs))
        outputs = tuple(parse_range("outputs of a layer's ranges", output) for output in self.outputs)
        object.__setattr__(self, "outputs", outputs)

    @property
    def full_scale(self) -> float:
        """The largest input magnitude."""
        return max(abs(self.inputs[0]), abs(self.inputs[1]))

    @property
    def signed(self) -> bool:
        """Whether any input was negative."""
        return self.inputs[0] < 0


class ConverterRanges(Mapping[str, LayerRanges]):
    """Converter ranges by layer name; an immutable mapping.

    Args:
        layers: Layer name -> its ranges.
        found_with: What they depend on, as it was where `calibrate` found them, in plain values: folded BatchNorms, and
            of each layer the options of its crossbar as texts; None: unknown, so that they are used unchecked.

    Raises:
        InputError: if `layers` is not such a mapping.

    Examples:
        >>> ranges = ConverterRanges({"fc": LayerRanges(inputs=(0.0, 2.0))})
        >>> ranges["fc"].full_scale
        2.0
        >>> ConverterRanges.from_json(ranges.to_json()) == ranges
        True
    """

    def __init__(self, layers: Mapping[str, LayerRanges], *, found_with: Mapping[str, Any] | None = None) -> None:
        valid = isinstance(layers, Mapping) and all(isinstance(layer, LayerRanges) for layer in layers.values())
        if not valid:
            raise InputError(f"ranges must map layer names to LayerRanges, got {short_repr(layers)}.")
        self._layers, self.found_with = dict(layers), found_with

    def __getitem__(self, layer: str) -> LayerRanges:
        return self._layers[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        return f"ConverterRanges({self._layers!r})"

    def to_json(self) -> dict[str, Any]:
        """Return {layers: {layer: {inputs: [low, high], outputs: [[low, high], ...]}}, found_with: see the class}."""
        layers = {
            name: {"inputs": list(layer.inputs), "outputs": [list(output) for output in layer.outputs]}
            for name, layer in self._layers.items()
        }
        return {"layers": layers, "found_with": self.found_with}

    @classmethod
    def from_json(cls, values: Any) -> ConverterRanges:
        """Read what `to_json` returned; raise InputError for another form."""
        try:
            layers = {
                name: LayerRanges(inputs=layer["inputs"], outputs=tuple(layer["outputs"]))
                for name, layer in values["layers"].items()
            }
            found_with = values["found_with"]
            if found_with is not None:
                _check_found_with(found_with)
        except (TypeError, KeyError, AttributeError):
            raise InputError(
                "ranges must be what ConverterRanges.to_json returns: {layers: {name: {inputs: [low, high], "
                "outputs: [[low, high], ...]}}, found_with: ...}."
            ) from None
        return cls(layers, found_with=found_with)


def _check_found_with(values: Any) -> None:
    """Raise TypeError, KeyError or AttributeError for what is not `found_with`."""
    settings = [value for layer in values[LAYERS].values() for value in layer.values()]
    texts = [*values[FOLDED], *(value for value in settings if value is not None)]
    if not isinstance(values[FOLD], bool) or not all(isinstance(text, str) for text in texts):
        raise TypeError


def missing_ranges(settings: Sequence[str], layer: str = "") -> InputError:
    """Return the error for a layer whose converters lack these settings."""
    named = f"the layer {layer!r}" if layer else "this layer"
    return InputError(
        f"no converter ranges for {named}; pass the result of `calibrate(model, crossbar, batches)` as "
        f"Deployment(ranges=...), or set the {' and the '.join(settings)}."
    )
