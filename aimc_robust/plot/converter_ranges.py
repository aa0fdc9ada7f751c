"""How weights, inputs and currents of each layer lie in the ranges of the converters."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes

from aimc_robust.errors import InputError, require_known, require_type
from aimc_robust.hardware.calibration.signals import QUANTITIES, SIGNAL_COLUMNS
from aimc_robust.plot.axes import drawing_axes
from aimc_robust.plot.style import COLORS, wrap_name

Quantity = Literal["weight", "input", "current"]
RANGE_OF = {
    "weight": "the range of weights",
    "input": "the DAC's range",
    "current": "the ADC's range",
}


def ranges(signals: pd.DataFrame, quantity: Quantity = "input", ax: Axes | None = None) -> Axes:
    """Draw how the values of each layer lie in its converter's range: a box for each layer, the range shaded.

    The range reaches from 0 to 100 %. Boxes: the middle half of the values, with the median. Lines: from the 0.01 % to
    the 99.99 % quantile. Dots: the lowest and the highest value. The text at the right is the share of values outside
    of the range, which are clipped.

    Args:
        signals: What `converter_signals` returns.
        quantity: `weight`: weights in the range that the cells can store. `input`: inputs in the DACs' ranges.
            `current`: column currents in the ADCs' ranges.
        ax: Axes to draw on; None: those of a new figure.

    Returns:
        The axes.

    Raises:
        InputError: if the table has no such rows, or an argument is invalid.

    Example:
        >>> ar.plot.ranges(ar.converter_signals(model, crossbar, data, ranges), "input")  # doctest: +SKIP
    """
    require_type("signals", signals, pd.DataFrame, example="what converter_signals(...) returns")
    require_known("quantity", quantity, QUANTITIES)
    if missing := [name for name in SIGNAL_COLUMNS if name not in signals]:
        raise InputError(f"signals must be what converter_signals returns; the column {missing[0]!r} is missing.")
    rows = signals[signals["quantity"] == quantity].to_dict("records")
    if not rows:
        raise InputError(f"no {quantity} has a range here; calibrate a crossbar whose converters need one.")
    with drawing_axes(ax, (6.4, 0.9 + 0.36 * len(rows))) as axes:
        axes.axvspan(0.0, 100.0, color="#dcebf7")
        axes.bxp(
            [_box(row) for row in rows],
            positions=range(len(rows)),
            orientation="horizontal",
            widths=0.55,
            showfliers=True,
            patch_artist=True,
            boxprops={"facecolor": COLORS[4], "linewidth": 0.8},
            medianprops={"color": COLORS[0], "linewidth": 1.4},
            flierprops={"marker": ".", "markersize": 4, "markerfacecolor": COLORS[2], "markeredgewidth": 0},
        )
        for y, row in enumerate(rows):
            text = f"{row['outside']:.2g} % outside"
            axes.text(1.015, y, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
        several = {row["layer"] for row in rows if row["bank"] > 0}
        banks = [f" (bank {row['bank']})" if row["layer"] in several else "" for row in rows]
        axes.set_yticks(range(len(rows)), [wrap_name(f"{r['layer']}{b}") for r, b in zip(rows, banks, strict=True)])
        axes.set_ylim(len(rows) - 0.45, -0.55)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"{quantity}s, position in {RANGE_OF[quantity]} [%]")
    return axes


def _box(row: dict[str, Any]) -> dict[str, Any]:
    """Return the statistics of a box as `Axes.bxp` takes them, in percent of the range."""
    low, high = row["low"], row["high"]
    ends = {"whislo": "q0.01", "q1": "q25", "med": "median", "q3": "q75", "whishi": "q99.99"}
    percent = {key: 100.0 * (row[column] - low) / (high - low) for key, column in ends.items()}
    return percent | {"fliers": [100.0 * (row[column] - low) / (high - low) for column in ("min", "max")]}
