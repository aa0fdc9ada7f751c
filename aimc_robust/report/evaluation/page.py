"""Report of an evaluation: report.html (self-contained) and report.md."""

from __future__ import annotations

from pathlib import Path

import aimc_robust
from aimc_robust.devices.limits import time_text
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.results.evaluation_tables import write_tables
from aimc_robust.io.atomic import atomic_write
from aimc_robust.report.evaluation import figures
from aimc_robust.report.evaluation.content import EvaluationContent, gather
from aimc_robust.report.figures.device import device_figure_svg
from aimc_robust.report.formatting import template_environment
from aimc_robust.report.hardware_text import describe_target


def write_evaluation_report(folder: Path) -> Path:
    """Write the tables, report.html and report.md of an evaluation from its rows.

    Args:
        folder: The folder of an evaluation, finished or not.

    Returns:
        Path of report.html.

    Raises:
        InputError: If the folder holds no evaluation.
    """
    results = EvaluationResults.open(folder)
    write_tables(results)
    content = gather(results)
    for suffix in ("md", "html"):
        atomic_write(folder / f"report.{suffix}", _render(f"evaluation.{suffix}.j2", content))
    return folder / "report.html"


def _render(template: str, content: EvaluationContent) -> str:
    environment = template_environment(template)
    return environment.get_template(template).render(
        content=content,
        spec=content.results.spec,
        figures=figures,
        device_figure_svg=device_figure_svg,
        describe_target=describe_target,
        time_text=time_text,
        version=aimc_robust.__version__,
    )
