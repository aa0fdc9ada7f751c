"""A trained model under one target: a row per chip."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from aimc_robust.analysis.fixed_radius import ascent_noise, sigma_for_radius
from aimc_robust.analysis.landscape import filter_directions
from aimc_robust.data.dataset import DataSet
from aimc_robust.evaluation.monte_carlo import Condition, Deployment, evaluate_chips
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.hardware.calibration.converter_ranges import calibrate
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.io.atomic import Row
from aimc_robust.metrics import Batch, Measurement
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.targets.target import Target
from aimc_robust.training.epoch import EVALUATION_BATCH

# Training images, without their labels, that find converter ranges and BatchNorm statistics on the chip.
UNLABELLED_BATCH, UNLABELLED_BATCHES = 128, 4


@dataclass(frozen=True)
class TrialEvaluation:
    """Evaluates the model of one trial, on the device that it is on."""

    store: ComparisonResults
    trial: Trial
    model: nn.Module
    data: DataSet
    device: torch.device

    def run(self, target: Target, chips: list[int]) -> None:
        """Measure these chips of `target` and append a row to the store as each is done."""
        batches = self.data.batches(target.split, EVALUATION_BATCH, self.device)
        measurements = {"ascent": self._ascents, "plane": self._places}.get(target.direction, self._chips)
        for chip, measured in measurements(target, chips, batches):
            row = _row(self.trial, target, chip, measured)
            self.store.add_evaluations(self.trial, [row | {"top5": measured.top5} if self.store.spec.top5 else row])

    def _chips(self, target: Target, chips: list[int], batches: Iterable[Batch]) -> Iterator[tuple[int, Measurement]]:
        condition, deployment = self._ready(target)
        seed = self.store.spec.seed
        return evaluate_chips(self.model, batches, condition, chips=chips, seed=seed, deployment=deployment)

    def _ascents(self, target: Target, chips: list[int], batches: Iterable[Batch]) -> Iterator[tuple[int, Measurement]]:
        """Chip i is the step up the gradient of the i-th batch of training images, as SAM takes it."""
        few = self.data.batches("training", UNLABELLED_BATCH, self.device)
        steps = [batch for _, batch in zip(range(max(chips) + 1), few, strict=False)]
        for chip in chips:
            noise = ascent_noise(self.model, *steps[chip % len(steps)], target.radius)
            for _, measured in evaluate_chips(self.model, batches, noise, chips=[0]):
                yield chip, measured

    def _places(self, target: Target, chips: list[int], batches: Iterable[Batch]) -> Iterator[tuple[int, Measurement]]:
        """Chip i is the i-th place of the landscape."""
        directions = filter_directions(self.model, seed=self.store.spec.seed)
        for chip in chips:
            step = target.landscape.step(directions, chip)
            for _, measured in evaluate_chips(self.model, batches, step, chips=[0]):
                yield chip, measured

    def _ready(self, target: Target) -> tuple[Condition, Deployment | None]:
        """The target's condition for this model: its converter ranges, the sigma of its radius, data to compensate."""
        condition = target.condition
        if target.direction == "random":
            scale = condition.scale
            return Gaussian(sigma_for_radius(self.model, target.radius, scale), scale), None
        if not isinstance(condition, Crossbar):
            return condition, None
        few = self.data.few(UNLABELLED_BATCH * UNLABELLED_BATCHES).to(self.device).split(UNLABELLED_BATCH)
        if condition.needs_ranges:
            ranges = self.store.ranges(self.trial, target.name)
            if ranges is None:
                ranges = calibrate(self.model, condition, few).ranges
                self.store.save_ranges(self.trial, target.name, ranges)
            condition = condition._replace_unchecked(ranges=ranges)
        return condition, replace(target.deployment, data=few)


def _row(trial: Trial, target: Target, chip: int, measured: Measurement) -> Row:
    names = {"method": trial.method, "seed": trial.seed, "target": target.name, "backend": target.backend}
    loss = measured.loss if math.isfinite(measured.loss) else None  # overflowed under this noise; JSON has no NaN
    return {
        **names,
        "time_s": target.deployment.time_s,
        "chip": chip,
        "accuracy": measured.accuracy,
        "loss": loss,
        "n": measured.n,
    }
