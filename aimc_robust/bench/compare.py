"""The main job: train every method and seed of a spec, evaluate each model on every target, leave rows."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from aimc_robust.bench.cells import CellRunner
from aimc_robust.bench.data import DataSet, load_data
from aimc_robust.bench.environment import environment
from aimc_robust.bench.models import build_model
from aimc_robust.bench.progress import Progress
from aimc_robust.bench.spec import Spec
from aimc_robust.bench.store import COVERAGE, ENVIRONMENT, Cell, Store, exclusive
from aimc_robust.errors import AimcError, InputError
from aimc_robust.evaluation.chips import evaluate_chips
from aimc_robust.hardware import Crossbar, calibrate, coverage
from aimc_robust.training.fabric import Machine, check_shares
from aimc_robust.training.images import Images


@dataclass(frozen=True)
class Outcome:
    """What a comparison came to: the cells that failed, with their reasons."""

    store: Store
    failed: dict[Cell, str]


def compare(
    spec: Spec,
    spec_text: str,
    folder: Path,
    *,
    data_folder: Path,
    progress: Progress,
    retry_failed: bool = False,
    machine: Machine | None = None,
) -> Outcome:
    """Run what is not done yet of `spec`, into `folder`, and write the tables.

    spec_text: the spec as its author wrote it, kept with the results. data_folder: where relative data paths start.
    A finished model is not trained again, a finished chip not evaluated again: the same call after any interruption
    ends with the numbers of an undisturbed run. A cell whose training diverges is recorded as failed, and not tried
    again unless `retry_failed`; the others go on. machine: devices and processes (default: one); every process calls
    this, and the first one writes.
    Raises DataError, InputError, CheckpointError or ResultsError before anything is overwritten.
    """
    data = load_data(spec.data, seed=spec.seed, folder=data_folder)
    model = build_model(spec.model, data, seed=spec.seeds[0])
    covered = coverage(model, data.test[0][:1])
    _rehearse(spec, model, data)
    images = Images(*data.training, black=data.black, augmentation=spec.data.built_augmentation())
    runner = CellRunner(Store(folder, spec), data, images, machine or Machine(), progress)
    _check_machine(spec, runner.machine)
    with exclusive(folder) if runner.writes else nullcontext():
        store = runner.store
        if runner.writes:
            Store.create(folder, spec, spec_text)
            _note_environment(store, runner.machine)
            store.write_note(COVERAGE, {"line": covered.line()})
        progress.started(cells=len(store.cells), epochs=spec.config().epochs, coverage=covered.line())
        reasons = {cell: runner.run(cell, retry_failed=retry_failed) for cell in store.cells}
        if runner.writes:
            store.write_tables()
        runner.wait_for_all()
    return Outcome(store, {cell: reason for cell, reason in reasons.items() if reason})


def _check_machine(spec: Spec, machine: Machine) -> None:
    """Raise InputError when some method cannot be trained on so many processes, before the first of them is."""
    for label in spec.labels:
        try:
            parts = spec.method(label, seed=0).portion(0, machine.processes)[2]
            check_shares(spec.config().batch_size, parts)
        except AimcError as error:
            raise InputError(f"methods.{label}: {error}") from None


def _rehearse(spec: Spec, model: nn.Module, data: DataSet) -> None:
    """Put the untrained model on every crossbar once: what cannot be programmed is told before the training."""
    few = data.training[0][:8]
    for target in spec.built_targets():
        crossbar = target.condition
        if isinstance(crossbar, Crossbar):
            ready = calibrate(model, crossbar, [few]) if crossbar.needs_ranges else crossbar
            rehearsal = replace(target.deployment, data=[few])
            list(evaluate_chips(model, [(few, data.training[1][:8])], ready, chips=[0], deployment=rehearsal))


def _note_environment(store: Store, machine: Machine) -> None:
    """Keep every distinct environment that worked on these results, in order."""
    known = store.note(ENVIRONMENT) or []
    now = environment(machine)
    if now not in known:
        store.write_note(ENVIRONMENT, [*known, now])
