"""Lay the report of an evaluation out: report.html, self-contained, and report.md."""

from __future__ import annotations

from pathlib import Path

import aimc_robust
from aimc_robust.devices.limits import time_text
from aimc_robust.experiments.evaluate.run import write_tables
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.io.atomic import atomic_write
from aimc_robust.report.evaluation import figures
from aimc_robust.report.evaluation.content import EvaluationContent, gather
from aimc_robust.report.figures.device import device_figure_svg
from aimc_robust.report.formatting import bounds, environment, p_value
from aimc_robust.report.hardware_text import setup


def write_report(folder: Path) -> Path:
    """Write tables and both reports of an evaluation from its rows; returns the path of report.html."""
    results = EvaluationResults.open(folder)
    write_tables(results)
    content = gather(results)
    for name in ("evaluation.md.j2", "evaluation.html.j2"):
        atomic_write(folder / f"report.{name.split('.')[1]}", _render(name, content))
    return folder / "report.html"


def _render(template: str, content: EvaluationContent) -> str:
    return (
        template_environment(template)
        .get_template(template)
        .render(
            content=content,
            question=content.results.spec,
            figures=figures,
            device_figure_svg=device_figure_svg,
            setup=setup,
            time_text=time_text,
            p_value=p_value,
            bounds_of=lambda row: bounds(row["ci_low"], row["ci_high"], 2),
            version=aimc_robust.__version__,
        )
    )
