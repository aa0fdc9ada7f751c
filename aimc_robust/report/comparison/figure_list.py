"""All pictures of a comparison's report, each drawn once: for the page, and as files beside it.

A list holds what draws each picture; None comes of one that the rows have no numbers for.
"""

from collections.abc import Callable
from functools import partial

from aimc_robust.experiments.results.comparison import Store
from aimc_robust.report.comparison import figures, landscapes
from aimc_robust.report.comparison import training_figures as training
from aimc_robust.report.comparison.content import Content, devices
from aimc_robust.report.comparison.training_figures import MeanRows
from aimc_robust.report.figures.device import device_drawing
from aimc_robust.report.plot_style import Drawing

Drawings = list[Callable[[], Drawing | None]]


def before_accuracies(store: Store, means: MeanRows) -> Drawings:
    """What needs no evaluation rows: the trainings (means: `mean_rows` of theirs) and the devices."""
    curves = partial(training.training_curves, store.spec, means)
    return [curves, *(partial(device_drawing, d.name, d.condition) for d in devices(store.targets))]


def of_accuracies(content: Content) -> Drawings:
    """Accuracy over targets, and over the strength of noise; loss landscapes."""
    planes = content.store.landscapes
    return [
        partial(figures.accuracy_over_targets, content),
        partial(figures.accuracy_over_sigma, content),
        *(partial(landscapes.drawn, name, planes[name].landscape, s) for name, s in content.landscapes.items()),
    ]


def of_diagnostics(means: MeanRows) -> Drawings:
    """The trainings' diagnostics. means: `mean_rows` of the trainings."""
    watched = training.watched(means)
    return [partial(training.drawn, panel, watched) for group in training.groups(watched) for panel in group.panels]
