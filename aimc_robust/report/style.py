"""How every picture looks, and how it becomes part of a page."""

import io
import re
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "axes.axisbelow": True,
    "legend.frameon": False,
}

# Okabe and Ito's colours, told apart with any colour vision; a marker each, for print in grey.
COLOURS = ["#4d4d4d", "#0072b2", "#d55e00", "#009e73", "#56b4e9", "#e69f00", "#cc79a7", "#000000"]
LINES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]  # five against eight colours: 40 methods differ
DASHES = ["none", "6 3", "6 2 2 2", "2 3", "6 2 2 2 2 2"]  # the same lines in SVG
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]


def colour(number: int) -> str:
    """The colour of the method of this number."""
    return COLOURS[number % len(COLOURS)]


def line(number: int) -> dict[str, Any]:
    """How the curve of the method of this number is drawn."""
    return {"color": colour(number), "linestyle": LINES[number % len(LINES)], "linewidth": 1.4}


def legend(figure: Figure, axes: Axes) -> None:
    """The names of the curves in `axes`, above the figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 3))


def svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element that scales with the page; ids derive from `name`, so that figures do not clash."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    element = text[text.index("<svg") :]
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)
