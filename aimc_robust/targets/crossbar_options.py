"""Keys of a spec's target table that describe a crossbar and its deployment."""

import inspect
from typing import Any

from aimc_robust.errors import InputError
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.standard_mappings import BitSliced
from aimc_robust.io.dataclass_from_table import check_keys, from_table

CROSSBAR_KEYS = tuple(name for name in inspect.signature(Crossbar).parameters)
DEPLOYMENT_KEYS = ("backend", "compensation")
"""Fields of Deployment that a table may set; ranges and data are found for each trained model."""

UNITS_S = {"d": 86400.0, "h": 3600.0, "min": 60.0}


def parse_crossbar(table: dict[str, Any]) -> Crossbar:
    """Build a crossbar from a table.

    Args:
        table: Keyword arguments of `Crossbar`, flat, in TOML's types: lists for pairs, tables for `dac` and `adc`, a
            table of `weight_bits` and `slices` for a bit-sliced `mapping`.

    Raises:
        InputError: if a value is invalid.
        UnknownNameError: if a key or name is unknown.
    """
    check_keys(table, CROSSBAR_KEYS, name="a target")
    options = dict(table)
    for key in ("window", "stuck"):
        if isinstance(options.get(key), list):
            options[key] = tuple(options[key])
    for key, kind in (("dac", DAC), ("adc", ADC), ("mapping", BitSliced)):
        if isinstance(options.get(key), dict):
            options[key] = from_table(kind, options[key], name=key)
    return Crossbar(**options)


def parse_deployment(table: dict[str, Any]) -> Deployment:
    """Build a deployment, without ranges and data, from a table.

    Args:
        table: Values of DEPLOYMENT_KEYS.

    Raises:
        InputError: if a value is invalid.
        UnknownNameError: if a key or name is unknown.
    """
    check_keys(table, DEPLOYMENT_KEYS, name="a target")
    options = dict(table)
    names = options.get("compensation", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"compensation must be a list of names, got {names!r}.")
    return Deployment(**options | {"compensation": tuple(names)})


def time_label(time_s: float) -> str:
    """Return a time for a name: 86400 -> 1d, 5400 -> 90min, 20 -> 20s.

    Args:
        time_s: The time [s].
    """
    for unit, size in UNITS_S.items():
        if time_s >= size and time_s % size == 0:
            return f"{time_s / size:g}{unit}"
    return f"{time_s:g}s"
