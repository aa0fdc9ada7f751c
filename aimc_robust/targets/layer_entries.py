"""Layers of a target that are not on its crossbar: the key `layers` of its table."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from aimc_robust.devices.library import load_card
from aimc_robust.errors import AimcError, InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.layer_patterns import ALL
from aimc_robust.hardware.config.placement import Placement, place
from aimc_robust.hardware.config.standard_mappings import BitSliced
from aimc_robust.io.table_model import as_validation_error, by_toml_type, table_model, toml_type
from aimc_robust.targets.presets import expand_preset

CROSSBAR_TYPES = {
    "device": by_toml_type(str, dict[str, Any]),
    "mapping": by_toml_type(str, table_model(BitSliced, "BitSlicedMapping")),
    "stuck": by_toml_type(toml_type(tuple[float, float]), str) | None,
    "crosssim": dict[str, Any],
}


def fill_card(device: Any) -> Any:
    """Give the keys of a card that a later version added their defaults; what is no card is refused on `build`."""
    if isinstance(device, dict):
        with suppress(AimcError):
            return load_card(device).model_dump(mode="json", exclude_none=True)
    return device


class LayerTable(table_model(Crossbar, "LayerCrossbar", types=CROSSBAR_TYPES)):  # type: ignore[misc]
    """The crossbar of some layers: the arguments of `Crossbar`."""

    _card = pydantic.field_validator("device", mode="after", check_fields=False)(fill_card)

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _expand(cls, values: Any, validate: pydantic.ModelWrapValidatorHandler[Any]) -> Any:
        """Give the table the keys of the preset that it names."""
        with as_validation_error():
            expanded = expand_preset(values, deployed=False)
        return validate(expanded)


def as_pairs(places: Any) -> Any:
    """Return a table of patterns as a list of pairs, which keeps its order in JSON; anything else as it is."""
    return [[pattern, entry] for pattern, entry in places.items()] if isinstance(places, dict) else places


if TYPE_CHECKING:
    LayerPlaces = list[Any]
else:
    _Place = by_toml_type(str, LayerTable)
    _Pair = Annotated[list[_Place], pydantic.Field(min_length=2, max_length=2)]
    LayerPlaces = Annotated[by_toml_type(dict[str, _Place], list[_Pair]), pydantic.AfterValidator(as_pairs)]
"""Pattern -> `digital`, a device or a table; or, since the order counts, a list of such pairs, as results store it."""


def build_placement(crossbar: Crossbar, pairs: list[Any]) -> Placement:
    """Return the placement of pairs of pattern and place, with all other layers on `crossbar`."""
    patterns = [pattern for pattern, _ in pairs]
    if duplicates := [pattern for pattern in patterns if patterns.count(pattern) > 1]:
        raise InputError(f"layers: the pattern {duplicates[0]!r} is given twice.")
    if ALL in patterns:
        raise InputError(
            f"layers: the pattern {ALL!r} leaves no layer to the crossbar of the table; name fewer layers, or give "
            "that device as the table's own."
        )
    placement = place(crossbar, {pattern: _build_place(entry) for pattern, entry in pairs})
    assert isinstance(placement, Placement)
    return placement


def _build_place(entry: Any) -> Any:
    return entry.build() if isinstance(entry, LayerTable) else entry
