"""One trial of a comparison: train a model and evaluate it on every target, as far as that is not done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from aimc_robust.analysis.diagnostics import Diagnostics
from aimc_robust.data.dataset import DataSet, load_data
from aimc_robust.data.in_memory import Images
from aimc_robust.data.spec import DataSpec
from aimc_robust.data.streaming import StreamedImages
from aimc_robust.errors import DivergenceError
from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.execution.model_cache import training_folder
from aimc_robust.experiments.execution.trial_evaluation import TrialEvaluation
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.models.registry import build_model
from aimc_robust.training.epoch import loss_function
from aimc_robust.training.fabric import Machine
from aimc_robust.training.loop import train
from aimc_robust.training.resumption import load_selection

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DATA_SETS_AT_ONCE = 2

Value = TypeVar("Value")


@dataclass(frozen=True)
class RunContext:
    """All that a process needs to run trials of one comparison; it can be sent to another process or machine.

    folder: of the results, which must hold the question. data_folder: where relative data paths start. models: folder
    of trained models that several comparisons share; None: each trial keeps its own. retry_failed: try failed trials
    again.
    """

    folder: Path
    data_folder: Path
    models: Path | None = None
    machine: Machine = field(default_factory=Machine)
    retry_failed: bool = False


def run_trial(work: RunContext, trial: Trial, progress: ComparisonProgress) -> str | None:
    """Train and evaluate one trial as far as it is not done; returns why it failed, or None.

    What trials share (data, the question) is kept for the next call with the same `work`. Training that diverges and
    want of memory are recorded and returned. Raises DataError, CheckpointError or ResultsError for what is no trial's.
    """
    if work not in _runners:
        _runners.clear()
        _runners[work] = TrialRunner(ComparisonResults.open(work.folder), work)
    return _runners[work].run(trial, progress)


@contextmanager
def use_runner(runner: TrialRunner) -> Iterator[None]:
    """Inside, `run_trial` works with this runner and what it has loaded."""
    _runners[runner.work] = runner
    try:
        yield
    finally:
        _runners.pop(runner.work, None)


_runners: dict[RunContext, TrialRunner] = {}  # of this process


@dataclass
class TrialRunner:
    """Runs the trials of one store on one machine.

    With several processes all of them train; the first one alone reads and writes rows, and evaluates.
    """

    store: ComparisonResults
    work: RunContext

    def __post_init__(self) -> None:
        self.machine = self.work.machine
        self._fabrics: dict[str, Fabric] = {}
        self._data: list[tuple[DataSpec, DataSet]] = []
        self._images: tuple[DataSpec, Images | StreamedImages] | None = None

    def fabric(self, precision: str) -> Fabric:
        """Made when it is first needed: a finished comparison on one process needs none."""
        if precision not in self._fabrics:
            self._fabrics[precision] = self.machine.fabric(precision)
        return self._fabrics[precision]

    @cached_property
    def _any_fabric(self) -> Fabric:
        """One to talk to the other processes by."""
        return self.fabric(self.store.spec.config().precision)

    def data(self, spec: DataSpec) -> DataSet:
        """The images of a method; the last few sets are kept."""
        found = next((data for known, data in self._data if known == spec), None)
        if found is None:
            found = load_data(spec, seed=self.store.spec.seed, folder=self.work.data_folder)
            self._data = [*self._data[-DATA_SETS_AT_ONCE + 1 :], (spec, found)]
        return found

    def images(self, spec: DataSpec) -> Images | StreamedImages:
        """The training images of a method, as they are trained on; the last ones are kept.

        Raises InputError for an augmentation that does not fit them.
        """
        if self._images is None or self._images[0] != spec:
            self._images = None  # let go of the old ones first
            self._images = spec, self.data(spec).training_images(spec.built_augmentation())
        return self._images[1]

    @property
    def writes(self) -> bool:
        """Whether this is the process that reads and writes rows."""
        return self.machine.is_first

    def wait_for_all(self) -> None:
        """No process leaves before the others are done: its end would be taken for a crash."""
        if self.machine.processes > 1:
            self._any_fabric.barrier()

    def run(self, trial: Trial, progress: ComparisonProgress) -> str | None:
        """Train and evaluate a trial as far as it is not done; returns why it failed, or None."""
        reason = self._known_failure(trial)
        if reason is None:
            try:
                with _memory_counted():
                    if not self.shared(self.store.is_evaluated(trial) if self.writes else False):
                        self._work_on(trial, progress)
                if self.writes:
                    progress.finished(trial, self.store.mean_accuracies(trial))
                return None
            except DivergenceError as error:
                reason = str(error)
                if self.writes:
                    self.store.record_failure(trial, reason)
        progress.failed(trial, reason)
        return reason

    def _work_on(self, trial: Trial, progress: ComparisonProgress) -> None:
        model = self._trained(trial, progress)
        if not self.writes:
            return
        spec = self.store.spec
        config = spec.config_of(trial.method)
        waiting = [(t, missing) for t in self.store.targets if (missing := self.store.missing_chips(trial, t))]
        device = self.fabric(config.precision).device
        evaluation = TrialEvaluation(self.store, trial, model.to(device), self.data(spec.data_of(trial.method)), device)
        loaded = 0  # the selection that training returns
        for target, chips in waiting:
            progress.evaluating(trial, target.name)
            if target.selection(config) != loaded:
                loaded = target.selection(config)
                load_selection(self.store.run_folder(trial), model, config.selections, loaded)
            evaluation.run(target, chips)

    def shared(self, value: Value) -> Value:
        """What the first process says, in all of them."""
        return value if self.machine.processes == 1 else self._any_fabric.broadcast(value)

    def _known_failure(self, trial: Trial) -> str | None:
        """Why a trial failed before, the same in every process."""
        reason = None
        if self.writes:
            if self.work.retry_failed:
                self.store.clear_failure(trial)
            reason = self.store.failure(trial)
        return self.shared(reason)

    def _trained(self, trial: Trial, progress: ComparisonProgress) -> nn.Module:
        """The trial's model with the weights of its first selection."""
        spec, label = self.store.spec, trial.method
        data, config = self.data(spec.data_of(label)), spec.config_of(label)
        with training_folder(self.store, trial, self.work.models, writes=self.writes) as folder:
            finished = self.shared(self.store.is_trained(trial, folder) if self.writes else False)
            progress.training(trial, done=len(self.store.history(trial, folder)))
            return train(
                build_model(spec.model_of(label), data, seed=trial.seed),
                spec.method(label, seed=trial.seed),
                config,
                training_set=self.images(spec.data_of(label)),
                validation_set=data.validation,
                seed=trial.seed,
                folder=folder,
                data_id=data.id,
                on_epoch=lambda row: progress.epoch(trial, row),
                probe=self._probe(data, label),
                fabric=None if finished else self.fabric(config.precision),
            ).model

    def _probe(self, data: DataSet, label: str) -> Diagnostics | None:
        """The diagnostics that the spec asks for. They look at test images, and decide nothing."""
        config = self.store.spec.build_diagnostics()
        if config is None:
            return None
        loss_fn = loss_function(self.store.spec.config_of(label))
        return Diagnostics(config, training=data.training, test=data.test, loss_fn=loss_fn)


@contextmanager
def _memory_counted() -> Iterator[None]:
    """Want of memory is a trial's own failure, with its reason: others may fit."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        wanted = str(error)
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # torch's allocator on a CPU has no error of its own
            raise
        wanted = str(error)
    else:
        return
    first = wanted.strip().splitlines()[0] if wanted.strip() else "no memory left"
    raise DivergenceError(f"out of memory ({first}); use a smaller batch or network, or fewer jobs.") from None
