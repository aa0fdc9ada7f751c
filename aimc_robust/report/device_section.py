"""What the pages of comparisons and of evaluations share: the devices, and the environments of the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from aimc_robust.devices.cell_model import Source
from aimc_robust.devices.limits import time_text
from aimc_robust.report.figures.device import device_figure
from aimc_robust.report.hardware_text import LayerSpans, describe_target
from aimc_robust.report.page_model import Figure, Grid, Prose, Section, Table
from aimc_robust.targets.target import CrossbarTarget

RangesOf = Callable[[CrossbarTarget], LayerSpans]


def device_section(
    targets: Sequence[CrossbarTarget], coverage: str, ranges: RangesOf = lambda target: {}
) -> Section | None:
    """Describe the device of each crossbar target: cells, crossbar, programming error and source; None without targets.

    Args:
        targets: The targets.
        coverage: Which weights are analog.
        ranges: Target -> converter ranges of its layers.
    """
    devices = [_device(target, ranges(target)) for target in targets]
    return Section("Devices", [Prose(f"Analog share: {coverage}"), Grid(devices)]) if devices else None


def _device(target: CrossbarTarget, ranges: LayerSpans) -> Section:
    cell, drift = target.crossbar.device.cell, "it has no drift"
    if cell.drift_limits_s is not None:
        drift = f"its drift from {time_text(cell.drift_limits_s[0])} to {time_text(cell.drift_limits_s[1])}"
    validity = f"The card's fit is valid from {cell.limits[0]:g} to {cell.limits[1]:g} {cell.unit}; {drift}."
    figure = Figure(partial(device_figure, target.name, target.crossbar), f"Programming error of {target.name}")
    currents = "array currents [full-on cells]"
    rows = [
        [("layer", layer), ("inputs", _span(inputs)), (currents, "; ".join(map(_span, outputs)))]
        for layer, (inputs, outputs) in ranges.items()
    ]
    title = (
        "Converter ranges, calibrated on training images (widest over the models; each model's ranges are in "
        "`runs/*/ranges.json`)"
    )
    converters = Section(title, [Table("Converter ranges", rows)], folded=True) if rows else None
    description = Prose(f"{cell.description}. {describe_target(target)}. {validity}")
    return Section(target.name, [description, figure, Prose(_source(cell.provenance)), converters], target=target.name)


def _source(source: Source) -> str:
    doi = source.doi and f"[doi:{source.doi}](https://doi.org/{source.doi})"
    fit = f" Fit: {source.fit}." if source.fit else ""
    return f"Source: {', '.join(filter(None, (source.citation, source.figure, doi)))}.{fit} {source.note}".rstrip()


def _span(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}"


def environment_notes(environments: Sequence[Mapping[str, Any]]) -> list[Prose]:
    """Return a note for each environment that produced results: versions and threads."""
    texts = [", ".join(f"{k} {v}" for k, v in environment.items() if v is not None) for environment in environments]
    several = len(environments) > 1
    return [Prose(f"Environment {i}: {text}" if several else text) for i, text in enumerate(texts, start=1)]
