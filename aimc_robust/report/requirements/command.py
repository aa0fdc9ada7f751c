"""The `evaluate` command that measures the budget of all errors on further chips."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from pathlib import Path
from typing import Any

from aimc_robust.evaluation.requirements.result import DeviceRequirements
from aimc_robust.io.toml import inline_toml, toml_key
from aimc_robust.targets.target import time_label

CARD = "error-budget.toml"
OF_DEVICE = ("programming", "drift", "read_noise", "error_scale")  # arguments of `Crossbar` that a budget replaces


def evaluate_command(
    found: DeviceRequirements, inputs: Sequence[Sequence[str]], arrays: Mapping[str, Any], folder: Path
) -> str | None:
    """Return the command that evaluates the card in `folder` under all conditions of the budget; None without one.

    Args:
        found: The requirements.
        inputs: The words of the command line that say model and data, an option and its value each.
        arrays: Keys of a target table for the crossbar around the device.
        folder: Where the card is.
    """
    budget, metric = found.together, found.metric
    if budget is None:
        return None
    settings = {key: value for key, value in arrays.items() if key not in OF_DEVICE}
    for name, bits in (("adc", budget.adc_bits), ("dac", budget.dac_bits)):
        if bits:
            settings[name] = {**settings.get(name, {}), "bits": bits}
    if budget.drifts and budget.compensates:
        settings["compensation"] = ["drift"]
    threshold = found.digital - found.drop if metric.is_higher_better else found.digital + found.drop
    lenient = Context(prec=8, rounding=ROUND_FLOOR if metric.is_higher_better else ROUND_CEILING)
    words = [
        *inputs,
        ["--device", str(folder / CARD)],
        ["--times", time_label(found.time_s) if budget.drifts else "0"],
        *(["--set", setting] for setting in _settings(settings)),
        ["--chips", str(found.chips)],
        ["--threshold", f"{lenient.create_decimal_from_float(threshold):f}"],
        ["--out", str(folder / "evaluation")],
    ]
    return " \\\n    ".join(["aimc-robust evaluate", *map(shlex.join, words)])


def _settings(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield KEY=VALUE of each value of nested tables."""
    for key, value in table.items():
        name = f"{prefix}{toml_key(key)}"
        if isinstance(value, dict) and value:
            yield from _settings(value, f"{name}.")
        else:
            yield f"{name}={inline_toml(value)}"
