"""Figures of a device: all its curves, as a file; the programming error of a target, for reports."""

import io
from collections.abc import Callable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aimc_robust.devices.cell_model import CellModel
from aimc_robust.errors import InputError
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.io.atomic import atomic_write
from aimc_robust.plot.device_curves import drift, programming_error, read_noise
from aimc_robust.plot.style import figure_style
from aimc_robust.report.rendering import RenderedFigure, render_figure

FORMATS = (".png", ".svg", ".pdf")


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
    panels: list[Callable[[CellModel, Axes], Axes]] = [programming_error]
    panels += [read_noise] if cell.has_read_noise else []
    panels += [drift] if cell.has_drift else []
    with figure_style(legend_fontsize=9):
        figure = Figure(figsize=(4.6 * len(panels), 3.9), layout="constrained", dpi=150)
        figure.suptitle(cell.name)
        for axes, draw_panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            draw_panel(cell, axes)
    return figure


def device_figure(name: str, crossbar: Crossbar) -> RenderedFigure:
    """Draw the programming error of the cells of a target's crossbar, with the programming window shaded."""
    with figure_style():
        figure = Figure(figsize=(4.2, 2.6), layout="constrained")
        programming_error(crossbar, figure.subplots())
        return render_figure(figure, f"device-{name}")
