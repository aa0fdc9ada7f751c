"""Run one trial of a comparison: train its model and evaluate it on every target, skipping what is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from torch import nn

from aimc_robust.analysis.diagnostics import Diagnostics
from aimc_robust.data.dataset import DataSet
from aimc_robust.data.loading import load_data
from aimc_robust.data.spec import DataSpec
from aimc_robust.data.training_set import TrainingSet
from aimc_robust.errors import DivergenceError, is_out_of_memory
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.execution.model_cache import training_folder
from aimc_robust.experiments.execution.start import build_start, teacher_in_folder
from aimc_robust.experiments.execution.target_runner import TargetRunner
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.origin import record_spec
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.files import check_files
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.targets.target import Target
from aimc_robust.tasks.task import Task
from aimc_robust.training.config import Precision
from aimc_robust.training.epoch import loss_function
from aimc_robust.training.fabric import Machine
from aimc_robust.training.loop import train
from aimc_robust.training.resumption import load_selection

if TYPE_CHECKING:
    from lightning_fabric import Fabric

MAX_DATA_SETS = 2  # that are kept in memory

Value = TypeVar("Value")


@dataclass(frozen=True)
class RunContext:
    """What any process needs to run trials of one comparison, see `compare`."""

    folder: Path  # it must hold the spec
    data_folder: Path
    model_cache: Path | None = None
    machine: Machine = field(default_factory=Machine)
    retry_failed: bool = False


def run_trial(context: RunContext, trial: Trial, progress: ExperimentProgress) -> str | None:
    """Train and evaluate one trial, skipping what is done; data and spec are kept for the next call.

    Returns:
        None, or why the trial failed. Divergence and out-of-memory errors are recorded and returned as the reason; any
        other error is raised.
    """
    if context not in _runners:
        _runners.clear()
        _runners[context] = TrialRunner(ComparisonResults.open(context.folder), context)
    return _runners[context].run(trial, progress)


@contextmanager
def use_runner(runner: TrialRunner) -> Iterator[None]:
    """Let `run_trial` use this runner, and the data that it has loaded, inside the block."""
    _runners[runner.context] = runner
    try:
        yield
    finally:
        _runners.pop(runner.context, None)


_runners: dict[RunContext, TrialRunner] = {}  # of this process


@dataclass
class TrialRunner:
    """Run the trials of one comparison on one machine.

    With several processes all of them train; only the first one reads and writes rows, and evaluates.
    """

    results: ComparisonResults
    context: RunContext

    def __post_init__(self) -> None:
        self.machine = self.context.machine
        self._fabrics: dict[str, Fabric] = {}
        self._data_sets: list[tuple[DataSpec, DataSet]] = []
        self._images: tuple[DataSpec, TrainingSet] | None = None

    # Shared resources ---------------------------------------------------------------------------------------------

    def fabric(self, precision: Precision) -> Fabric:
        """Return the Fabric of a precision, created at first use: a finished comparison on one process needs none."""
        if precision not in self._fabrics:
            self._fabrics[precision] = self.machine.fabric(precision)
        return self._fabrics[precision]

    @cached_property
    def task(self) -> Task:
        """What the models are for."""
        return self.results.task

    @cached_property
    def _communication_fabric(self) -> Fabric:
        return self.fabric(self.results.spec.config().precision)

    def data(self, spec: DataSpec) -> DataSet:
        """Return a data set; the last few are kept in memory."""
        data = next((data for known, data in self._data_sets if known == spec), None)
        if data is None:
            folder, seed = self.context.data_folder, self.results.spec.data_seed
            data = load_data(spec, data_seed=seed, folder=folder, task=self.task)
            self._data_sets = [*self._data_sets[-MAX_DATA_SETS + 1 :], (spec, data)]
        return data

    def images(self, spec: DataSpec) -> TrainingSet:
        """Return the training images of a data set with augmentation; the last ones are kept in memory."""
        if self._images is None or self._images[0] != spec:
            self._images = None  # free the memory of the previous images first
            self._images = spec, self.data(spec).training_set(spec.build_augmentation())
        return self._images[1]

    @property
    def writes(self) -> bool:
        """Whether this is the process that reads and writes rows."""
        return self.machine.is_first

    def broadcast(self, value: Value) -> Value:
        """Return the first process's value, in every process."""
        if self.machine.processes == 1:
            return value
        shared: Value = self._communication_fabric.broadcast(value)
        return shared

    def wait_for_all(self) -> None:
        """Wait until every process is done: one that ends early is taken for a crash."""
        if self.machine.processes > 1:
            self._communication_fabric.barrier()

    # One trial ----------------------------------------------------------------------------------------------------

    def run(self, trial: Trial, progress: ExperimentProgress) -> str | None:
        """Train and evaluate a trial, see `run_trial`."""
        if self.writes and self.context.retry_failed:
            self.results.clear_failure(trial)
        reason = self.broadcast(self.results.failure(trial) if self.writes else None)
        if reason is None:
            try:
                with out_of_memory_as_divergence():
                    if not self.broadcast(self.results.is_evaluated(trial) if self.writes else False):
                        self._train_and_evaluate(trial, progress)
                if self.writes:
                    progress.finished(trial, self.results.means(trial))
                return None
            except DivergenceError as error:
                reason = str(error)
                if self.writes:
                    self.results.record_failure(trial, reason)
        progress.failed(trial, reason)
        return reason

    def _train_and_evaluate(self, trial: Trial, progress: ExperimentProgress) -> None:
        model = self._train(trial, progress)
        if not self.writes:
            return
        results, spec = self.results, self.results.spec
        config = spec.config_of(trial.model)
        device, data = self.fabric(config.precision).device, self.data(spec.data_of(trial.model))
        model = model.to(device)
        runner = TargetRunner(results=results, trial=trial, model=model, data=data, device=device)
        loaded = 0  # the selection that training returns
        missing = results.missing(trial)
        measured: list[Target | LandscapeSpec] = [*results.targets, *spec.landscapes]
        for target in measured:
            if target.name not in missing:
                continue
            if target.selection(config) != loaded:
                loaded = target.selection(config)
                load_selection(results.run_folder(trial), model, config.selections, loaded)
                runner = replace(runner)  # what it keeps belongs to the weights
            if isinstance(target, LandscapeSpec):
                runner.run_landscape(target, missing[target.name], progress)
            else:
                runner.run(target, progress)

    def _train(self, trial: Trial, progress: ExperimentProgress) -> nn.Module:
        """Return the trial's model with the weights of its first selection."""
        results, spec, label = self.results, self.results.spec, trial.model
        data, files = self.data(spec.data_of(label)), self.context.data_folder
        check_files(spec, label, files)
        config = teacher_in_folder(spec.config_of(label), files)
        if self.writes:
            record_spec(results.run_folder(trial), spec)
        with training_folder(results, trial, self.context.model_cache, writes=self.writes) as folder:
            finished = self.broadcast(results.is_trained(trial, folder) if self.writes else False)
            progress.training(trial, done=len(results.history(trial, folder)))
            model, weights_id = build_start(spec.model_of(label), data, files, seed=trial.train_seed, task=self.task)
            return train(
                model,
                spec.method(label, seed=trial.train_seed),
                config,
                training_set=self.images(spec.data_of(label)),
                validation_set=data.split("validation"),
                task=self.task,
                train_seed=trial.train_seed,
                folder=folder,
                data_id=" ".join(filter(None, (data.id, weights_id))),
                on_epoch=lambda row: progress.epoch(trial, row),
                probe=build_probe(spec, label, data, self.task),  # of test images too; it influences nothing
                fabric=None if finished else self.fabric(config.precision),
            ).model


def build_probe(spec: ComparisonSpec, label: str, data: DataSet, task: Task) -> Diagnostics | None:
    """Return the diagnostics of the method `label`, or None."""
    config, loss_fn = spec.build_diagnostics(), loss_function(spec.config_of(label), task)
    if config is None:
        return None
    return Diagnostics(config, training=data.split("training"), test=data.split("test"), loss_fn=loss_fn, task=task)


@contextmanager
def out_of_memory_as_divergence() -> Iterator[None]:
    """Turn an out-of-memory error into a DivergenceError: a failure of this trial only, as others may fit."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        first_line = (str(error).strip() or "no memory left").splitlines()[0]
        raise DivergenceError(f"out of memory ({first_line}); use a smaller batch or network, or fewer jobs.") from None
