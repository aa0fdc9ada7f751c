"""Report of a recommendation: advice.html (self-contained)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w
from matplotlib.figure import Figure

import aimc_robust
from aimc_robust.experiments.recommend.run import Recommendation
from aimc_robust.io.atomic import atomic_write
from aimc_robust.report.formatting import template_environment
from aimc_robust.report.plot_style import COLORS, figure_style, svg_element


def write_recommendation(recommendation: Recommendation) -> Path:
    """Write advice.html into the folder of a recommendation.

    Args:
        recommendation: The recommendation.

    Returns:
        Path of advice.html.
    """
    name = "recommendation.html.j2"
    proposal, verdict = recommendation.proposal, recommendation.verdict
    page = (
        template_environment(name)
        .get_template(name)
        .render(
            recommendation=recommendation,
            measured=recommendation.measurement,
            layers=recommendation.layers.to_dict("records"),
            proposal=proposal,
            settings=tomli_w.dumps({"methods": {proposal.label: proposal.settings}}).strip(),
            verdict=verdict,
            rows=[] if verdict is None else verdict.table.to_dict("records"),
            plot=difference_figure(verdict.table) if verdict is not None and len(verdict.table) else None,
            version=aimc_robust.__version__,
        )
    )
    path = recommendation.folder / "advice.html"
    atomic_write(path, page)
    return path


def difference_figure(table: pd.DataFrame) -> str:
    """Draw the difference between the proposal and each alternative, with its interval, as an SVG element."""
    with figure_style():
        figure = Figure(figsize=(6.4, 0.9 + 0.34 * len(table)), layout="constrained")
        axes = figure.subplots()
        half = ((table["ci_high"] - table["ci_low"]) / 2).fillna(0.0)
        options: dict[str, Any] = {
            "linestyle": "none",
            "marker": "o",
            "markersize": 5,
            "capsize": 3,
            "color": COLORS[1],
        }
        axes.errorbar(table["difference"], range(len(table)), xerr=half, **options)
        axes.axvline(0.0, color=COLORS[0], linewidth=0.8)
        axes.set_yticks(range(len(table)), table["second_model"])
        axes.set_ylim(len(table) - 0.4, -0.6)
        axes.set_xlabel("proposal − alternative [points of accuracy on the device]")
        axes.grid(axis="y", visible=False)
        return svg_element(figure, "differences")
