"""Which simulated chips pass: those that lose no more than the allowed drop against digital weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from aimc_robust.data.batches import InputBatches
from aimc_robust.errors import DivergenceError
from aimc_robust.evaluation.monte_carlo import ChipEvaluation, chip_evaluation
from aimc_robust.evaluation.requirements.budget import ErrorBudget
from aimc_robust.hardware.calibration.converter_ranges import calibrate, needs_calibration
from aimc_robust.hardware.config.deployment import Compensation, Deployment
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.config.ranges import ConverterRanges
from aimc_robust.parallel.process_pool import ordered_map
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.task import Task

TOLERANCE = 1e-9  # of a drop that equals the allowed one but for rounding


@dataclass(frozen=True)
class _Loss:
    """How much worse than digital weights a chip is; infinity if its outputs are not finite."""

    evaluation: ChipEvaluation
    digital: float

    def __call__(self, chip: int) -> float:
        try:
            value = self.evaluation(chip).value
        except DivergenceError:
            return math.inf
        return float(self.evaluation.task.primary.loss_of(self.digital, value))


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """Measures a model on simulated chips of any hardware.

    Attributes:
        model: The trained model.
        batches: Labelled data.
        hardware: The template: what surrounds the device and the converters that are in question.
        task: What is measured.
        digital: The primary metric with digital weights.
        drop: Largest drop of a chip that passes.
        calibration: Inputs on which converter ranges are found.
        time_s: Seconds since programming, for what drifts.
        t0_s: Seconds from the programming pulse to time 0.
        chip_seed: Root seed of all chips.
        jobs: As for `evaluate`.
    """

    model: nn.Module
    batches: Iterable[Batch]
    hardware: Hardware
    task: Task
    digital: float
    drop: float
    calibration: InputBatches
    time_s: float
    t0_s: float
    chip_seed: int = 0
    jobs: int | None = None
    _ranges: dict[Any, ConverterRanges] = field(default_factory=dict)

    def budget_hardware(self, budget: ErrorBudget) -> Hardware:
        """Return the template with the errors of a budget."""
        return self.hardware.map(lambda crossbar: budget.crossbar(crossbar, t0_s=self.t0_s))

    def losses_within(self, budget: ErrorBudget, chips: Sequence[int]) -> list[float]:
        """Return how much worse each chip is than digital weights, if it has the errors of a budget."""
        time_s = self.time_s if budget.drifts else 0.0
        key = budget.adc_bits, budget.dac_bits
        return self.losses(
            self.budget_hardware(budget), chips, time_s=time_s, compensates=budget.compensates and time_s > 0, key=key
        )

    def losses(
        self, hardware: Hardware, chips: Sequence[int], *, time_s: float, compensates: bool, key: Any
    ) -> list[float]:
        """Return how much worse each chip of some hardware is than digital weights.

        Converter ranges are found once for each `key`.
        """
        compensation: tuple[Compensation, ...] = ("drift",) if compensates else ()
        deployment = Deployment(compensation=compensation)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # shown once, for the template
            if needs_calibration(hardware):
                if key not in self._ranges:
                    self._ranges[key] = calibrate(self.model, hardware, self.calibration)
                deployment = replace(deployment, ranges=self._ranges[key])
            evaluation = chip_evaluation(
                self.model,
                self.batches,
                hardware,
                chip_seed=self.chip_seed,
                time_s=time_s,
                deployment=deployment,
                task=self.task,
            )
            return list(ordered_map(_Loss(evaluation, self.digital), chips, jobs=self._jobs(chips)))

    def passes(self, losses: Sequence[float]) -> list[bool]:
        """Return whether each loss is within the allowed drop."""
        return [loss <= self.drop + TOLERANCE for loss in losses]

    def _jobs(self, chips: Sequence[int]) -> int | None:
        return self.jobs and min(self.jobs, max(len(chips), 1))
