"""Evaluate a trained model under one target: a row per chip."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from aimc_robust.data.dataset import DataSet
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.hardware.calibration.converter_ranges import calibrate
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.io.atomic import Row
from aimc_robust.metrics import Batch, Measurement
from aimc_robust.targets.target import AscentTarget, CrossbarTarget, RadiusTarget, Target
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
        if isinstance(target, AscentTarget):
            return self._measure_ascents(target, chips, batches)
        condition = target.noise(self.model) if isinstance(target, RadiusTarget) else target.condition
        deployment = self._deployment(target) if isinstance(target, CrossbarTarget) else None
        return evaluate_chips(
            self.model,
            batches,
            condition,
            chips=chips,
            chip_seed=self.results.spec.chip_seed,
            time_s=target.time_s,
            deployment=deployment,
        )

    def _measure_ascents(self, target: AscentTarget, chips: list[int], batches: Iterable[Batch]) -> ChipMeasurements:
        """Chip i is the step up the gradient of the i-th batch of training images, as SAM takes it."""
        training_batches = self.data.batches("training", UNLABELLED_BATCH, self.device)
        ascent_batches = [batch for _, batch in zip(range(max(chips) + 1), training_batches, strict=False)]
        for chip in chips:
            noise = target.step(self.model, ascent_batches[chip % len(ascent_batches)])
            for _, measured in evaluate_chips(self.model, batches, noise, chips=[0]):
                yield chip, measured

    def _deployment(self, target: CrossbarTarget) -> Deployment:
        """Return the target's deployment with this model's converter ranges and data."""
        unlabelled = (
            self.data.first_training_images(UNLABELLED_BATCH * UNLABELLED_BATCHES)
            .to(self.device)
            .split(UNLABELLED_BATCH)
        )
        ranges = None
        if target.crossbar.periphery.needs_calibration:
            ranges = self.results.ranges(self.trial, target.name)
            if ranges is None:
                ranges = calibrate(self.model, target.crossbar, unlabelled)
                self.results.save_ranges(self.trial, target.name, ranges)
        return replace(target.deployment, ranges=ranges, data=unlabelled)


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
