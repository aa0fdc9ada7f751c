"""Calibrate a target for one model: converter ranges, and data for compensation."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from aimc_robust.data.evaluation_set import EvaluationImages
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.spec.evaluation import TrainedModel
from aimc_robust.hardware.calibration.converter_ranges import calibrate
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.targets.target import CrossbarTarget, Target


def calibrate_target(
    results: EvaluationResults, model: TrainedModel, network: nn.Module, images: EvaluationImages, target: Target
) -> Deployment | None:
    """Return a target's deployment with the model's converter ranges, and data for compensation.

    Args:
        results: Where the model's ranges are stored; they are calibrated at first use.
        model: The trained model.
        network: Its network with the trained weights.
        images: The evaluation images.
        target: The target.

    Returns:
        The deployment; None if the target is no crossbar.
    """
    if not isinstance(target, CrossbarTarget):
        return None
    ranges = None
    if target.crossbar.periphery.needs_calibration:
        ranges = results.ranges(model, target.name)
        if ranges is None:
            ranges = calibrate(network, target.crossbar, [images.calibration_inputs])
            results.save_ranges(model, target.name, ranges)
    return replace(target.deployment, ranges=ranges, data=[images.calibration_inputs])
