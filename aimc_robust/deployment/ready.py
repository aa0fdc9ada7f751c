"""A target made ready for one model: converter ranges, and data to compensate with."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from aimc_robust.bench.evaluation_images import EvaluationImages
from aimc_robust.bench.targets import Target
from aimc_robust.deployment.question import TrainedModel
from aimc_robust.deployment.store import Results
from aimc_robust.evaluation.chips import Condition, Deployment
from aimc_robust.hardware import Crossbar, calibrate


def ready(
    results: Results, model: TrainedModel, trained: nn.Module, images: EvaluationImages, target: Target
) -> tuple[Condition, Deployment | None]:
    """A target's condition with this model's converter ranges, and its deployment with data to compensate with."""
    crossbar = target.condition
    if not isinstance(crossbar, Crossbar):
        return crossbar, None
    if crossbar.needs_ranges:
        ranges = results.ranges(model, target.name)
        if ranges is None:
            ranges = calibrate(trained, crossbar, [images.unlabelled]).ranges
            results.keep_ranges(model, target.name, ranges)
        crossbar = crossbar.changed(ranges=ranges)
    return crossbar, replace(target.deployment, data=[images.unlabelled])
