"""A spec's crossbar table to a Crossbar and how it is deployed: their own fields are the schema."""

from dataclasses import fields
from typing import Any

from aimc_robust.errors import InputError
from aimc_robust.evaluation.monte_carlo import Deployment
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.mapping import BitSliced
from aimc_robust.io.from_table import check_keys, from_table

# `ranges` are found from data, `data` is the training set's.
CROSSBAR_KEYS = tuple(field.name for field in fields(Crossbar) if field.name != "ranges")
DEPLOYMENT_KEYS = tuple(field.name for field in fields(Deployment) if field.name != "data")
UNITS_S = {"d": 86400.0, "h": 3600.0, "min": 60.0}


def crossbar_from(table: dict[str, Any]) -> Crossbar:
    """A Crossbar from the keys of CROSSBAR_KEYS; lists become pairs, the tables `dac`, `adc`, `mapping` objects."""
    options = dict(table)
    for key in ("window", "stuck"):
        if isinstance(options.get(key), list):
            options[key] = tuple(options[key])
    for key, kind in (("dac", DAC), ("adc", ADC), ("mapping", BitSliced)):
        if isinstance(options.get(key), dict):
            options[key] = from_table(kind, options[key], what=key)
    return Crossbar(**options)


def deployment_from(table: dict[str, Any]) -> Deployment:
    """A Deployment from the keys of DEPLOYMENT_KEYS, without its data."""
    options = dict(table)
    names = options.get("compensation", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"compensation is a list of names, got {names!r}.")
    check_keys(options, DEPLOYMENT_KEYS, what="a target")
    return Deployment(**options | {"compensation": tuple(names)})


def time_label(time_s: float) -> str:
    """A time for a name: 86400 -> 1d, 5400 -> 90min, 20 -> 20s."""
    for unit, size in UNITS_S.items():
        if time_s >= size and time_s % size == 0:
            return f"{time_s / size:g}{unit}"
    return f"{time_s:g}s"
