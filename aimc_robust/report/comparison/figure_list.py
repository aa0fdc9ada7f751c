"""All pictures of a comparison's report, each drawn once: for the page, and as files beside it.

A list holds what draws each picture; None comes of one that the rows have no numbers for.
"""

from collections.abc import Callable
from functools import partial

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.report.comparison import figures, landscapes
from aimc_robust.report.comparison import training_figures as training
from aimc_robust.report.comparison.content import Content, devices
from aimc_robust.report.comparison.training_figures import MeanRows
from aimc_robust.report.figures.device import device_figure
from aimc_robust.report.plot_style import RenderedFigure

FigureFunctions = list[Callable[[], RenderedFigure | None]]


def training_and_device_figures(store: ComparisonResults, means: MeanRows) -> FigureFunctions:
    """What needs no evaluation rows: the trainings (means: `mean_rows` of theirs) and the devices."""
    curves = partial(training.training_curves, store.spec, means)
    return [curves, *(partial(device_figure, d.name, d.condition) for d in devices(store.targets))]


def accuracy_figures(content: Content) -> FigureFunctions:
    """Accuracy over targets, and over the strength of noise; loss landscapes."""
    planes = content.store.landscapes
    return [
        partial(figures.accuracy_by_target, content),
        partial(figures.accuracy_by_sigma, content),
        *(partial(landscapes.drawn, name, planes[name].landscape, s) for name, s in content.landscapes.items()),
    ]


def diagnostics_figures(means: MeanRows) -> FigureFunctions:
    """The trainings' diagnostics. means: `mean_rows` of the trainings."""
    watched = training.watched(means)
    return [partial(training.drawn, panel, watched) for group in training.groups(watched) for panel in group.panels]
