"""Render figures to SVG for pages and to PNG files."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

DPI = 150


@dataclass(frozen=True)
class RenderedFigure:
    """A figure as SVG element and PNG file; `name` is the stem of its files and prefix of the ids in its SVG."""

    name: str
    svg: str
    png: bytes


Figures = Mapping[int, RenderedFigure]
"""`id` of a figure's block -> what it drew."""


def render_figure(figure: Figure, name: str) -> RenderedFigure:
    """Render a figure to SVG and PNG; equal figures give equal bytes. The figure's layout engine is removed."""
    svg, png = io.StringIO(), io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        # Not savefig, which draws everything twice.
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})
    figure.set_layout_engine("none")  # keep the layout that was computed for the SVG
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})
    text = svg.getvalue()
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text[text.index("<svg") :])
    return RenderedFigure(name, element, png.getvalue())
