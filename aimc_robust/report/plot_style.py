"""The common style of all figures, and their rendering to SVG and PNG."""

from __future__ import annotations

import io
import re
import textwrap
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # one font: matplotlib searches and writes a longer list for every word
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "axes.axisbelow": True,
    "legend.frameon": False,
}

# Palette of Okabe and Ito, distinguishable with any color vision; markers distinguish methods in grayscale print.
COLORS = ["#4d4d4d", "#0072b2", "#d55e00", "#009e73", "#56b4e9", "#e69f00", "#cc79a7", "#000000"]
# Five line styles against eight colors: 40 distinct combinations.
LINE_STYLES: list[Any] = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]
SVG_DASHES = ["none", "6 3", "6 2 2 2", "2 3", "6 2 2 2 2 2"]  # LINE_STYLES as SVG stroke-dasharray
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
DPI = 150


@dataclass(frozen=True)
class RenderedFigure:
    """A figure as SVG and PNG.

    Attributes:
        name: Stem of the figure's file names, and prefix of the element ids in its SVG.
        svg: The SVG element, for embedding in a page.
        png: The same figure as a PNG file.
    """

    name: str
    svg: str
    png: bytes

    @property
    def svg_document(self) -> str:
        """The SVG element as a standalone file."""
        return f'<?xml version="1.0" encoding="utf-8" standalone="no"?>\n{self.svg}'


def figure_style(**overrides: Any) -> AbstractContextManager[None]:
    """Return a context that draws figures in the common style.

    Args:
        **overrides: Matplotlib rc parameters that differ, with `_` for `.`, such as `font_size=9`.

    Returns:
        A context manager as of `matplotlib.rc_context`.
    """
    parameters: dict[Any, Any] = {key.replace("_", "."): value for key, value in overrides.items()}
    return mpl.rc_context({**STYLE, **parameters})


def method_color(number: int) -> str:
    """Return the color of the method with this index."""
    return COLORS[number % len(COLORS)]


def line_style(number: int) -> dict[str, Any]:
    """Return the plot keywords of the curve of the method with this index."""
    return {"color": method_color(number), "linestyle": LINE_STYLES[number % len(LINE_STYLES)], "linewidth": 1.4}


def add_legend(figure: Figure, axes: Axes) -> None:
    """Add a legend of the curves in `axes` above the figure, in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    handles = [handle[0] if isinstance(handle, ErrorbarContainer) else handle for handle in handles]  # without bars
    characters = int(12 * figure.get_figwidth())
    columns = min(3, len(labels), characters // (max(map(len, labels)) + 6))
    names = [textwrap.fill(label, characters - 12) for label in labels]
    figure.legend(handles, names, loc="outside upper center", ncols=max(1, columns))


def render_figure(figure: Figure, name: str) -> RenderedFigure:
    """Render a figure to SVG and PNG; equal figures give equal bytes.

    Args:
        figure: The figure; its layout engine is removed.
        name: Stem of the file names and prefix of the SVG ids.

    Returns:
        The rendered figure.
    """
    element, buffer = svg_element(figure, name), io.BytesIO()
    figure.set_layout_engine("none")  # keep the layout that was computed for the SVG
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return RenderedFigure(name, element, buffer.getvalue())


def svg_element(figure: Figure, name: str) -> str:
    """Render a figure as an SVG element for embedding in a page.

    Args:
        figure: The figure.
        name: Prefix of all element ids, so that several figures fit in one page.

    Returns:
        The `<svg>` element.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        # Not savefig, which draws everything twice.
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    element = text[text.index("<svg") :]
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)
