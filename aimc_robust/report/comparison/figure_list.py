"""The figures of a comparison's report, as functions that draw them: for the page, and as files beside it.

Each function returns None if the results have no data for its figure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.comparison import accuracy_figures, diagnostics_figures, landscapes, training_figures
from aimc_robust.report.comparison.content import ComparisonContent, device_targets
from aimc_robust.report.comparison.training_figures import MeanRows
from aimc_robust.report.figures.device import device_figure
from aimc_robust.report.plot_style import RenderedFigure

FigureFunctions = list[Callable[[], RenderedFigure | None]]


def training_and_device_figures(results: ComparisonResults, means: MeanRows) -> FigureFunctions:
    """Return the figures that need no evaluation rows: training curves and devices.

    Args:
        results: The comparison.
        means: `training_figures.mean_rows` of its trainings.

    Returns:
        One function per figure.
    """
    functions: FigureFunctions = [partial(training_figures.training_curves, results.spec, means)]
    for target in device_targets(results.targets):
        functions.append(partial(device_figure, target.name, target.crossbar))
    return functions


def evaluation_figures(content: ComparisonContent) -> FigureFunctions:
    """Return the figures of the evaluation: accuracy by target and by sigma, and loss landscapes."""
    functions: FigureFunctions = [
        partial(accuracy_figures.accuracy_by_target, content),
        partial(accuracy_figures.accuracy_by_sigma, content),
    ]
    for name, surfaces in content.landscapes.items():
        grid = content.results.landscapes[name].grid
        functions.append(partial(landscapes.landscape_figure, name, grid, surfaces))
    return functions


def diagnostics_panels(means: MeanRows) -> FigureFunctions:
    """Return the panels of the training diagnostics.

    Args:
        means: `training_figures.mean_rows` of the trainings.

    Returns:
        One function per panel.
    """
    rows = diagnostics_figures.diagnostics_rows(means)
    groups = diagnostics_figures.panel_groups(rows)
    return [partial(diagnostics_figures.panel_figure, panel, rows) for group in groups for panel in group.panels]
