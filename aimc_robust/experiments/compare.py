"""Run a comparison: train every method and seed of a spec, evaluate each model on every target, write rows."""

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from aimc_robust.errors import InputError
from aimc_robust.experiments.callbacks.progress import ExperimentProgress, ExperimentSize
from aimc_robust.experiments.execution.dry_run import dry_run
from aimc_robust.experiments.execution.engines.base import Engine
from aimc_robust.experiments.execution.engines.serial import SerialEngine
from aimc_robust.experiments.execution.trial_runner import RunContext, TrialRunner, use_runner
from aimc_robust.experiments.planning.remaining import remaining_work
from aimc_robust.experiments.results.archive import check_not_packed
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.environment import describe_environment
from aimc_robust.experiments.results.files import lock_folder
from aimc_robust.experiments.results.folder import UNKNOWN_COVERAGE
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.files import with_file_digests
from aimc_robust.training.fabric import Machine
from aimc_robust.training.resumption import restore_history


@dataclass(frozen=True)
class ComparisonOutcome:
    """The outcome of `compare`."""

    results: ComparisonResults
    failed: dict[Trial, str]  # with the reason


def compare(
    spec: ComparisonSpec,
    folder: Path,
    *,
    spec_text: str | None = None,
    data_folder: Path = Path(),
    model_cache: Path | None = None,
    progress: ExperimentProgress | None = None,
    machine: Machine | None = None,
    engine: Engine | None = None,
    part: tuple[int, int] = (1, 1),
    retry_failed: bool = False,
) -> ComparisonOutcome:
    """Train every method and seed of a spec, evaluate each model on every target, and write rows and tables.

    Finished models are not trained again and finished chips not evaluated again: after any interruption the same call
    continues, and ends with the numbers of an uninterrupted run. A trial whose training diverges or runs out of memory
    is recorded as failed; the others continue.

    Args:
        spec: The spec, see `load_spec`.
        folder: The results folder; created if it does not exist.
        spec_text: The spec as TOML text, stored with the results; default: made from `spec`.
        data_folder: Where relative data paths start.
        model_cache: A folder of trained models that several comparisons share; None: each trial is trained anew.
        progress: Callbacks.
        machine: Devices and processes that train one model; default: one device. With several processes each one
            calls this function, and the first one writes.
        engine: Where trials run; default: in this process, one after the other.
        part: (i, n) runs every n-th trial from the i-th on. Results of several machines are merged afterwards.
        retry_failed: Run failed trials again.

    Raises:
        InputError: if an argument is invalid, or the spec does not fit the data, the model or the machine.
        DataError: if the data are missing or damaged.
        CheckpointError: if a stored model does not belong to the spec.
        ResultsError: if the folder holds results of another spec, is locked, or is not writable.

    Examples:
        >>> from pathlib import Path
        >>> import aimc_robust as ar
        >>> spec = ar.load_spec(Path("benchmarks/quickstart.toml"))  # doctest: +SKIP
        >>> outcome = ar.compare(spec, Path("results/quickstart"))  # doctest: +SKIP
        >>> outcome.results.table()  # a row per model, target and chip  # doctest: +SKIP
    """
    machine, engine, progress = machine or Machine(), engine or SerialEngine(), progress or ExperimentProgress()
    if machine.processes > 1 and not isinstance(engine, SerialEngine):
        raise InputError(
            f"a machine of {machine.processes} processes trains one model at a time; use the serial engine."
        )
    spec = with_file_digests(spec, data_folder)
    cache = None if model_cache is None else model_cache.absolute()
    context = RunContext(folder.absolute(), data_folder.absolute(), cache, machine, retry_failed)
    runner = TrialRunner(ComparisonResults(folder, spec), context)
    results = runner.results
    trials = _select_part(results.trials, part)
    pending: list[Trial] = []
    if runner.writes:
        results.check()
        pending = [trial for trial in trials if retry_failed or not _is_complete(results, trial)]
        check_not_packed(folder, pending)
    knows_coverage = runner.writes and results.coverage != UNKNOWN_COVERAGE
    coverage_lines, mappings, unfit = dry_run(runner, pending if knows_coverage else trials)
    with lock_folder(folder) if runner.writes else nullcontext():
        if runner.writes:
            ComparisonResults.create(folder, spec).write_spec_text(spec_text)
            for trial in filter(results.is_trained, results.trials):
                restore_history(results.run_folder(trial), results.history(trial))
            if coverage_lines:
                results.record_coverage("; ".join(coverage_lines), mappings)
            if pending:
                results.record_environment(describe_environment(machine, engine.threads))
            for trial in pending:
                if trial.model in unfit:
                    results.record_failure(trial, unfit[trial.model])
            pending = [trial for trial in pending if trial.model not in unfit]
        failures = _report_known_outcomes(runner, trials, pending, progress)
        with use_runner(runner) if isinstance(engine, SerialEngine) else nullcontext():
            failures |= engine.run(context, _schedule(spec, _broadcast_trials(runner, pending), engine), progress)
        if runner.writes and (pending or unfit or not (folder / "summary.csv").exists()):
            results.write_tables()
        runner.wait_for_all()
    failed = {trial: reason for trial, reason in failures.items() if reason}
    return ComparisonOutcome(results, failed)


def _select_part(trials: list[Trial], part: tuple[int, int]) -> list[Trial]:
    number, parts = part
    if not 1 <= number <= parts:
        raise InputError(f"part (i, n) needs 1 <= i <= n, such as 1/3 to 3/3, got {number}/{parts}.")
    return trials[number - 1 :: parts]


def _is_complete(results: ComparisonResults, trial: Trial) -> bool:
    return results.failure(trial) is not None or results.is_evaluated(trial)


def _report_known_outcomes(
    runner: TrialRunner, trials: list[Trial], pending: list[Trial], progress: ExperimentProgress
) -> dict[Trial, str | None]:
    """Report the start, and the trials that finished or failed earlier. Return the failure reason of every trial."""
    results, spec = runner.results, runner.results.spec
    size = ExperimentSize(
        trials=len(trials),
        epochs=max(spec.config_of(label).epochs for label in spec.labels),
        models=Counter(trial.model for trial in trials),
        target_names=[target.name for target in results.targets],
        metric=results.metric,
        coverage=results.coverage if runner.writes else "",
        work=remaining_work(results, pending, runner.context.model_cache),
    )
    progress.started(size)
    if not runner.writes:
        return {}
    failures = {trial: results.failure(trial) for trial in results.trials}
    known = set(trials) - set(pending)
    for trial, reason in failures.items():
        if trial not in known:
            continue
        if reason is not None:
            progress.failed(trial, reason)
        elif results.is_evaluated(trial):
            progress.finished(trial, results.means(trial))
    return failures


def _broadcast_trials(runner: TrialRunner, pending: list[Trial]) -> list[Trial]:
    """Return the first process's pending trials, in every process."""
    if runner.machine.processes == 1:
        return pending
    names = set(runner.broadcast([str(trial) for trial in pending]))
    return [trial for trial in runner.results.trials if str(trial) in names]


def _schedule(spec: ComparisonSpec, trials: list[Trial], engine: Engine) -> list[Trial]:
    """Order trials by decreasing cost if several run at a time, so that no long one is left at the end."""
    if isinstance(engine, SerialEngine):
        return trials  # seed by seed, so that an early look compares all methods
    costs = {
        label: spec.method(label, seed=0).passes_per_update * spec.config_of(label).epochs for label in spec.labels
    }
    return sorted(trials, key=lambda trial: -costs[trial.model])
