"""Files of a comparison's report: report.html (self-contained), report.md, tables and figures."""

from __future__ import annotations

from collections.abc import Callable

import aimc_robust
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.summary import summary_table
from aimc_robust.parallel.process_pool import background_call
from aimc_robust.report.comparison import diagnostics_figures, figure_list, table_files, text
from aimc_robust.report.comparison.content import ComparisonContent, gather
from aimc_robust.report.comparison.training_figures import MeanRows, mean_rows
from aimc_robust.report.formatting import template_environment
from aimc_robust.report.hardware_text import describe_target, widest_ranges
from aimc_robust.report.parallel import run_parallel
from aimc_robust.report.plot_style import RenderedFigure

Files = dict[str, str | bytes]
"""Path relative to the results folder -> content."""


def report_files(results: ComparisonResults) -> Files:
    """Return the content of every file of a comparison's report.

    Args:
        results: The comparison, finished or not.

    Returns:
        Path relative to the results folder -> content; report.html is the last, as it refers to the others.
    """
    history = results.histories()
    means = mean_rows(results.spec, history)
    early_figures = figure_list.training_and_device_figures(results, means)
    with background_call(lambda: [draw() for draw in early_figures]) as early_result:
        frame = results.table()
        content = gather(results, frame, history)
        texts: list[Callable[[], Files | RenderedFigure | None]] = [
            lambda: {"evaluations.csv": frame.to_csv(index=False)},
            lambda: {
                "summary.csv": summary_table(content.estimates).to_csv(index=False),
                **table_files.table_files(content),
            },
            lambda: {"report.md": _render("comparison.md.j2", content, means, {})},
        ]
        rendered = run_parallel(
            [*figure_list.evaluation_figures(content), *figure_list.diagnostics_panels(means), *texts]
        )
        figures = {f.name: f for f in [*early_result(), *rendered] if isinstance(f, RenderedFigure)}
    files: Files = {}
    for result in rendered:
        if isinstance(result, dict):
            files |= result
    for name, figure in figures.items():
        files |= {f"figures/{name}.svg": figure.svg_document, f"figures/{name}.png": figure.png}
    return files | {"report.html": _render("comparison.html.j2", content, means, figures)}


def _render(template: str, content: ComparisonContent, means: MeanRows, figures: dict[str, RenderedFigure]) -> str:
    environment = template_environment(template)
    environment.filters |= {"difference": text.format_difference, "comparison": text.format_comparison}
    return environment.get_template(template).render(
        content=content,
        spec=content.results.spec,
        recipe=content.results.spec.config(),
        means=means,
        figures=figures,
        diagnostics=diagnostics_figures,
        tables=table_files,
        text=text,
        describe_target=describe_target,
        widest_ranges=widest_ranges,
        version=aimc_robust.__version__,
    )
