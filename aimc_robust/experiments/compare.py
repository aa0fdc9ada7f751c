"""The main job: train every method and seed of a spec, evaluate each model on every target, leave rows."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from aimc_robust.analysis.landscape import filter_directions
from aimc_robust.data.dataset import DataSet
from aimc_robust.errors import AimcError, InputError
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.experiments.callbacks.comparison import ComparisonProgress
from aimc_robust.experiments.execution.engines.base import Engine
from aimc_robust.experiments.execution.engines.serial import SerialEngine
from aimc_robust.experiments.execution.trial_runner import RunContext, TrialRunner, use_runner
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.environment import describe_environment
from aimc_robust.experiments.results.filenames import COVERAGE, ENVIRONMENT
from aimc_robust.experiments.results.locking import lock_folder
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.hardware.calibration.converter_ranges import calibrate
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.conversion.prepare import coverage
from aimc_robust.models.registry import build_model
from aimc_robust.training.fabric import Machine, check_shares


@dataclass(frozen=True)
class ComparisonOutcome:
    """What a comparison came to: trials that failed, with their reasons; whether every trial is done or has failed."""

    store: ComparisonResults
    failed: dict[Trial, str]
    complete: bool


def compare(
    spec: ComparisonSpec,
    spec_text: str,
    folder: Path,
    *,
    data_folder: Path,
    progress: ComparisonProgress,
    retry_failed: bool = False,
    machine: Machine | None = None,
    models: Path | None = None,
    engine: Engine | None = None,
    part: tuple[int, int] = (1, 1),
) -> ComparisonOutcome:
    """Run what is not done yet of `spec`, into `folder`, and write the tables.

    spec_text: the spec as its author wrote it, kept with the results. data_folder: where relative data paths start.
    A finished model is not trained again, a finished chip not evaluated again: the same call after any interruption
    ends with the numbers of an undisturbed run. A trial whose training diverges, or that lacks memory, is recorded as
    failed, and not tried again unless `retry_failed`; the others go on. machine: devices and processes that train one
    model (default: one); every process calls this, and the first one writes. models: a folder of trained models that
    several comparisons share. engine: who runs the trials (default: this process, one after the other). part: (i, n)
    runs every n-th trial from the i-th on, for machines whose results are merged afterwards.
    Raises DataError, InputError, CheckpointError or ResultsError before anything is overwritten.
    """
    machine = machine or Machine()
    engine = engine or SerialEngine()
    if machine.processes > 1 and not isinstance(engine, SerialEngine):
        raise InputError("several devices share one model, several jobs share out the models; give one of the two.")
    work = RunContext(folder.absolute(), data_folder.absolute(), models and models.absolute(), machine, retry_failed)
    runner = TrialRunner(ComparisonResults(folder, spec), work)
    store = runner.store
    trials = _share(store.trials, part)
    waiting: list[Trial] = []
    if runner.writes:
        store.check()
        waiting = [trial for trial in trials if retry_failed or not _is_complete(store, trial)]
    lines = _rehearsed(runner, waiting if runner.writes else store.trials)
    with lock_folder(folder) if runner.writes else nullcontext():
        if runner.writes:
            ComparisonResults.create(folder, spec, spec_text)
            if lines:
                _note_environment(store, describe_environment(machine, engine.threads))
                store.write_json_file(COVERAGE, {"line": "; ".join(lines)})
        told = (store.read_json_file(COVERAGE) or {}).get("line", "") if runner.writes else ""
        progress.started(
            trials=len(trials), epochs=max(spec.config_of(label).epochs for label in spec.labels), coverage=told
        )
        reasons = {trial: store.failure(trial) for trial in store.trials} if runner.writes else {}
        for trial, reason in reasons.items():
            if trial in waiting or trial not in trials:
                continue
            if reason is not None:
                progress.failed(trial, reason)
            elif store.is_evaluated(trial):
                progress.finished(trial, store.mean_accuracies(trial))
        with use_runner(runner) if isinstance(engine, SerialEngine) else nullcontext():
            reasons |= engine.run(work, _costliest_first(spec, _known_to_all(runner, waiting), engine), progress)
        if runner.writes and (waiting or not (folder / "summary.csv").exists()):
            store.write_tables()
        runner.wait_for_all()
    failed = {trial: reason for trial, reason in reasons.items() if reason}
    return ComparisonOutcome(store, failed, runner.writes and all(_is_complete(store, trial) for trial in store.trials))


def _share(trials: list[Trial], part: tuple[int, int]) -> list[Trial]:
    number, parts = part
    if not 1 <= number <= parts:
        raise InputError(f"a part is one of so many, such as 1/3 to 3/3, got {number}/{parts}.")
    return trials[number - 1 :: parts]


def _known_to_all(runner: TrialRunner, waiting: list[Trial]) -> list[Trial]:
    """What the first process found to do, in all of them."""
    if runner.machine.processes == 1:
        return waiting
    names = runner.shared([str(trial) for trial in waiting])
    return [trial for trial in runner.store.trials if str(trial) in names]


def _costliest_first(spec: ComparisonSpec, trials: list[Trial], engine: Engine) -> list[Trial]:
    """The order for engines that run several trials at a time: no long one should be left over at the end."""
    if isinstance(engine, SerialEngine):
        return trials  # seed by seed, so that an early look compares all methods
    costs = {
        label: spec.method(label, seed=0).passes_per_update * spec.config_of(label).epochs for label in spec.labels
    }
    return sorted(trials, key=lambda trial: -costs[trial.method])


def _is_complete(store: ComparisonResults, trial: Trial) -> bool:
    return store.failure(trial) is not None or store.is_evaluated(trial)


def _rehearsed(runner: TrialRunner, trials: Iterable[Trial]) -> list[str]:
    """Load the images and build and program the untrained network of each trial, once where trials share them: what
    cannot work is told before the first training. Returns how much of each network is analog, in words.
    """
    spec, lines, seen = runner.store.spec, [], []
    for label in dict.fromkeys(trial.method for trial in trials):
        _check_machine(spec, label, runner.machine)
        wanted = (spec.data_of(label), spec.model_of(label))
        if wanted in seen:
            continue
        seen.append(wanted)
        data = runner.data(wanted[0])
        runner.images(wanted[0])  # raises for an augmentation that does not fit
        model = build_model(wanted[1], data, seed=spec.train_seeds[0])
        line = coverage(model, data.example[:1]).line()
        lines.append(line)
        _rehearse(spec, model, data)
    several = len({model.model_dump_json() for _, model in seen}) > 1
    return [f"{model.name}: {line}" for (_, model), line in zip(seen, lines, strict=True)] if several else lines[:1]


def _check_machine(spec: ComparisonSpec, label: str, machine: Machine) -> None:
    """Raise InputError when a method cannot be trained on so many processes, before the first of them is."""
    try:
        parts = spec.method(label, seed=0).shard(0, machine.processes)[2]
        check_shares(spec.config_of(label).batch_size, parts)
    except AimcError as error:
        raise InputError(f"methods.{label}: {error}") from None


def _rehearse(spec: ComparisonSpec, model: nn.Module, data: DataSet) -> None:
    """Put the untrained model on every crossbar, and move it to a place of every landscape, once: what cannot be
    programmed, or has no directions, is told before the training.
    """
    few, labels = next(iter(data.batches("training", 8, next(model.parameters()).device)))
    for target in spec.build_targets():
        crossbar = target.condition
        if isinstance(crossbar, Crossbar):
            ready = calibrate(model, crossbar, [few]) if crossbar.needs_ranges else crossbar
            rehearsal = replace(target.deployment, data=[few])
            list(evaluate_chips(model, [(few, labels)], ready, chips=[0], deployment=rehearsal))
        elif target.landscape is not None:
            step = target.landscape.step(filter_directions(model, seed=0), 0)
            list(evaluate_chips(model, [(few, labels)], step, chips=[0]))


def _note_environment(store: ComparisonResults, now: dict) -> None:
    """Keep every distinct environment that worked on these results, in order."""
    known = store.read_json_file(ENVIRONMENT) or []
    if now not in known:
        store.write_json_file(ENVIRONMENT, [*known, now])
