"""The axes that a plot draws on: those of the caller, or those of a new figure."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from aimc_robust.devices.limits import DAY_S, YEAR_S, time_text
from aimc_robust.errors import InputError
from aimc_robust.plot.style import figure_style

MARKS_S = (1.0, 60.0, 3600.0, DAY_S, 30 * DAY_S, YEAR_S, 10 * YEAR_S)  # round times of a continuous axis
TICK_GAP = 0.075  # smallest distance of two ticks that have room for their labels, as a share of the axis
ZERO_DECADES = 1.0  # width from time 0 to the first time after it, in decades of the logarithmic part


@contextmanager
def drawing_axes(ax: Axes | None, size: tuple[float, float]) -> Iterator[Axes]:
    """Yield `ax`, or else the axes of a new pyplot figure of a size [inches] in the common style."""
    if ax is not None:
        if not isinstance(ax, Axes):
            raise InputError(f"ax must be matplotlib Axes, such as plt.subplots()[1], got {type(ax).__name__}.")
        yield ax
        return
    import matplotlib.pyplot as plt  # only here: it chooses a window system

    with figure_style():
        _, axes = plt.subplots(figsize=size, layout="constrained")
        yield axes


def format_time_axis(axes: Axes, times_s: Sequence[float]) -> None:
    """Make the x axis one of log time [s] with ticks at `times_s`, where they have room; time 0 is at its left."""
    ticks = sorted(set(times_s))
    positive = [time_s for time_s in ticks if time_s > 0]
    if positive and ticks[0] == 0:
        axes.set_xscale("symlog", linthresh=positive[0], linscale=ZERO_DECADES)
    elif positive:
        axes.set_xscale("log")
    places = axes.xaxis.get_transform().transform(ticks)
    span = float(places[-1] - places[0])
    if span > 0:
        axes.set_xlim(_inverse(axes, places[0] - 0.04 * span), _inverse(axes, places[-1] + 0.04 * span))
    kept = [ticks[-1]]
    for time_s, place in zip(ticks[-2::-1], places[-2::-1], strict=True):  # from the last one, which is always shown
        if axes.xaxis.get_transform().transform([kept[-1]])[0] - place >= TICK_GAP * span:
            kept.append(time_s)
    axes.xaxis.set_major_locator(FixedLocator(kept[::-1]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: time_text(value) if value else "0"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("time since programming")


def _inverse(axes: Axes, place: float) -> float:
    return float(axes.xaxis.get_transform().inverted().transform([place])[0])


def round_times(last_s: float) -> list[float]:
    """Return the round times [s] up to a last one, for the ticks of a curve."""
    return [time_s for time_s in MARKS_S if time_s <= last_s] or [last_s]
