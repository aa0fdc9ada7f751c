"""Where a recommendation's target has its layers: before the proposal, and with the layers that it keeps digital."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

from torch import nn

from aimc_robust.devices.library import card_names, load_card
from aimc_robust.hardware.config.layer_patterns import ALL, matches
from aimc_robust.hardware.config.placement import DIGITAL, Placement
from aimc_robust.hardware.conversion.prepare import plain_copy
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.targets.layer_entries import as_pairs

Places = list[tuple[str, Any]]
"""Pairs of a pattern and where its layers are, in the order in which they decide."""


def digital_by_choice(model: nn.Module, placement: Placement) -> list[str]:
    """Return the layers of a model that a placement keeps digital.

    Raises:
        InputError: if the patterns of the placement do not suit the model.
    """
    plain = plain_copy(model)
    placement.check_model(plain)
    layers = (weight.layer for weight in analog_weights(plain).values())
    return [layer for layer in layers if placement.crossbar_of(layer) is None]


def given_places(target: Any) -> Places:
    """Return the key `layers` of a target, with the names of the library's cards in place of their tables."""
    pairs = as_pairs(target.get("layers")) if isinstance(target, dict) else None
    return [(pattern, _short(entry)) for pattern, entry in pairs or ()]


def with_digital(places: Places, layers: Iterable[str], on_crossbars: Sequence[str]) -> Places:
    """Return places that keep further layers digital, and all else where it is.

    Patterns that would no longer decide for any layer, which is an error in a spec, are left out.

    Args:
        places: The places before, in which none of `layers` is digital.
        layers: The layers.
        on_crossbars: All layers that are not digital by `places`.
    """
    further = dict.fromkeys(layers, DIGITAL)
    left = [layer for layer in on_crossbars if layer not in further]
    deciding = {next((pattern for pattern, _ in places if matches(pattern, layer)), ALL) for layer in left}
    first = list(takewhile(lambda place: place[1] == DIGITAL, places))
    others = [place for place in places[len(first) :] if place[1] == DIGITAL or place[0] in deciding]
    return [*first, *further.items(), *(place for place in others if place[0] not in further)]


def _short(entry: Any) -> Any:
    """Return an entry of `layers` with the card's name, if it is one of the library, and alone where it suffices."""
    card = entry.get("device") if isinstance(entry, dict) else None
    if not isinstance(card, dict) or card.get("name") not in card_names():
        return entry
    if load_card(card) != load_card(card["name"]):
        return entry
    return card["name"] if len(entry) == 1 else entry | {"device": card["name"]}
