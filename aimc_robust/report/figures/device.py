"""Figures of a device: all its curves, as a file; the programming error of a target, for reports."""

import io
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.devices.cell_model_checks import programming_std
from aimc_robust.devices.curves import drift_curves, programming_curve, read_curve, read_times_s, smooth_times_s
from aimc_robust.devices.limits import DAY_S, YEAR_S, time_text
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.io.atomic import atomic_write
from aimc_robust.report.plot_style import COLORS, LINE_STYLES, RenderedFigure, figure_style, render_figure

FORMATS = (".png", ".svg", ".pdf")
POINTS = 200


def check_figure_path(path: Path) -> None:
    """Raise `InputError` unless the suffix of `path` is one of `FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"a figure file must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, got {str(path)!r}.")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file; its suffix is the format, see `check_figure_path`."""
    check_figure_path(path)
    buffer = io.BytesIO()
    with figure_style(legend_fontsize=9):
        figure.savefig(buffer, format=path.suffix.lower()[1:])
    atomic_write(path, buffer.getvalue())


def draw_card(cell: CellModel) -> Figure:
    """Draw one panel each for programming error, read noise and drift; the latter two only if the device has them."""
    panels: list[Callable[[SubFigure, CellModel], None]] = [_draw_programming_error]
    if cell.has_read_noise:
        panels.append(_draw_read_noise)
    if cell.has_drift:
        panels.append(_draw_drift)
    with figure_style(legend_fontsize=9):
        figure = Figure(figsize=(4.6 * len(panels), 4.4), layout="constrained", dpi=150)
        figure.suptitle(cell.name)
        for subfigure, draw_panel in zip(figure.subfigures(1, len(panels), squeeze=False)[0], panels, strict=True):
            draw_panel(subfigure, cell)
    return figure


def unit_label(cell: CellModel) -> str:
    """Return the unit of a device's states as an axis label shows it."""
    return {"uS": "µS", "1": "share of full scale"}.get(cell.unit, cell.unit)


def _draw_programming_error(subfigure: SubFigure, cell: CellModel) -> None:
    axes = _std_axes(subfigure, cell, "programming error")
    curve = programming_curve(cell, POINTS)
    axes.plot(curve.state.numpy(), curve.std.numpy(), color=COLORS[1], linewidth=1.8)
    axes.set_ylim(bottom=0)


def _draw_read_noise(subfigure: SubFigure, cell: CellModel) -> None:
    axes = _std_axes(subfigure, cell, "read noise, redrawn at every multiply")
    times = read_times_s(cell)
    for time_s, color, style in zip(times, COLORS[1:], LINE_STYLES, strict=False):
        label = f"{time_text(time_s)} after programming" if len(times) > 1 else "at any time"
        curve = read_curve(cell, POINTS, time_s=time_s)
        axes.plot(curve.state.numpy(), curve.std.numpy(), style, color=color, linewidth=1.8, label=label)
    axes.set_ylim(bottom=0)
    axes.legend()


def _std_axes(subfigure: SubFigure, cell: CellModel, title: str) -> Axes:
    axes = subfigure.subplots()
    axes.set_title(title)
    axes.set_xlabel(f"target {cell.state_kind} [{unit_label(cell)}]")
    axes.set_ylabel(f"standard deviation [{unit_label(cell)}]")
    return axes


def _draw_drift(subfigure: SubFigure, cell: CellModel) -> None:
    """One small axis per target, because drift is small compared with the distance between targets."""
    curves = drift_curves(cell, smooth_times_s(cell, POINTS))
    count, times = len(curves.targets), curves.times_s
    all_axes = subfigure.subplots(count, 1, sharex=True)
    for axes, i in zip(all_axes, reversed(range(count)), strict=True):
        mean, std = curves.mean[:, i].numpy(), curves.std[:, i].numpy()
        axes.plot(times, mean, color=COLORS[1], linewidth=1.8, label="mean")
        axes.fill_between(times, mean - std, mean + std, color=COLORS[1], alpha=0.22, linewidth=0, label="± sd")
        axes.axhline(float(curves.targets[i]), color="#4d4d4d", linestyle=":", linewidth=1.2, label="target")
    all_axes[0].set_title("drift: mean and one standard deviation")
    all_axes[-1].set_xlabel("time since programming")
    subfigure.supylabel(f"{cell.state_kind} [{unit_label(cell)}]", fontsize=10)
    _format_time_axis(all_axes[-1], times[-1])
    subfigure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)


def _format_time_axis(axes: Axes, last_s: float) -> None:
    axes.set_xscale("log")
    ticks = [t for t in (1.0, 60.0, 3600.0, DAY_S, 30 * DAY_S, YEAR_S, 10 * YEAR_S) if t <= last_s]
    if ticks:
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: time_text(value)))
        axes.xaxis.set_minor_locator(NullLocator())


def programming_error_curve(crossbar: Crossbar) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (states, standard deviations) of the programming error, both (POINTS,) in the cell's unit.

    The states span the cell's limits, and the programming window where it exceeds them.
    """
    low, high = crossbar.device.cell.limits
    state = torch.linspace(low, max(high, crossbar.device.programming_window[1]), POINTS, dtype=torch.float64)
    return state, programming_std(crossbar.device.cell, state)


def device_figure(name: str, crossbar: Crossbar) -> RenderedFigure:
    """Draw the programming error of the cells of a target's crossbar, with the programming window shaded."""
    cell = crossbar.device.cell
    with figure_style():
        figure = Figure(figsize=(4.2, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(*crossbar.device.programming_window, color="#dcebf7", label="programming window")
        state, std = programming_error_curve(crossbar)
        axes.plot(state.numpy(), std.numpy(), color=COLORS[1], linewidth=1.8)
        axes.set_xlabel(f"target {cell.state_kind} [{unit_label(cell)}]")
        axes.set_ylabel(f"programming error sigma [{unit_label(cell)}]")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=9)
        return render_figure(figure, f"device-{name}")
