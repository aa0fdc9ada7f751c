"""How every picture looks, and how it becomes part of a page and a file."""

import io
import re
import textwrap
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib's own; a list of twenty is searched and written for every word
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "axes.axisbelow": True,
    "legend.frameon": False,
}

# Okabe and Ito's colours, told apart with any colour vision; a marker each, for print in grey.
COLORS = ["#4d4d4d", "#0072b2", "#d55e00", "#009e73", "#56b4e9", "#e69f00", "#cc79a7", "#000000"]
LINES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]  # five against eight colours: 40 methods differ
DASHES = ["none", "6 3", "6 2 2 2", "2 3", "6 2 2 2 2 2"]  # the same lines in SVG
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
DPI = 150


@dataclass(frozen=True)
class RenderedFigure:
    """A finished figure: an SVG element for a page, and the same picture as PNG. name: of its files, and in its ids."""

    name: str
    svg: str
    png: bytes

    @property
    def svg_file(self) -> str:
        """The element as a file of its own."""
        return f'<?xml version="1.0" encoding="utf-8" standalone="no"?>\n{self.svg}'


def colour(number: int) -> str:
    """The colour of the method of this number."""
    return COLORS[number % len(COLORS)]


def line(number: int) -> dict[str, Any]:
    """How the curve of the method of this number is drawn."""
    return {"color": colour(number), "linestyle": LINES[number % len(LINES)], "linewidth": 1.4}


def legend(figure: Figure, axes: Axes) -> None:
    """The names of the curves in `axes`, above the figure, in as many columns as it is wide enough for."""
    handles, labels = axes.get_legend_handles_labels()
    handles = [handle[0] if isinstance(handle, ErrorbarContainer) else handle for handle in handles]  # without bars
    room = int(12 * figure.get_figwidth())  # characters
    columns = min(3, len(labels), room // (max(map(len, labels)) + 6))
    names = [textwrap.fill(label, room - 12) for label in labels]
    figure.legend(handles, names, loc="outside upper center", ncols=max(1, columns))


def drawing(figure: Figure, name: str) -> RenderedFigure:
    """The figure as it is now: the same bytes for the same figure."""
    element, buffer = svg(figure, name), io.BytesIO()
    figure.set_layout_engine("none")  # what was laid out for the first picture is kept for the second
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    return RenderedFigure(name, element, buffer.getvalue())


def svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element that scales with the page; ids derive from `name`, so that figures do not clash."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        # Not savefig, which draws everything twice.
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    element = text[text.index("<svg") :]
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)
