"""Loss landscapes of the trained models: mean loss over a plane through the weights, its figure and its flatness."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from aimc_robust.analysis.landscape import Landscape
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.rows import missing_points, read_points
from aimc_robust.plot.loss_contours import contour_levels, draw_landscape
from aimc_robust.plot.style import figure_style, wrap_name
from aimc_robust.report.rendering import RenderedFigure, render_figure

FLAT_RISE = 1.0  # a point counts as flat if its loss is at most this much above the lowest
MAX_COLUMNS = 3


@dataclass(frozen=True)
class LossSurface:
    """Loss of one method over a plane through the weights.

    Attributes:
        loss: Mean loss over the trained models, shape (points, points); NaN where the loss of a model overflowed.
        models: Number of trained models.
    """

    loss: npt.NDArray[np.float64]
    models: int

    @property
    def lowest(self) -> float:
        """The lowest loss; NaN if all points are NaN."""
        return float(np.nanmin(self.loss)) if np.isfinite(self.loss).any() else math.nan

    @property
    def flat_percent(self) -> float:
        """Share of the points whose loss is at most `FLAT_RISE` above the lowest [percent]; NaN if all are NaN."""
        if math.isnan(self.lowest):
            return math.nan
        return 100.0 * float(np.mean(self.loss <= self.lowest + FLAT_RISE))  # a NaN point is not flat


SurfacesByMethod = dict[str, LossSurface]
"""Method label -> surface."""


def loss_surfaces(results: ComparisonResults) -> dict[str, SurfacesByMethod]:
    """Return landscape -> label -> loss, averaged over the trained models that have a row for every point."""
    grids: dict[str, dict[str, list[npt.NDArray[np.float64]]]] = {
        name: {label: [] for label in results.spec.labels} for name in results.landscapes
    }
    for trial in results.trials if results.landscapes else ():
        rows = read_points(results.run_folder(trial), results.metric.name)
        for name, landscape in results.landscapes.items():
            losses = {row["point"]: row["loss"] for row in rows if row["landscape"] == name}
            if not missing_points(rows, landscape):
                values = np.array([losses[point] for point in range(landscape.points**2)], dtype=float)
                grids[name][trial.model].append(values.reshape(landscape.points, landscape.points))
    return {
        name: {label: LossSurface(np.mean(models, axis=0), len(models)) for label, models in methods.items() if models}
        for name, methods in grids.items()
        if any(methods.values())
    }


def landscape_figure(name: str, landscape: Landscape, surfaces: SurfacesByMethod) -> RenderedFigure | None:
    """Draw one contour panel per method, with the same logarithmic levels in all panels.

    None if the loss is the same everywhere, or nowhere finite.
    """
    levels = contour_levels([surface.loss for surface in surfaces.values()])
    if levels is None:
        return None
    columns = min(MAX_COLUMNS, len(surfaces))
    rows = math.ceil(len(surfaces) / columns)
    with figure_style(font_size=9, axes_grid=False):
        figure = Figure(figsize=(1.0 + 1.8 * columns, 0.4 + 2.1 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (method, surface) in zip(panels.flat, surfaces.items(), strict=False):
            bands = draw_landscape(axes, landscape, surface.loss, levels)
            axes.set_title(wrap_name(method), loc="left", fontsize=9)
        for axes in panels.flat[len(surfaces) :]:
            axes.set_visible(False)
        for axes in panels.flat[max(len(surfaces) - columns, 0) : len(surfaces)]:
            axes.tick_params(labelbottom=True)  # also above a hidden panel
        bar = figure.colorbar(bands, ax=panels, label="loss", ticks=levels[::3], format="%.3g", aspect=30)
        bar.minorticks_off()
        figure.supxlabel("along the first direction", fontsize=9)
        figure.supylabel("along the second direction", fontsize=9)
        return render_figure(figure, f"landscape-{name}")
