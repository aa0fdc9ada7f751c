"""One cell of a comparison: train a model and evaluate it on every target, as far as that is not done."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from torch import nn

from aimc_robust.analysis.diagnostics import Diagnostics
from aimc_robust.bench.data import DataSet
from aimc_robust.bench.models import build_model
from aimc_robust.bench.progress import Progress
from aimc_robust.bench.store import Cell, Store
from aimc_robust.bench.targets import Target
from aimc_robust.errors import DivergenceError
from aimc_robust.evaluation.chips import Condition, Deployment, evaluate_chips
from aimc_robust.files import Row
from aimc_robust.hardware import Crossbar, calibrate
from aimc_robust.metrics import Measurement, batches_of
from aimc_robust.training.epoch import EVALUATION_BATCH, loss_function
from aimc_robust.training.fabric import Machine
from aimc_robust.training.images import Images
from aimc_robust.training.loop import train

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Training images, without their labels, that find converter ranges and BatchNorm statistics on the chip.
UNLABELLED_BATCH, UNLABELLED_BATCHES = 128, 4


@dataclass
class CellRunner:
    """Runs the cells of one store on one machine.

    With several processes all of them train; the first one alone reads and writes rows, and evaluates.
    """

    store: Store
    data: DataSet
    images: Images  # the training split, as it is trained on
    machine: Machine
    progress: Progress

    @cached_property
    def fabric(self) -> "Fabric":
        """Made when it is first needed: a finished comparison on one process needs none."""
        return self.machine.fabric(self.store.spec.config().precision)

    @cached_property
    def probe(self) -> Diagnostics | None:
        """The diagnostics that the spec asks for. They look at test images, and decide nothing."""
        config, data = self.store.spec.built_diagnostics(), self.data
        if config is None:
            return None
        loss_fn = loss_function(self.store.spec.config())
        return Diagnostics(config, training=data.training, test=data.test, loss_fn=loss_fn)

    @property
    def writes(self) -> bool:
        """Whether this is the process that reads and writes rows."""
        return self.machine.is_first

    def wait_for_all(self) -> None:
        """No process leaves before the others are done: its end would be taken for a crash."""
        if self.machine.processes > 1:
            self.fabric.barrier()

    def run(self, cell: Cell, *, retry_failed: bool) -> str | None:
        """Train and evaluate a cell as far as it is not done; returns why it failed, or None."""
        reason = self._known_failure(cell, retry_failed)
        if reason is None:
            try:
                model = self._trained(cell)
                if self.writes:
                    self.progress.finished(cell, self._evaluated(cell, model))
                return None
            except DivergenceError as error:
                reason = str(error)
                if self.writes:
                    self.store.record_failure(cell, reason)
        self.progress.failed(cell, reason)
        return reason

    def _known_failure(self, cell: Cell, retry_failed: bool) -> str | None:
        """Why a cell failed before, the same in every process."""
        reason = None
        if self.writes:
            if retry_failed:
                self.store.forget_failure(cell)
            reason = self.store.failure(cell)
        return reason if self.machine.processes == 1 else self.fabric.broadcast(reason)

    def _trained(self, cell: Cell) -> nn.Module:
        spec, data = self.store.spec, self.data
        finished = self.store.is_trained(cell) if self.writes else False
        if self.machine.processes > 1:
            finished = self.fabric.broadcast(finished)
        self.progress.training(cell, done=len(self.store.history(cell)))
        return train(
            build_model(spec.model, data, seed=cell.seed),
            spec.method(cell.method, seed=cell.seed),
            spec.config(),
            training_set=self.images,
            validation_set=data.validation,
            seed=cell.seed,
            folder=self.store.run_folder(cell),
            data_id=data.id,
            on_epoch=lambda row: self.progress.epoch(cell, row),
            probe=self.probe,
            fabric=None if finished else self.fabric,
        ).model

    def _evaluated(self, cell: Cell, model: nn.Module) -> dict[str, float]:
        """Evaluate what is missing; returns target -> mean accuracy over all chips."""
        done = {(row["target"], row["chip"]) for row in self.store.evaluations(cell)}
        targets, chips = self.store.spec.built_targets(), self.store.spec.chips
        for target in targets:
            missing = [chip for chip in range(target.chips(chips)) if (target.name, chip) not in done]
            if missing:
                self.progress.evaluating(cell, target.name)
                self._evaluate(cell, model.to(self.fabric.device), target, missing)
        rows = self.store.evaluations(cell)
        accuracies = {target.name: [r["accuracy"] for r in rows if r["target"] == target.name] for target in targets}
        return {name: sum(values) / len(values) for name, values in accuracies.items()}

    def _evaluate(self, cell: Cell, model: nn.Module, target: Target, chips: list[int]) -> None:
        test = tuple(part.to(self.fabric.device) for part in self.data.test)
        condition, deployment = self._ready(cell, target, model)
        found = evaluate_chips(
            model,
            batches_of(test, EVALUATION_BATCH),
            condition,
            chips=chips,
            seed=self.store.spec.seed,
            deployment=deployment,
        )
        for chip, measured in found:
            self.store.add_evaluations(cell, [_row(cell, target, chip, measured)])

    def _ready(self, cell: Cell, target: Target, model: nn.Module) -> tuple[Condition, Deployment | None]:
        """The target's condition with this model's converter ranges; its deployment with data to compensate with."""
        crossbar = target.condition
        if not isinstance(crossbar, Crossbar):
            return crossbar, None
        few = batches_of(self.data.training, UNLABELLED_BATCH)[:UNLABELLED_BATCHES]
        inputs = [inputs.to(self.fabric.device) for inputs, _ in few]
        if crossbar.needs_ranges:
            ranges = self.store.ranges(cell, target.name)
            if ranges is None:
                ranges = calibrate(model, crossbar, inputs).ranges
                self.store.keep_ranges(cell, target.name, ranges)
            crossbar = crossbar.changed(ranges=ranges)
        return crossbar, replace(target.deployment, data=inputs)


def _row(cell: Cell, target: Target, chip: int, measured: Measurement) -> Row:
    names = {"method": cell.method, "seed": cell.seed, "target": target.name, "backend": target.backend}
    loss = measured.loss if math.isfinite(measured.loss) else None  # overflowed under this noise; JSON has no NaN
    return {
        **names,
        "time_s": target.deployment.time_s,
        "chip": chip,
        "accuracy": measured.accuracy,
        "loss": loss,
        "n": measured.n,
    }
