"""Lay advice out: advice.html, self-contained."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

import aimc_robust
from aimc_robust.experiments.recommend.run import Recommendation
from aimc_robust.io.atomic import atomic_write
from aimc_robust.io.toml import to_toml
from aimc_robust.report.formatting import environment, p_value
from aimc_robust.report.plot_style import COLORS, STYLE, svg


def write_recommendation(advice: Recommendation) -> Path:
    """Write advice.html into the advice's folder; returns its path."""
    template = environment("advice.html.j2").get_template("advice.html.j2")
    page = template.render(
        advice=advice,
        measured=advice.measurement,
        layers=advice.layers.to_dict("records"),
        proposal=advice.proposal,
        settings=to_toml({"methods": {advice.proposal.label: advice.proposal.settings}}).strip(),
        verdict=advice.verdict,
        rows=[] if advice.verdict is None else advice.verdict.table.to_dict("records"),
        plot=gains(advice.verdict.table) if advice.verdict is not None and len(advice.verdict.table) else None,
        p_value=p_value,
        version=aimc_robust.__version__,
    )
    atomic_write(advice.folder / "advice.html", page)
    return advice.folder / "advice.html"


def gains(table: pd.DataFrame) -> str:
    """The proposal's lead over each rival, with its interval."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.34 * len(table)), layout="constrained")
        axes = figure.subplots()
        half = ((table["ci_high"] - table["ci_low"]) / 2).fillna(0.0)
        look = {"linestyle": "none", "marker": "o", "markersize": 5, "capsize": 3, "color": COLORS[1]}
        axes.errorbar(table["difference"], range(len(table)), xerr=half, **look)
        axes.axvline(0.0, color=COLORS[0], linewidth=0.8)
        axes.set_yticks(range(len(table)), table["second_model"])
        axes.set_ylim(len(table) - 0.4, -0.6)
        axes.set_xlabel("points by which the proposal is ahead on the device")
        axes.grid(axis="y", visible=False)
        return svg(figure, "gains")
