"""The common style of all figures: colors, lines, markers and legends."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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
MAX_STYLES = 16  # methods that a reader can still tell apart, and that a legend has room for
MAX_HIGHLIGHTED = 8  # of more methods
GRAY = "#b8b8b8"
LEGEND_LINE, FREE_LEGEND_LINES = 0.2, 3  # height of a line [inches]; lines that a figure has room for as it is


def figure_style(**overrides: Any) -> AbstractContextManager[None]:
    """Return a context of the common style; overrides are rc parameters with `_` for `.`, such as `font_size=9`."""
    parameters: dict[Any, Any] = {key.replace("_", "."): value for key, value in overrides.items()}
    return mpl.rc_context({**STYLE, **parameters})


@dataclass(frozen=True)
class CurveStyle:
    """How the figures draw one method or model; of many, those that are not highlighted are gray.

    Attributes:
        number: Index among the highlighted ones, which decides color, line and marker; None: gray.
    """

    number: int | None

    @property
    def color(self) -> str:
        """The color of lines and markers."""
        return GRAY if self.number is None else COLORS[self.number % len(COLORS)]

    @property
    def line(self) -> dict[str, Any]:
        """Plot keywords of a curve."""
        if self.number is None:
            return {"color": GRAY, "linewidth": 0.8, "zorder": 1.5}
        dashes = LINE_STYLES[self.number % len(LINE_STYLES)]
        return {"color": self.color, "linestyle": dashes, "linewidth": 1.4}

    @property
    def points(self) -> dict[str, Any]:
        """Plot keywords of means with error bars; a gray one has no error bars worth a look."""
        assert self.number is not None
        marker = MARKERS[(self.number + self.number // len(COLORS)) % len(MARKERS)]
        return {"color": self.color, "marker": marker, "markersize": 5, "elinewidth": 1.1}

    @property
    def svg_line(self) -> str:
        """An SVG sample of the curve, for a legend in the page."""
        dash = "none" if self.number is None else SVG_DASHES[self.number % len(SVG_DASHES)]
        return (
            '<svg width="30" height="8" aria-hidden="true">'
            f'<path d="M0 4H30" stroke="{self.color}" stroke-width="2" stroke-dasharray="{dash}"/></svg>'
        )


Styles = dict[str, CurveStyle]
"""Label of a method or model -> its style, in the order of drawing."""


def curve_styles(labels: Sequence[str], by_interest: Sequence[str]) -> Styles:
    """Give each label a style that no other has; of many, highlight the first of `by_interest`."""
    few = len(labels) <= MAX_STYLES
    highlighted = [label for label in labels if few or label in by_interest[:MAX_HIGHLIGHTED]]
    numbers = {label: number for number, label in enumerate(highlighted)}
    return {label: CurveStyle(numbers.get(label)) for label in labels}


def wrap_name(name: str, width: int = 28) -> str:
    """Return a name in lines that leave an axis or a panel its room."""
    return textwrap.fill(name, width)


def others_label(styles: Styles, what: str) -> str:
    """Return what a legend calls the gray curves; empty if there are none."""
    count = sum(style.number is None for style in styles.values())
    return f"{count} other {what}" if count else ""


def add_legend(figure: Figure, axes: Axes, styles: Styles, what: str) -> None:
    """Add a legend of the curves in `axes`, and of those that are gray, above the figure, which grows with it."""
    others = others_label(styles, what)
    handles, labels = axes.get_legend_handles_labels()
    handles = [handle[0] if isinstance(handle, ErrorbarContainer) else handle for handle in handles]  # without bars
    if others:
        handles, labels = [*handles, Line2D([], [], color=GRAY)], [*labels, others]
    characters = int(12 * figure.get_figwidth())
    columns = max(1, min(3, len(labels), characters // (max(map(len, labels)) + 6)))
    names = [textwrap.fill(label, characters - 12) for label in labels]
    lines = sum(1 + name.count("\n") for name in names) / columns
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * max(0.0, lines - FREE_LEGEND_LINES))
    figure.legend(handles, names, loc="outside upper center", ncols=columns)
