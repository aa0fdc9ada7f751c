"""The JSON schema of device cards, for editors."""

from __future__ import annotations

from aimc_robust.devices.card import Card
from aimc_robust.devices.cell_model import UNITS
from aimc_robust.io.json_schema import DIALECT, Schema, any_of, describe_keys


def card_schema() -> Schema:
    """Return the JSON schema (draft 2020-12) of a device card.

    It has the keys, the kinds of laws and the bounds of numbers. What relates several numbers, such as rising states or
    a window within its limits, is checked when the card is read.
    """
    schema: Schema = any_of(Card.model_json_schema())
    for table in (schema, *schema["$defs"].values()):
        describe_keys(table)
    schema["properties"]["unit"]["enum"] = list(UNITS.values())
    units = [
        {"if": {"properties": {"state": {"const": state}}}, "then": {"properties": {"unit": {"const": unit}}}}
        for state, unit in UNITS.items()
    ]
    return {"$schema": DIALECT, **schema, "title": "Device card of aimc-robust", "allOf": units}
