"""How levels and judgements of device requirements are written, in pages and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from aimc_robust.devices.limits import time_text
from aimc_robust.evaluation.requirements.devices import SCALES
from aimc_robust.evaluation.requirements.quantities import QUANTITIES, Effect
from aimc_robust.evaluation.requirements.quantity_search import TOGETHER
from aimc_robust.evaluation.requirements.result import DeviceRequirements
from aimc_robust.evaluation.requirements.simulator import TOLERANCE
from aimc_robust.report.formatting import MISSING, format_significant
from aimc_robust.statistics.primary_metric import PrimaryMetric

STATUS = {
    "confirmed": "confirmed",
    "exact": "the same on all chips",
    "no limit": "no limit up to this level",
    "not met": "no level is small enough",
    "not confirmed": "not confirmed; use more chips",
}
PERCENT_UNITS = ("of the window's top", "of the state", "of all devices")
EFFECTS: dict[Effect, str] = {
    "programming": "programming error",
    "read": "read noise",
    "drift": "drift",
    "stuck-low": "devices stuck at the low end",
    "stuck-high": "devices stuck at the high end",
    "adc": "ADCs",
    "dac": "DACs",
}
PPM_BELOW = 1e-5  # fractions below this are read more easily in parts per million


def level_text(found: DeviceRequirements, row: Mapping[str, Any], level: float) -> str:
    """Format a level of a row of `DeviceRequirements.table`, with its unit and its value in that of the device."""
    if math.isnan(level):
        return MISSING
    quantity = QUANTITIES.get(row["quantity"])
    if quantity is not None and quantity.is_bits:
        return f"{level:.0f} bits"
    number = format_significant(level, 2)
    if row["unit"] not in PERCENT_UNITS:
        return f"{number} {row['unit']}".rstrip()
    text = (
        f"{format_significant(100 * level, 2)} %" if level >= PPM_BELOW else f"{format_significant(1e6 * level, 2)} ppm"
    )
    text += f" {row['unit']}"
    if row["unit"] == PERCENT_UNITS[2]:
        text += f" ({_count_text(level * found.device_count)} of {found.device_count:,})"
    top, unit = found.template.device.programming_window[1], found.template.device.cell.unit
    if row["unit"] == PERCENT_UNITS[0] and unit != "1":
        text += f" ({format_significant(level * top, 2)} {unit.replace('uS', 'µS')})"
    return text


def _count_text(devices: float) -> str:
    return "fewer than one" if devices < 1 else f"about {float(format_significant(devices, 2)):,.0f}"


def limit_text(found: DeviceRequirements, row: Mapping[str, Any]) -> str:
    """Format the confirmed level of a row, with the side of it that is tolerated."""
    text, quantity = level_text(found, row, row["level"]), QUANTITIES.get(row["quantity"])
    if text == MISSING:
        return text
    return f"at {'least' if quantity is not None and quantity.is_bits else 'most'} {text}"


def yield_text(row: Mapping[str, Any]) -> str:
    """Format the chips of a confirmation, and the lower bound of the yield on a second line."""
    if not row["chips"] or math.isnan(row["yield_bound"]):
        return MISSING
    return f"{row['passing']} of {row['chips']}\nat least {row['yield_bound']:.1f} %"


def setting_text(found: DeviceRequirements) -> str:
    """Return what the levels hold for: the arrays, the number of chips, and the time of drift."""
    template, (low, high) = found.template, found.template.device.programming_window
    arrays = (
        f"arrays of {template.arrays.rows or 'unlimited'} rows and {template.arrays.columns or 'unlimited'} columns"
    )
    ratio = f"an on/off ratio of {high / low:.4g}" if low > 0 else "an unlimited on/off ratio"
    return (
        f"Weights are stored with {ratio} in {arrays}. Each level was found on "
        f"{found.chips} chips and confirmed on {found.chips} others, of which at most {found.allowed_failures} may "
        f"lose more: with a confidence of 95 % each, on these data.{_drift_text(found)}{_fine_drop_text(found)}"
        f"{_not_searched_text(found)}"
    )


def _drift_text(found: DeviceRequirements) -> str:
    searched = "drift" in effects(found)
    if not searched and found.devices.empty:
        return ""
    text = f" Drift is that of {time_text(found.time_s)} after programming, with t0 = {found.t0_s:g} s"
    if searched:
        text += (
            "; the standard deviation of its exponent over devices is "
            f"{format_significant(found.drift_spread)} times the mean"
        )
    return f"{text}."


def _fine_drop_text(found: DeviceRequirements) -> str:
    """Say so if the allowed drop is less than a single example."""
    if not found.metric.is_proportion or found.drop + TOLERANCE >= 100.0 / found.examples:
        return ""
    items = found.items
    return (
        f" A drop of {loss_text(found.metric, found.drop)} is less than one of the {found.examples:,} {items}, so no "
        f"{items.removesuffix('s')} may be lost."
    )


def _not_searched_text(found: DeviceRequirements) -> str:
    ideal = ideal_text(found, effects(found))
    return f" Not searched, and taken as ideal: {ideal}." if ideal else ""


def effects(found: DeviceRequirements, *, together: bool = False) -> set[Effect]:
    """Return which effects were searched; `together`: which the budget of all errors has."""
    names = (row["quantity"] for row in found.table.to_dict("records") if not together or not math.isnan(row[TOGETHER]))
    return {QUANTITIES[name].effect for name in names if name in QUANTITIES}


def ideal_text(found: DeviceRequirements, present: set[Effect]) -> str:
    """Return the names of all other effects, but for converters that the template has."""
    periphery = found.template.periphery
    fixed = {"adc": periphery.adc, "dac": periphery.dac}
    return ", ".join(name for effect, name in EFFECTS.items() if effect not in present and not fixed.get(effect))


def margin_text(margin: float) -> str:
    """Format the factor on a device's programming error at which it just meets the requirement."""
    if margin == 0.0:
        return "none"
    return f"{'> ' if margin == SCALES[0] else ''}{format_significant(margin, 2)} ×"


def loss_text(metric: PrimaryMetric, loss: float) -> str:
    """Format the largest loss over chips with its unit."""
    return "outputs not finite" if math.isinf(loss) else f"{metric.number(loss)} {metric.difference_unit}".rstrip()
