"""Loss landscapes of the trained models (`bench.landscape`): the numbers, their picture, and how flat they are."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from aimc_robust.analysis.landscape import Landscape
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.plot_style import STYLE, RenderedFigure, drawing

LEVELS = 13  # edges of the bands of equal colour
LEAST = 1e-4  # loss that the lowest band begins at, or the picture would be of its digits
RISE = 1.0  # how much above its lowest place a loss still counts as flat
ACROSS = 3


@dataclass(frozen=True)
class LossSurface:
    """loss: mean over so many trained models of a method, shape (points, points); NaN where some model's overflowed."""

    loss: np.ndarray
    models: int

    @property
    def lowest(self) -> float:
        """The lowest loss; NaN where there is none."""
        return float(np.nanmin(self.loss)) if np.isfinite(self.loss).any() else math.nan

    @property
    def flat(self) -> float:
        """The share of places [percent] whose loss is at most RISE above the lowest; NaN where there is none."""
        if math.isnan(self.lowest):
            return math.nan
        return 100.0 * float(np.mean(self.loss <= self.lowest + RISE))  # a place of NaN is not flat


SurfacesByMethod = dict[str, LossSurface]
"""Method -> its surface."""


def landscapes(store: ComparisonResults, frame: pd.DataFrame) -> dict[str, SurfacesByMethod]:
    """Target -> surfaces, from the models that have every place."""
    found: dict[str, SurfacesByMethod] = {}
    for name, target in store.landscapes.items():
        models: dict[str, list[np.ndarray]] = defaultdict(list)
        points = target.landscape.points
        for (method, _), rows in frame[frame["target"] == name].groupby(["method", "seed"], sort=False):
            losses = rows.loc[rows["chip"] < points**2].sort_values("chip")["loss"].to_numpy(dtype=float)
            if len(losses) == points**2:
                models[method].append(losses.reshape(points, points))
        found[name] = {method: LossSurface(np.mean(grids, axis=0), len(grids)) for method, grids in models.items()}
    return {name: surfaces for name, surfaces in found.items() if surfaces}


def surface_rows(landscape: Landscape, surfaces: SurfacesByMethod) -> list[tuple[str, int, float, float, float]]:
    """(method, models, place along the first direction, along the second, loss), for a table of all numbers."""
    return [
        (method, surface.models, *landscape.place(number), float(loss))
        for method, surface in surfaces.items()
        for number, loss in enumerate(surface.loss.ravel())
    ]


def drawn(name: str, landscape: Landscape, surfaces: SurfacesByMethod) -> RenderedFigure | None:
    """A panel per method, with the same bands of loss in all of them, evenly spaced in its logarithm."""
    finite = np.concatenate([s.loss[np.isfinite(s.loss)] for s in surfaces.values()]).clip(min=LEAST)
    if not finite.size or finite.min() == finite.max():
        return None
    levels = np.geomspace(finite.min(), finite.max(), LEVELS)
    across = min(ACROSS, len(surfaces))
    down = math.ceil(len(surfaces) / across)
    with mpl.rc_context(STYLE | {"font.size": 9, "axes.grid": False}):
        figure = Figure(figsize=(1.0 + 1.8 * across, 0.4 + 2.1 * down), layout="constrained")
        axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for place, (method, surface) in zip(axes.flat, surfaces.items(), strict=False):
            values = np.ma.masked_invalid(  # contours take (second, first)
                surface.loss.T.clip(min=levels[0], max=levels[-1])
            )
            bands = place.contourf(
                landscape.along, landscape.along, values, levels, cmap="cividis_r", norm=LogNorm(levels[0], levels[-1])
            )
            place.contour(landscape.along, landscape.along, values, levels, colors="white", linewidths=0.4)
            place.plot(0.0, 0.0, "+", color="#d55e00", markersize=7)
            place.set_title(method, loc="left", fontsize=9)
            place.set_aspect("equal")
        for place in axes.flat[len(surfaces) :]:
            place.set_visible(False)
        for place in axes.flat[max(len(surfaces) - across, 0) : len(surfaces)]:
            place.tick_params(labelbottom=True)  # also above a panel that is not there
        bar = figure.colorbar(bands, ax=axes, label="loss", ticks=levels[::3], format="%.3g", aspect=30)
        bar.minorticks_off()
        figure.supxlabel("along the first direction", fontsize=9)
        figure.supylabel("along the second direction", fontsize=9)
        return drawing(figure, f"landscape-{name}")
