"""How the layers of a network lie on arrays: a row of arrays for each layer, each filled as far as it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import MaxNLocator

from aimc_robust.errors import InputError, require_whole
from aimc_robust.hardware.conversion.coverage import Coverage
from aimc_robust.hardware.conversion.mapping_summary import MappingSummary
from aimc_robust.plot.axes import drawing_axes
from aimc_robust.plot.style import COLORS, GRAY, wrap_name

HEIGHT = 0.8  # of an array, of the distance between two layers
MAX_LAYERS = 30  # rows, unless more are asked for
MIN_ARRAYS = 6  # that the axis has room for: fewer would be drawn as wide bars
MAX_DRAWN = 400  # arrays of a layer that are drawn one by one; of more, the row is filled by their mean
ROW_INCHES, AXIS_INCHES = 0.42, 0.75


def arrays(
    mapping: Coverage | MappingSummary | Mapping[str, Any], ax: Axes | None = None, *, max_layers: int = MAX_LAYERS
) -> Axes:
    """Draw how a network lies on arrays: a row of arrays for each layer, and the part of each that is used.

    Each box is one array; the part of its height that is filled is the share of its rows that hold something, the part
    of its width the share of its columns. The text at the right is the layer's matrix and the share of cells in use.

    Args:
        mapping: What `coverage(model, example, crossbar)` returns, its `mapping`, or one of the `mappings` of a results
            folder's `coverage.json`.
        ax: Axes to draw on; None: those of a new figure.
        max_layers: Number of layers that are drawn; of more, those with the most arrays, and the rest in one row.

    Returns:
        The axes.

    Raises:
        InputError: if there is no mapping, or an argument is invalid.

    Example:
        >>> coverage = ar.coverage(model, images[:1], crossbar=ar.Crossbar("rram-wan2022", rows=256))  # doctest: +SKIP
        >>> ar.plot.arrays(coverage)  # doctest: +SKIP
    """
    require_whole("max_layers", max_layers, low=1)
    layers = _layers(mapping)
    shown = layers
    if len(layers) > max_layers:
        largest = sorted(layers, key=lambda layer: -layer["arrays"])[: max_layers - 1]
        shown = [layer for layer in layers if any(layer is other for other in largest)]
    others = [layer for layer in layers if not any(layer is other for other in shown)]
    rows = len(shown) + bool(others)
    with drawing_axes(ax, figure_size(rows)) as axes:
        for y, layer in enumerate(shown):
            _draw_row(axes, y, [layer])
        if others:
            _draw_row(axes, rows - 1, others)
        names = [wrap_name(layer["layer"]) for layer in shown] + [f"{len(others)} other layers"] * bool(others)
        axes.set_yticks(range(rows), names)
        axes.set_ylim(rows - 0.45, -0.55)
        most = max(layer["arrays"] for layer in shown)
        axes.set_xlim(0.0, max(MIN_ARRAYS, most, sum(layer["arrays"] for layer in others)) * 1.01)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("arrays")
        axes.grid(visible=False)
        used, cells = (sum(count(layer) for layer in layers) for count in (_used_cells, _cells))
        number = sum(layer["arrays"] for layer in layers)
        axes.set_title(f"{_count(number, 'array')}, {100.0 * used / cells:.1f} % used", loc="left", fontsize=10)
    return axes


def figure_size(rows: int) -> tuple[float, float]:
    """Return width and height [inches] of a figure with so many rows."""
    return 6.4, AXIS_INCHES + ROW_INCHES * min(rows, MAX_LAYERS)


def _layers(mapping: object) -> Sequence[Mapping[str, Any]]:
    """Return the layers of a mapping in the form of `MappingSummary.to_json`."""
    found = mapping.mapping if isinstance(mapping, Coverage) else mapping
    if isinstance(found, MappingSummary):
        found = found.to_json()
    if found is None:
        raise InputError("this coverage has no arrays; ask for coverage(model, example, crossbar=...).")
    if not isinstance(found, Mapping) or not isinstance(found.get("layers"), Sequence):
        raise InputError(
            f"arrays draws a Coverage, a MappingSummary or a mapping of coverage.json, got {type(mapping).__name__}."
        )
    if not found["layers"]:
        raise InputError(
            "this mapping has no layers on arrays; give the `coverage` of a model whose `layers` are not empty."
        )
    return found["layers"]


def _draw_row(axes: Axes, y: int, layers: Sequence[Mapping[str, Any]]) -> None:
    """Draw the arrays of one or several layers in a row, and what they hold at its right."""
    number = sum(layer["arrays"] for layer in layers)
    used = sum(map(_used_cells, layers)) / sum(map(_cells, layers))
    if number <= MAX_DRAWN:
        parts = [part for layer in layers for part in _array_parts(layer)]
        frames = [_box(x, y, 1.0, 1.0) for x in range(number)]
        fills = [_box(x, y, columns, rows) for x, (rows, columns) in enumerate(parts)]
    else:
        frames, fills = [_box(0, y, number, 1.0)], [_box(0, y, number, used)]
    axes.add_collection(PolyCollection(frames, facecolors="#f1f1f1", linewidths=0))
    axes.add_collection(PolyCollection(fills, facecolors=COLORS[1], linewidths=0))
    axes.add_collection(PolyCollection(frames, facecolors="none", edgecolors=GRAY, linewidths=0.8))
    matrix = f"{layers[0]['rows']:,} × {layers[0]['columns']:,}" if len(layers) == 1 else f"{number:,} arrays"
    text = f"{matrix}\n{100.0 * used:.1f} % used"
    axes.text(1.015, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8)


def _array_parts(layer: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Return the shares of rows and of columns that each array of a layer uses."""
    tiles = product(layer["row_tiles"], layer["column_tiles"])
    parts = [(rows / layer["array_rows"], columns / layer["array_columns"]) for rows, columns in tiles]
    return parts * (layer["arrays"] // len(parts))  # of each group and bank


def _box(x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
    """Return the corners of a box that begins at the left and at the top of a layer's row."""
    top = y - HEIGHT / 2
    bottom = top + HEIGHT * height
    return [(x, top), (x + width, top), (x + width, bottom), (x, bottom)]


def _cells(layer: Mapping[str, Any]) -> int:
    return layer["arrays"] * layer["array_rows"] * layer["array_columns"]


def _used_cells(layer: Mapping[str, Any]) -> int:
    return layer["groups"] * layer["banks"] * layer["rows"] * layer["columns"]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
