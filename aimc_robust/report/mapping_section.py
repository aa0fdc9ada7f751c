"""The arrays of a network's layers, how full they are, and what they do for one example: picture and table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from matplotlib.figure import Figure as MatplotlibFigure

from aimc_robust.plot.array_map import arrays, figure_size
from aimc_robust.plot.style import figure_style
from aimc_robust.report.mapping_table import mapping_rows
from aimc_robust.report.page_model import Figure, Prose, Section, Table, codes
from aimc_robust.report.rendering import RenderedFigure, render_figure
from aimc_robust.targets.target import CrossbarTarget

CUT = ("layer", "groups", "banks", "array_rows", "array_columns", "row_tiles", "column_tiles")
"""Keys of a layer's mapping that decide its picture."""
NOTE = (
    "Rows are inputs (and bias rows), columns are outputs, of one group of a convolution. arrays: row tiles × column "
    "tiles × groups × banks of devices, such as bit slices. used: share of the arrays' cells that hold something. "
    "reads: matrix-vector multiplies for one example. Conversions are counted in each array anew, and for each input "
    "slice where inputs are applied in slices. `coverage.json` has all numbers under `mappings`."
)


def array_figures(mappings: Iterable[Mapping[str, Any]], groups: Iterable[Iterable[CrossbarTarget]]) -> list[Figure]:
    """Return a picture of the arrays of each network, one for all targets that cut it alike.

    Without a limit of their size arrays are as large as their layers, which is no picture.
    """
    wanted = {target.name for group in groups for target in group}
    pictures: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
    for mapping in mappings:
        names = [name for name in mapping["targets"] if name in wanted]
        if names and mapping["layers"] and mapping["total"]["utilization"] < 1.0:
            cut = [[layer[key] for key in CUT] for layer in mapping["layers"]]
            pictures.setdefault(f"{mapping['network']} {cut}", (mapping, []))[1].extend(names)
    networks = {mapping["network"] for mapping, _ in pictures.values()}
    return [
        Figure(
            partial(_draw_arrays, mapping, "arrays" if number == 1 else f"arrays-{number}"),
            "Arrays of each layer, and the part of each that is used",
            f"{codes([mapping['network']]) + ' on' if len(networks) > 1 else 'On'} {codes(names)}: each box is an "
            "array, filled as high as its rows and as wide as its columns are used.",
        )
        for number, (mapping, names) in enumerate(pictures.values(), start=1)
    ]


def _draw_arrays(mapping: Mapping[str, Any], name: str) -> RenderedFigure:
    with figure_style():
        figure = MatplotlibFigure(figsize=figure_size(len(mapping["layers"])), layout="constrained")
        arrays(mapping, figure.subplots())
        return render_figure(figure, name)


def mapping_sections(mappings: Iterable[Mapping[str, Any]], target: str) -> list[Section]:
    """Return a folded table for each network whose mapping on a target's crossbar is known."""
    found = [mapping for mapping in mappings if target in mapping["targets"] and mapping["layers"]]
    return [
        Section(
            f"{mapping['total']['arrays']:,} arrays" + (f" of {mapping['network']}" if len(found) > 1 else ""),
            [Table("Arrays", mapping_rows(mapping)), Prose(NOTE)],
            folded=True,
        )
        for mapping in found
    ]
