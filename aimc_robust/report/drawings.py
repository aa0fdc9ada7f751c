"""All pictures of a comparison's report, each drawn once: for the page, and as files beside it."""

from __future__ import annotations

from aimc_robust.report import figures
from aimc_robust.report import training_figures as training
from aimc_robust.report.content import Content
from aimc_robust.report.style import Drawing
from aimc_robust.report.training_figures import MeanRows


def drawings(content: Content, means: MeanRows) -> dict[str, Drawing]:
    """Name -> picture, of those that the rows have numbers for. means: of the trainings (`mean_rows`)."""
    found = [
        figures.accuracy_over_targets(content),
        figures.accuracy_over_sigma(content),
        training.training_curves(content, means),
        *(figures.device_drawing(target.name, target.condition) for target in content.devices),
    ]
    watched = training.watched(means)
    found += [training.drawn(panel, watched) for group in training.groups(watched) for panel in group.panels]
    return {drawing.name: drawing for drawing in found if drawing is not None}
