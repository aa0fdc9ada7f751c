"""The rows of the table of a network's arrays, for pages and for the terminal, which draws nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aimc_robust.report.formatting import MISSING, format_number

if TYPE_CHECKING:
    from aimc_robust.report.page_model import Row  # loads Matplotlib


def mapping_rows(mapping: Mapping[str, Any]) -> list[Row]:
    """Return a row for each layer of a mapping as `MappingSummary.to_json` writes it, and one for all of them.

    Where layers are on several devices, a column names them.
    """
    several = len({layer["device"] for layer in mapping["layers"]}) > 1
    rows = [
        _row(
            "\n".join([layer["layer"], *(f"= {name}" for name in layer["shares"])]),
            layer,
            f"{layer['rows']:,} × {layer['columns']:,}",
            f"{layer['arrays']:,}\n{_factors(layer)}".rstrip(),
            layer["device"] if several else "",
        )
        for layer in mapping["layers"]
    ]
    total = mapping["total"]
    everything = _row("all layers", total, MISSING, f"{total['arrays']:,}", MISSING if several else "")
    return [*rows, everything] if len(rows) > 1 else rows


def _factors(layer: Mapping[str, Any]) -> str:
    """Say how the number of arrays comes about, where there are several."""
    parts = [f"{len(layer['row_tiles'])} × {len(layer['column_tiles'])}"]
    parts += [f"{layer['groups']} groups"] if layer["groups"] > 1 else []
    parts += [f"{layer['banks']} banks"] if layer["banks"] > 1 else []
    return "" if layer["arrays"] == 1 else " × ".join(parts)


def _row(name: str, counted: Mapping[str, Any], matrix: str, arrays: str, device: str) -> Row:
    activity = counted["activity"] or {}
    heads = {
        "reads": "reads",
        "array_reads": "array reads",
        "dac_conversions": "DAC\nconversions",
        "adc_conversions": "ADC\nconversions",
    }
    slices = activity.get("input_slices", 1)
    values = {key: f"{activity[key]:,}" if key in activity else MISSING for key in heads}
    values["array_reads"] += f"\n{slices} input slices" if slices > 1 else ""
    return [
        ("layer", name),
        *([("device", device)] if device else []),
        ("rows × columns", matrix),
        ("arrays", arrays),
        ("used", f"{format_number(100.0 * counted['utilization'], 1)} %"),
        ("devices", f"{counted['devices']:,}"),
        *((head, values[key]) for key, head in heads.items()),
    ]
