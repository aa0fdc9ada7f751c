"""Loss landscapes of the trained models (`bench.landscape`): the numbers, their picture, and how flat they are."""

from __future__ import annotations

import math
from collections import defaultdict

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from aimc_robust.bench.landscape import Landscape
from aimc_robust.bench.store import Store
from aimc_robust.report.style import STYLE, Drawing, drawing

Grids = dict[str, np.ndarray]
"""Method -> mean loss over its trained models, shape (points, points); NaN where that of some model overflowed."""

LEVELS = 13  # edges of the bands of equal colour
LEAST = 1e-4  # loss that the lowest band begins at, or the picture would be of its digits
RISE = 1.0  # how much above its lowest place a loss still counts as flat
ACROSS = 3


def landscapes(store: Store, frame: pd.DataFrame) -> dict[str, Grids]:
    """Target -> grids, from the models that have every place."""
    found: dict[str, Grids] = {}
    for name, target in store.landscapes.items():
        models: dict[str, list[np.ndarray]] = defaultdict(list)
        points = target.landscape.points
        for (method, _), rows in frame[frame["target"] == name].groupby(["method", "seed"], sort=False):
            losses = rows.loc[rows["chip"] < points**2].sort_values("chip")["loss"].to_numpy(dtype=float)
            if len(losses) == points**2:
                models[method].append(losses.reshape(points, points))
        found[name] = {method: np.mean(grids, axis=0) for method, grids in models.items()}
    return {name: grids for name, grids in found.items() if grids}


def flatness(grid: np.ndarray) -> tuple[float, float]:
    """The lowest loss of a grid, and the share of its places [percent] whose loss is at most RISE above it."""
    lowest = float(np.nanmin(grid)) if np.isfinite(grid).any() else math.nan
    return lowest, 100.0 * float(np.mean(grid <= lowest + RISE))  # a comparison with NaN is false


def rows_of(landscape: Landscape, grids: Grids) -> list[tuple[str, float, float, float]]:
    """(method, place along the first direction, along the second, loss), for a table of all numbers."""
    return [
        (method, *landscape.place(number), float(loss))
        for method, grid in grids.items()
        for number, loss in enumerate(grid.ravel())
    ]


def drawn(name: str, landscape: Landscape, grids: Grids) -> Drawing | None:
    """A panel per method, with the same bands of loss in all of them, evenly spaced in its logarithm."""
    finite = np.concatenate([grid[np.isfinite(grid)] for grid in grids.values()]).clip(min=LEAST)
    if not finite.size or finite.min() == finite.max():
        return None
    levels = np.geomspace(finite.min(), finite.max(), LEVELS)
    down = math.ceil(len(grids) / ACROSS)
    with mpl.rc_context(STYLE | {"font.size": 9, "axes.grid": False}):
        figure = Figure(figsize=(6.4, 0.3 + 2.2 * down), layout="constrained")
        axes = figure.subplots(down, ACROSS, sharex=True, sharey=True, squeeze=False)
        for place, (method, grid) in zip(axes.flat, grids.items(), strict=False):
            values = np.ma.masked_invalid(grid.T.clip(min=levels[0], max=levels[-1]))  # contours take (second, first)
            bands = place.contourf(
                landscape.along, landscape.along, values, levels, cmap="cividis_r", norm=LogNorm(levels[0], levels[-1])
            )
            place.contour(landscape.along, landscape.along, values, levels, colors="white", linewidths=0.4)
            place.plot(0.0, 0.0, "+", color="#d55e00", markersize=7)
            place.set_title(method, loc="left", fontsize=9)
            place.set_aspect("equal")
        for place in axes.flat[len(grids) :]:
            place.set_visible(False)
        bar = figure.colorbar(bands, ax=axes, label="loss", ticks=levels[::3], format="%.3g", aspect=30)
        bar.minorticks_off()
        figure.supxlabel("along the first direction", fontsize=9)
        figure.supylabel("along the second direction", fontsize=9)
        return drawing(figure, f"landscape-{name}")
