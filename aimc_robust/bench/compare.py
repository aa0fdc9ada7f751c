"""The main job: train every method and seed of a spec, evaluate each model on every target, leave rows."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from aimc_robust.bench.data import DataSet, load_data
from aimc_robust.bench.environment import environment
from aimc_robust.bench.models import build_model
from aimc_robust.bench.progress import Progress
from aimc_robust.bench.spec import Spec
from aimc_robust.bench.store import COVERAGE, ENVIRONMENT, Cell, Store, exclusive
from aimc_robust.bench.targets import Target
from aimc_robust.errors import DivergenceError
from aimc_robust.evaluation.chips import Condition, Deployment, evaluate_chips
from aimc_robust.files import Row
from aimc_robust.hardware import Crossbar, calibrate, coverage
from aimc_robust.metrics import Measurement, batches_of
from aimc_robust.training.images import Images
from aimc_robust.training.loop import EVALUATION_BATCH, train

# Training images, without their labels, that find converter ranges and BatchNorm statistics on the chip.
UNLABELLED_BATCH, UNLABELLED_BATCHES = 128, 4


@dataclass(frozen=True)
class Outcome:
    """What a comparison came to: the cells that failed, with their reasons."""

    store: Store
    failed: dict[Cell, str]


def compare(
    spec: Spec, spec_text: str, folder: Path, *, data_folder: Path, progress: Progress, retry_failed: bool = False
) -> Outcome:
    """Run what is not done yet of `spec`, into `folder`, and write the tables.

    spec_text: the spec as its author wrote it, kept with the results. data_folder: where relative data paths start.
    A finished model is not trained again, a finished chip not evaluated again: the same call after any interruption
    ends with the numbers of an undisturbed run. A cell whose training diverges is recorded as failed, and not tried
    again unless `retry_failed`; the others go on.
    Raises DataError, InputError, CheckpointError or ResultsError before anything is overwritten.
    """
    data = load_data(spec.data, seed=spec.seed, folder=data_folder)
    model = build_model(spec.model, data, seed=spec.seeds[0])
    covered = coverage(model, data.test[0][:1])
    _rehearse(spec, model, data)
    with exclusive(folder):
        store = Store.create(folder, spec, spec_text)
        _note_environment(store)
        store.write_note(COVERAGE, {"line": covered.line()})
        progress.started(cells=len(store.cells), epochs=spec.config().epochs, coverage=covered.line())
        failed = {cell: reason for cell in store.cells if (reason := _run(store, cell, data, progress, retry_failed))}
        store.write_tables()
    return Outcome(store, failed)


def _rehearse(spec: Spec, model: nn.Module, data: DataSet) -> None:
    """Put the untrained model on every crossbar once: what cannot be programmed is told before the training."""
    few = data.training[0][:8]
    for target in spec.built_targets():
        crossbar = target.condition
        if isinstance(crossbar, Crossbar):
            ready = calibrate(model, crossbar, [few]) if crossbar.needs_ranges else crossbar
            rehearsal = replace(target.deployment, data=[few])
            list(evaluate_chips(model, [(few, data.training[1][:8])], ready, chips=[0], deployment=rehearsal))


def _run(store: Store, cell: Cell, data: DataSet, progress: Progress, retry_failed: bool) -> str | None:
    """Train and evaluate one cell as far as it is not done; returns why it failed, or None."""
    if retry_failed:
        store.forget_failure(cell)
    reason = store.failure(cell)
    if reason is None:
        try:
            model = _trained(store, cell, data, progress)
            progress.finished(cell, _evaluated(store, cell, model, data, progress))
            return None
        except DivergenceError as error:
            reason = str(error)
            store.record_failure(cell, reason)
    progress.failed(cell, reason)
    return reason


def _trained(store: Store, cell: Cell, data: DataSet, progress: Progress) -> nn.Module:
    spec, config = store.spec, store.spec.config()
    progress.training(cell, done=len(store.history(cell)))
    return train(
        build_model(spec.model, data, seed=cell.seed),
        spec.method(cell.method, seed=cell.seed),
        config,
        training_set=Images(*data.training, black=data.black, augmentation=spec.data.built_augmentation()),
        validation_set=data.validation,
        seed=cell.seed,
        folder=store.run_folder(cell),
        data_id=data.id,
        on_epoch=lambda row: progress.epoch(cell, row),
    ).model


def _evaluated(store: Store, cell: Cell, model: nn.Module, data: DataSet, progress: Progress) -> dict[str, float]:
    """Evaluate what is missing; returns target -> mean accuracy over all chips."""
    batches = batches_of(data.test, EVALUATION_BATCH)
    done = {(row["target"], row["chip"]) for row in store.evaluations(cell)}
    targets = store.spec.built_targets()
    for target in targets:
        chips = [chip for chip in range(target.chips(store.spec.chips)) if (target.name, chip) not in done]
        if not chips:
            continue
        progress.evaluating(cell, target.name)
        condition, deployment = _ready(store, cell, target, model, data)
        found = evaluate_chips(model, batches, condition, chips=chips, seed=store.spec.seed, deployment=deployment)
        for chip, measured in found:
            store.add_evaluations(cell, [_row(cell, target, chip, measured)])
    rows = store.evaluations(cell)
    accuracies = {target.name: [r["accuracy"] for r in rows if r["target"] == target.name] for target in targets}
    return {name: sum(values) / len(values) for name, values in accuracies.items()}


def _ready(
    store: Store, cell: Cell, target: Target, model: nn.Module, data: DataSet
) -> tuple[Condition, Deployment | None]:
    """The target's condition with this model's converter ranges, and its deployment with data to compensate with."""
    crossbar = target.condition
    if not isinstance(crossbar, Crossbar):
        return crossbar, None
    inputs = [inputs for inputs, _ in batches_of(data.training, UNLABELLED_BATCH)[:UNLABELLED_BATCHES]]
    if crossbar.needs_ranges:
        ranges = store.ranges(cell, target.name)
        if ranges is None:
            ranges = calibrate(model, crossbar, inputs).ranges
            store.keep_ranges(cell, target.name, ranges)
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


def _note_environment(store: Store) -> None:
    """Keep every distinct environment that worked on these results, in order."""
    known = store.note(ENVIRONMENT) or []
    now = environment()
    if now not in known:
        store.write_note(ENVIRONMENT, [*known, now])
