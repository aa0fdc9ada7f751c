"""How levels and judgements of device requirements are written, in pages and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from aimc_robust.devices.limits import time_text
from aimc_robust.evaluation.requirements.devices import SCALES
from aimc_robust.evaluation.requirements.quantities import QUANTITIES
from aimc_robust.evaluation.requirements.result import DeviceRequirements
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
    top, unit = found.template.device.programming_window[1], found.template.device.cell.unit
    if row["unit"] == PERCENT_UNITS[0] and unit != "1":
        text += f" ({format_significant(level * top, 2)} {unit.replace('uS', 'µS')})"
    return text


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
        f"lose more: with a confidence of 95 % each, on these data.{_drift_text(found)}"
    )


def _drift_text(found: DeviceRequirements) -> str:
    searched = (QUANTITIES[name] for name in found.table["quantity"] if name in QUANTITIES)
    if not any(quantity.effect == "drift" for quantity in searched) and found.devices.empty:
        return ""
    return f" Drift is that of {time_text(found.time_s)} after programming, with t0 = {found.t0_s:g} s."


def margin_text(margin: float) -> str:
    """Format the factor on a device's programming error at which it just meets the requirement."""
    if margin == 0.0:
        return "none"
    return f"{'> ' if margin == SCALES[0] else ''}{format_significant(margin, 2)} ×"


def loss_text(metric: PrimaryMetric, loss: float) -> str:
    """Format the largest loss over chips with its unit."""
    return "outputs not finite" if math.isinf(loss) else f"{metric.number(loss)} {metric.difference_unit}".rstrip()
