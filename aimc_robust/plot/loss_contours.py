"""A loss landscape as contours over a plane through the weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet

from aimc_robust.analysis.landscape import Landscape
from aimc_robust.errors import InputError, short_repr
from aimc_robust.plot.axes import drawing_axes

CONTOUR_LEVELS = 13
MIN_LOSS = 1e-4  # lower losses are drawn as this value; otherwise their noise would fill the logarithmic scale
FloatArray = npt.NDArray[np.float64]


def landscape(losses: npt.ArrayLike, span: float = 1.0, ax: Axes | None = None, *, colorbar: bool = True) -> Axes:
    """Draw the contours of a loss landscape, with a logarithmic scale of colors; a cross is the trained weights.

    Args:
        losses: (points, points) losses, as `loss_landscape` returns them: the first direction goes to the right.
        span: The grid extends from -span to span along both directions, as for `loss_landscape`.
        ax: Axes to draw on; None: those of a new figure.
        colorbar: Whether to add a bar of the colors.

    Returns:
        The axes.

    Raises:
        InputError: if the losses are no square grid, are the same everywhere, or are nowhere finite.

    Example:
        >>> ar.plot.landscape(ar.loss_landscape(model, loss_fn, data, points=15))  # doctest: +SKIP
    """
    try:
        values = np.asarray(losses, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"losses must be a grid of numbers, (points, points), got {short_repr(losses)}.") from None
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < 2:
        raise InputError(f"losses must be a grid of (points, points), got an array of shape {values.shape}.")
    levels = contour_levels([values])
    if levels is None:
        raise InputError(
            "the losses are the same everywhere or nowhere finite, so they have no contours; try another `span`."
        )
    with drawing_axes(ax, (5.3, 3.8)) as axes:
        bands = draw_landscape(axes, Landscape(len(values), span), values, levels)
        axes.set_xlabel("along the first direction")
        axes.set_ylabel("along the second direction")
        if colorbar:
            bar = axes.figure.colorbar(bands, ax=axes, label="loss", ticks=levels[::3], format="%.3g")
            bar.minorticks_off()
    return axes


def contour_levels(surfaces: list[FloatArray]) -> FloatArray | None:
    """Return levels that suit all surfaces, evenly spaced in their logarithm; None if all losses are equal."""
    finite = np.concatenate([loss[np.isfinite(loss)] for loss in surfaces]).clip(min=MIN_LOSS)
    if not finite.size or finite.min() == finite.max():
        return None
    return np.geomspace(finite.min(), finite.max(), CONTOUR_LEVELS)


def draw_landscape(axes: Axes, plane: Landscape, loss: FloatArray, levels: FloatArray) -> QuadContourSet:
    """Draw the contours of one surface; points that are not finite stay empty."""
    values = np.ma.masked_invalid(loss.T.clip(min=levels[0], max=levels[-1]))  # contourf takes rows along y
    bands = axes.contourf(plane.axis, plane.axis, values, levels, cmap="cividis_r", norm=LogNorm(levels[0], levels[-1]))
    axes.contour(plane.axis, plane.axis, values, levels, colors="white", linewidths=0.4)
    axes.plot(0.0, 0.0, "+", color="#d55e00", markersize=7)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    return bands
