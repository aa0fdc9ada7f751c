"""All pictures of a comparison's report, each drawn once: for the page, and as files beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from aimc_robust.cores import cores_here
from aimc_robust.evaluation.workers import in_order
from aimc_robust.report import figures
from aimc_robust.report import training_figures as training
from aimc_robust.report.content import Content
from aimc_robust.report.style import Drawing
from aimc_robust.report.training_figures import MeanRows


def drawings(content: Content, means: MeanRows) -> dict[str, Drawing]:
    """Name -> picture, of those that the rows have numbers for. means: of the trainings (`mean_rows`)."""
    watched = training.watched(means)
    panels = [panel for group in training.groups(watched) for panel in group.panels]
    wanted: list[Callable[[], Drawing | None]] = [
        partial(figures.accuracy_over_targets, content),
        partial(figures.accuracy_over_sigma, content),
        partial(training.training_curves, content, means),
        *(partial(figures.device_drawing, target.name, target.condition) for target in content.devices),
        *(partial(training.drawn, panel, watched) for panel in panels),
    ]
    # Drawing is half of a report's time. Forked processes have all that they draw from; elsewhere they would import it.
    jobs = min(len(cores_here()), len(wanted)) if sys.platform == "linux" else None
    found = in_order(lambda number: wanted[number](), range(len(wanted)), jobs=jobs)
    return {drawing.name: drawing for drawing in found if drawing is not None}
