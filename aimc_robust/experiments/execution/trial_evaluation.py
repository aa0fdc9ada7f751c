"""Evaluate a trained model under one target: a row per chip."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from aimc_robust.analysis.fixed_radius import ascent_step, sigma_for_radius
from aimc_robust.analysis.landscape import Landscape, filter_directions
from aimc_robust.data.dataset import DataSet
from aimc_robust.evaluation.monte_carlo import Condition, evaluate_chips
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.hardware.calibration.converter_ranges import calibrate
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.io.atomic import Row
from aimc_robust.metrics import Batch, Measurement
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.targets.target import Target
from aimc_robust.training.epoch import EVALUATION_BATCH_SIZE

# Unlabelled training images that converter ranges and BatchNorm statistics on the chip are estimated from.
UNLABELLED_BATCH, UNLABELLED_BATCHES = 128, 4

ChipMeasurements = Iterator[tuple[int, Measurement]]
"""(chip, what was measured on it)."""


@dataclass(frozen=True)
class TrialEvaluation:
    """Evaluate the model of one trial.

    Attributes:
        results: Receives the rows.
        trial: The trial.
        model: Its trained model.
        data: Its data set.
        device: The device that the model is on.
    """

    results: ComparisonResults
    trial: Trial
    model: nn.Module
    data: DataSet
    device: torch.device

    def run(self, target: Target, chips: list[int]) -> None:
        """Measure chips of a target, and append a row as each is done."""
        batches = self.data.batches(target.split, EVALUATION_BATCH_SIZE, self.device)
        for chip, measured in self._measure(target, chips, batches):
            row = _row(self.trial, target, chip, measured)
            if self.results.spec.top5:
                row["top5"] = measured.top5
            self.results.add_evaluations(self.trial, [row])

    def _measure(self, target: Target, chips: list[int], batches: Iterable[Batch]) -> ChipMeasurements:
        if target.landscape is not None:
            return self._measure_landscape(target.landscape, chips, batches)
        if target.direction == "ascent" and target.radius is not None:
            return self._measure_ascents(target.radius, chips, batches)
        condition, deployment = self._condition(target)
        return evaluate_chips(
            self.model,
            batches,
            condition,
            chips=chips,
            chip_seed=self.results.spec.chip_seed,
            time_s=target.time_s,
            deployment=deployment,
        )

    def _measure_ascents(self, radius: float, chips: list[int], batches: Iterable[Batch]) -> ChipMeasurements:
        """Chip i is the step up the gradient of the i-th batch of training images, as SAM takes it."""
        training_batches = self.data.batches("training", UNLABELLED_BATCH, self.device)
        ascent_batches = [batch for _, batch in zip(range(max(chips) + 1), training_batches, strict=False)]
        for chip in chips:
            noise = ascent_step(self.model, *ascent_batches[chip % len(ascent_batches)], radius)
            for _, measured in evaluate_chips(self.model, batches, noise, chips=[0]):
                yield chip, measured

    def _measure_landscape(self, landscape: Landscape, chips: list[int], batches: Iterable[Batch]) -> ChipMeasurements:
        """Chip i is the i-th point of the landscape."""
        directions = filter_directions(self.model, seed=self.results.spec.chip_seed)
        for chip in chips:
            step = landscape.step(directions, chip)
            for _, measured in evaluate_chips(self.model, batches, step, chips=[0]):
                yield chip, measured

    def _condition(self, target: Target) -> tuple[Condition, Deployment | None]:
        """Return the target's condition for this model, and its deployment with converter ranges and data."""
        condition = target.condition
        if target.direction == "random" and target.radius is not None and isinstance(condition, Gaussian):
            scale = condition.scale
            return Gaussian(sigma_for_radius(self.model, target.radius, scale), scale), None
        if not isinstance(condition, Crossbar):
            return condition, None
        unlabelled = (
            self.data.first_training_images(UNLABELLED_BATCH * UNLABELLED_BATCHES)
            .to(self.device)
            .split(UNLABELLED_BATCH)
        )
        ranges = None
        if condition.periphery.needs_calibration:
            ranges = self.results.ranges(self.trial, target.name)
            if ranges is None:
                ranges = calibrate(self.model, condition, unlabelled)
                self.results.save_ranges(self.trial, target.name, ranges)
        return condition, replace(target.deployment, ranges=ranges, data=unlabelled)


def _row(trial: Trial, target: Target, chip: int, measured: Measurement) -> Row:
    return {
        "method": trial.method,
        "seed": trial.seed,
        "target": target.name,
        "backend": target.backend,
        "time_s": target.time_s,
        "chip": chip,
        "accuracy": measured.accuracy,
        # The loss can overflow under strong noise; JSON has no NaN.
        "loss": measured.loss if math.isfinite(measured.loss) else None,
        "n": measured.n,
    }
