"""Pictures of the first model on a device: its programmed states, and values in the ranges of the converters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.figure import Figure as MatplotlibFigure

from aimc_robust.devices.limits import time_text
from aimc_robust.plot.converter_ranges import Quantity, ranges
from aimc_robust.plot.state_histogram import draw_states
from aimc_robust.plot.style import figure_style
from aimc_robust.report.evaluation.content import EvaluationContent
from aimc_robust.report.page_model import Figure, codes
from aimc_robust.report.rendering import RenderedFigure, render_figure
from aimc_robust.targets.target import CrossbarTarget

MAX_LAYERS = 16  # of more, those with the largest share outside of the range are drawn
WORDS: dict[Quantity, str] = {
    "input": "Inputs of each layer in the DACs' range",
    "current": "Column currents of each layer in the ADCs' range",
}


def device_pictures(content: EvaluationContent, target: CrossbarTarget) -> Iterator[Figure]:
    """Yield the pictures of a device, of what the evaluation recorded of the first model."""
    spec = content.results.spec
    first = spec.trials[0]
    whose = f" of {codes([content.model_name(first.model, first.train_seed)])}" if len(spec.models) > 1 else ""
    counts = _rows(content, "state_counts", target)
    family = next(family for family in content.families if family[0].name == target.name)
    if len(counts):
        yield Figure(
            partial(_states, counts, target.name, family[-1].time_s if len(family) > 1 else None),
            f"Programmed and target states on {target.name}",
            f"States of all devices{whose} on chip 0: where they were to be programmed, and where they are. Dotted: "
            "the ends of the window.",
        )
    signals = _rows(content, "signals", target)
    for quantity, words in WORDS.items():
        shown = signals[signals["quantity"] == quantity] if len(signals) else signals
        if len(shown):
            worst = shown.nlargest(MAX_LAYERS, "outside").index
            of = f", the {MAX_LAYERS} with the most values outside" if len(shown) > MAX_LAYERS else ""
            yield Figure(
                partial(_ranges, shown.loc[sorted(worst)], quantity, target.name),
                f"{words}: {target.name}",
                f"{words}{of}{whose}: middle half and median, quantiles 0.0001 and 0.9999 (lines), extremes (dots).",
            )


def _rows(content: EvaluationContent, name: str, target: CrossbarTarget) -> pd.DataFrame:
    rows = content.results.explanation(name)
    return rows[rows["target"] == target.name] if len(rows) else rows


def _states(rows: pd.DataFrame, name: str, last_s: float | None) -> RenderedFigure:
    edges = [*rows["low"], rows["high"].iloc[-1]]
    lines = {"programmed": rows["first"]} | ({f"{time_text(last_s)} later": rows["last"]} if last_s else {})
    with figure_style():
        figure = MatplotlibFigure(figsize=(4.2, 2.6), layout="constrained")
        axes = figure.subplots()
        window, unit = rows[["window_low", "window_high"]].iloc[0], rows["unit"].iloc[0]
        draw_states(axes, edges, rows["targets"], lines, window, unit)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, fontsize=8)  # above the filled bins
        return render_figure(figure, f"states-{name}")


def _ranges(rows: pd.DataFrame, quantity: Quantity, name: str) -> RenderedFigure:
    with figure_style(font_size=9):
        figure = MatplotlibFigure(figsize=(5.4, 0.9 + 0.28 * len(rows)), layout="constrained")
        ranges(rows, quantity, figure.subplots())
        return render_figure(figure, f"ranges-{quantity}-{name}")
