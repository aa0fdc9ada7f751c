"""Evaluate one trained model under targets: calibrate, measure the chips that have no row yet, store each row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from aimc_robust.analysis.landscape import filter_directions
from aimc_robust.data.dataset import CALIBRATION_BATCH, DataSet
from aimc_robust.errors import DivergenceError
from aimc_robust.evaluation.evaluate import evaluate_until_precise
from aimc_robust.evaluation.monte_carlo import ChipOptions, evaluate_chips
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.results.files import LANDSCAPE
from aimc_robust.experiments.results.folder import ResultsFolder
from aimc_robust.experiments.results.origin import bind_weights, record_spec
from aimc_robust.experiments.results.rows import evaluation_row, finite
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.hardware.calibration.converter_ranges import calibrate, fitting, needs_calibration
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.io.atomic import append_rows
from aimc_robust.models.checkpoint import tensor_digest
from aimc_robust.targets.target import AscentTarget, CrossbarTarget, DeployableTarget, DigitalTarget, Target
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.measurement import Measurement
from aimc_robust.training.config import Precision
from aimc_robust.training.epoch import EVALUATION_BATCH_SIZE
from aimc_robust.training.methods.range_state import ranges_of


@dataclass(frozen=True, kw_only=True)
class TargetRunner:
    """Evaluates one trained model under targets, and stores rows and converter ranges in `results`."""

    results: ResultsFolder[Any]
    trial: Trial
    model: nn.Module
    data: DataSet
    device: torch.device | str = "cpu"  # of the model
    batch_size: int = EVALUATION_BATCH_SIZE
    jobs: int | None = None  # as for `ar.evaluate`
    forward_precision: Precision = "32-true"
    precision: float | None = None  # half-width of the interval over chips at which to stop; None: all chips

    @cached_property
    def _values(self) -> dict[str, dict[int, float]]:
        """Target -> chip -> primary metric, of all stored rows."""
        values: dict[str, dict[int, float]] = {}
        for row in self.results.evaluations(self.trial):
            values.setdefault(row["target"], {})[row["chip"]] = row[self.results.metric.name]
        return values

    def values(self, target: Target) -> dict[int, float]:
        """Return chip -> primary metric of the target's chips that have a row."""
        chips = target.chips(self.results.spec.chips)
        return {chip: value for chip, value in self._values.get(target.name, {}).items() if chip < chips}

    def run(self, target: Target, progress: ExperimentProgress) -> list[float]:
        """Measure the chips of a target that have no row, append a row as each is done; return all values."""
        self._bind(target.name, has_rows=target.name in self._values)
        chips = target.chips(self.results.spec.chips)
        progress.evaluating(self.trial, target.name, done=len(self.values(target)), chips=chips)
        try:
            for chip, measured in self._measure(target):
                row = evaluation_row(self.trial, target, chip, measured, self.forward_precision)
                self.results.add_evaluations(self.trial, [row])
                self._values.setdefault(target.name, {})[chip] = row[self.results.metric.name]
                progress.chip(self.trial, target.name, list(self.values(target).values()))
        except DivergenceError as error:
            model = f"{self.trial.model} (seed {self.trial.train_seed})"
            raise DivergenceError(f"{model} under {target.name}: {error}") from None
        values = list(self.values(target).values())
        progress.evaluated(self.trial, target.name, values)
        return values

    def run_landscape(self, landscape: LandscapeSpec, points: Sequence[int], progress: ExperimentProgress) -> None:
        """Measure points around the model, and append a row as each is done. The chip seed draws the directions."""
        total, folder = landscape.grid.num_points, self.results.run_folder(self.trial)
        self._bind(f"landscape {landscape.name}", has_rows=len(points) < total)
        progress.evaluating(self.trial, landscape.name, done=total - len(points), chips=total)
        directions = filter_directions(self.model, seed=self.results.spec.chip_seed)
        metric = self.results.metric.name
        values: list[Any] = []
        for point in points:
            step = landscape.grid.step(directions, point)
            try:
                ((_, measured),) = evaluate_chips(
                    self.model, self.batches(landscape), step, chips=[0], task=self.results.task
                )
                row = measured.row()
            except DivergenceError:  # far from the trained weights: a point without values
                row = {metric: None, "loss": None, "n": len(self.data.split(landscape.split)[1])}
            append_rows(folder / LANDSCAPE, [finite({"landscape": landscape.name, "point": point, **row})])
            values.append(math.nan if row[metric] is None else row[metric])
            progress.chip(self.trial, landscape.name, values)

    def _bind(self, name: str, *, has_rows: bool) -> None:
        """Note that rows are of this spec and these weights, see `origin.bind_weights`."""
        run_folder = self.results.run_folder(self.trial)
        record_spec(run_folder, self.results.spec)
        bind_weights(run_folder, name, self._weights, has_rows=has_rows)

    @cached_property
    def _weights(self) -> str:
        return tensor_digest(self.model.state_dict())

    def deployment(self, target: Target) -> Deployment | None:
        """Return a crossbar's deployment with converter ranges and data for compensation.

        Ranges that training has learned are used for a crossbar with the same converters; others are calibrated.
        """
        if not isinstance(target, CrossbarTarget):
            return None
        unlabelled = self.data.calibration_batches(self.device)
        ranges = None
        if needs_calibration(target.condition):
            ranges = self.results.ranges(self.trial, target.name)
            if ranges is None:
                fold = target.deployment.fold
                learned = ranges_of(self.model)
                ranges = None if learned is None else fitting(learned, self.model, target.condition, fold=fold)
                if ranges is None:
                    ranges = calibrate(self.model, target.condition, unlabelled, fold=fold)
                self.results.save_ranges(self.trial, target.name, ranges)
        return replace(target.deployment, ranges=ranges, data=unlabelled)

    def batches(self, target: Target | LandscapeSpec) -> Iterable[Batch]:
        """Return the labelled batches that a target is evaluated on."""
        return self.data.batches(target.split, min(self.batch_size, self.results.task.batch_size), self.device)

    def _training_batches(self) -> Iterable[Batch]:
        return self.data.batches("training", min(CALIBRATION_BATCH, self.results.task.batch_size), self.device)

    def _measure(self, target: Target) -> Iterator[tuple[int, Measurement]]:
        """Yield (chip, what is measured on it) of the chips without a row."""
        chips, known = target.chips(self.results.spec.chips), self.values(target)
        if isinstance(target, AscentTarget):
            return self._measure_ascents(target, [chip for chip in range(chips) if chip not in known])
        training = () if isinstance(target, DeployableTarget) else self._training_batches()
        return evaluate_until_precise(
            self.model,
            self.batches(target),
            target.condition_for(self.model, training, self.results.task),
            chips=chips,
            precision=None if isinstance(target, DigitalTarget) else self.precision,
            known=known,
            chip_seed=self.results.spec.chip_seed,
            time_s=target.time_s,
            deployment=self.deployment(target),
            jobs=self.jobs,
            metrics=self.results.spec.metrics,
            task=self.results.task,
            forward_precision=self.forward_precision,
            strict=False,  # the dry run warned
        )

    def _measure_ascents(self, target: AscentTarget, chips: list[int]) -> Iterator[tuple[int, Measurement]]:
        """Chip i is the step up the gradient of the i-th batch of training images, as SAM takes it."""
        options: ChipOptions = {"metrics": self.results.spec.metrics, "task": self.results.task}
        ascent_batches = list(itertools.islice(self._training_batches(), max(chips, default=0) + 1))
        for chip in chips:
            step = target.condition_for(self.model, ascent_batches[chip % len(ascent_batches) :], self.results.task)
            for _, measured in evaluate_chips(self.model, self.batches(target), step, chips=[0], **options):
                yield chip, measured
