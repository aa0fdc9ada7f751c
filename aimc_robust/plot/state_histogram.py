"""Histogram of the states that devices were to be programmed to, and of those that they have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from aimc_robust.devices.limits import time_text
from aimc_robust.errors import InputError, require_type, require_whole, unknown_name
from aimc_robust.hardware.config.device_states import DeviceStates
from aimc_robust.plot.axes import drawing_axes
from aimc_robust.plot.labels import state_unit
from aimc_robust.plot.style import COLORS, GRAY

LINES = (COLORS[2], COLORS[1])


def states(
    states: DeviceStates, layers: str | Sequence[str] | None = None, ax: Axes | None = None, *, bins: int = 60
) -> Axes:
    """Draw a histogram of the programmed states of a network's devices, before that of their targets.

    The number of devices is logarithmic, because most devices of a differential mapping are at one end of the window.
    Dotted lines are the ends of the programming window.

    Args:
        states: What `device_states` returns.
        layers: A layer, or several; None: all of them.
        ax: Axes to draw on; None: those of a new figure.
        bins: Number of bins from the lowest to the highest state.

    Returns:
        The axes.

    Raises:
        InputError: if an argument is invalid.
        UnknownNameError: if there is no such layer.

    Example:
        >>> ar.plot.states(ar.device_states(model, ar.Crossbar("rram-wan2022"), chip=0))  # doctest: +SKIP
    """
    require_type("states", states, DeviceStates, example="what device_states(model, crossbar) returns")
    require_whole("bins", bins, low=1)
    names = list(states.programmed) if layers is None else [layers] if isinstance(layers, str) else list(layers)
    for name in names:
        if name not in states.programmed:
            raise unknown_name("layer", name, states.programmed)
    if not names:
        raise InputError("layers must name at least one layer, got none.")
    target, programmed = (
        np.concatenate([tensors[name].flatten().double().numpy() for name in names])
        for tensors in (states.target, states.programmed)
    )
    edges = np.histogram_bin_edges(np.concatenate([target, programmed]), bins)
    when = f", {time_text(states.time_s)} later" if states.time_s else ""
    counts = [np.histogram(values, edges)[0] for values in (target, programmed)]
    ends = {end for name in names for end in states.windows[name]}
    with drawing_axes(ax, (5.2, 3.4)) as axes:
        draw_states(axes, edges, counts[0], {f"programmed{when}": counts[1]}, ends, states.unit)
        axes.set_title(names[0] if len(names) == 1 else f"{len(names)} layers", loc="left", fontsize=10)
        axes.legend()
    return axes


def draw_states(
    axes: Axes,
    edges: npt.ArrayLike,
    target: npt.ArrayLike,
    programmed: Mapping[str, npt.ArrayLike],
    window_ends: Iterable[float],
    unit: str,
) -> None:
    """Draw counts of devices in the bins between `edges`: filled for the targets, a line for each of `programmed`."""
    axes.stairs(target, edges, fill=True, color=GRAY, label="target")
    for color, (label, counts) in zip(LINES, programmed.items(), strict=False):
        axes.stairs(counts, edges, color=color, linewidth=1.6, label=label)
    for end in sorted(window_ends):
        axes.axvline(end, color=COLORS[0], linestyle=":", linewidth=1.0)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.set_xlabel(f"state [{state_unit(unit)}]")
    axes.set_ylabel("devices")
