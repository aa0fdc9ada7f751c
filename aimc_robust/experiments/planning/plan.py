"""Plan a comparison: what is done, what is left, and an estimate of its cost on this machine."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from aimc_robust.errors import AimcError
from aimc_robust.experiments.execution.engines.cpu_gpu_allocation import available_gpus
from aimc_robust.experiments.execution.engines.local import threads_per_job
from aimc_robust.experiments.planning.cost_model import CostModel, TrialCost
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.landscape import LandscapeSpec
from aimc_robust.targets.target import Target
from aimc_robust.training.fabric import Machine
from aimc_robust.training.resumption import FINISHED, UNFINISHED


class State(Enum):
    """How far a trial is."""

    DONE = "done"
    FAILED = "failed"  # not run again by itself
    TRAINED = "trained"  # but not evaluated on all chips
    SHARED = "shared"  # its training exists, or an earlier trial makes it; only the evaluation is left
    STARTED = "started"
    TODO = "to do"


@dataclass(frozen=True)
class Estimate:
    """Cost of what is left of a trial.

    Attributes:
        seconds: Time, with the threads that each of several trials at a time has [s].
        disk_bytes: Size of the checkpoints that it will write.
    """

    seconds: float
    disk_bytes: int


@dataclass(frozen=True)
class PlannedTrial:
    """State of a trial, and what is left of it.

    Attributes:
        trial: The trial.
        state: How far it is.
        epochs: Epochs that are done, if the training started.
        all_epochs: Epochs of the training.
        missing: Target or landscape -> number of chips or points without a row.
        reason: Why it failed, or None.
        estimate: Cost of what is left; None if it cannot be estimated, or nothing is left.
    """

    trial: Trial
    state: State
    epochs: int
    all_epochs: int
    missing: dict[str, int]
    reason: str | None = None
    estimate: Estimate | None = None

    @property
    def needs_training(self) -> bool:
        """Whether training is left."""
        return self.state in (State.STARTED, State.TODO)

    @property
    def is_pending(self) -> bool:
        """Whether `compare` would run it."""
        return self.state not in (State.DONE, State.FAILED)


@dataclass(frozen=True)
class Plan:
    """The trials of a comparison with their states and estimates.

    Attributes:
        spec: The spec.
        trials: The trials, in the order in which they run.
        jobs: Requested number of trials at a time.
        workers: Actual number of trials at a time: at most the number of GPUs.
        device: Name of the device.
        measured: What was measured, as text.
        problems: Why some trials have no estimate.
    """

    spec: ComparisonSpec
    trials: tuple[PlannedTrial, ...]
    jobs: int
    workers: int
    device: str
    measured: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def _estimates(self) -> list[Estimate]:
        return [planned.estimate for planned in self.trials if planned.estimate]

    @property
    def seconds(self) -> float:
        """Time of all estimated trials, `workers` at a time [s]."""
        return makespan((estimate.seconds for estimate in self._estimates), self.workers)

    @property
    def disk_bytes(self) -> int:
        """Size of the checkpoints that will be written."""
        return sum(estimate.disk_bytes for estimate in self._estimates)


def plan(
    spec: ComparisonSpec,
    folder: Path,
    *,
    data_folder: Path = Path(),
    model_cache: Path | None = None,
    machine: Machine | None = None,
    jobs: int = 1,
    on_status: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Return the state of every trial, and estimate what is left by timing it on this machine. Writes nothing.

    If data are missing or a network cannot be built, the trials are listed without estimates, and the reason is among
    `problems`.

    Args:
        spec: The spec.
        folder: The results folder.
        data_folder: Where relative data paths start.
        model_cache: A folder of trained models that several comparisons share, or None.
        machine: Where models would be trained.
        jobs: Trials at a time, each with its share of the cores.
        on_status: Called with a line about each measurement before it starts.

    Raises:
        ResultsError: if the folder holds results of another spec.
    """
    machine = machine or Machine()
    results = ComparisonResults(folder, spec)
    results.check()
    trials = trial_states(results, model_cache)
    on_cpu = machine.device_name == "cpu"
    workers = jobs if on_cpu else min(jobs, len(available_gpus(machine)) or 1)
    threads = threads_per_job(jobs) if jobs > 1 and on_cpu else None
    cost_model = CostModel(spec, data_folder=data_folder, machine=machine, threads=threads, on_status=on_status)
    problems: dict[str, None] = {}
    planned = tuple(_with_estimate(spec, trial, cost_model, problems) for trial in trials)
    return Plan(spec, planned, jobs, workers, machine.device_name, tuple(cost_model.lines), tuple(problems))


def trial_states(results: ComparisonResults, model_cache: Path | None = None) -> list[PlannedTrial]:
    """Return every trial with its state, from the files alone, without estimates.

    Args:
        results: The results folder.
        model_cache: A folder of trained models that several comparisons share, or None.
    """
    planned_recipes: set[str] = set()
    return [_planned_trial(results, trial, model_cache, planned_recipes) for trial in results.trials]


def _planned_trial(
    results: ComparisonResults, trial: Trial, model_cache: Path | None, planned_recipes: set[str]
) -> PlannedTrial:
    """Return a trial with its state. `planned_recipes`: those that earlier trials will add to the model cache."""
    done = {(row["target"], row["chip"]) for row in results.evaluations(trial)}
    missing = {
        target.name: count
        for target in results.targets
        if (count := sum((target.name, chip) not in done for chip in range(target.chips(results.spec.chips))))
    }
    missing |= {name: len(points) for name, points in results.missing_points(trial).items() if points}
    recipe = results.spec.recipe(trial.model, trial.train_seed)
    run_folder, shared = results.run_folder(trial), None if model_cache is None else model_cache / recipe
    if shared is not None and (run_folder / UNFINISHED).exists():
        shared = None  # a training that was started in the run folder continues there
    history = results.history(trial) or ([] if shared is None else results.history(trial, shared))
    epochs, all_epochs = len(history), results.spec.config_of(trial.model).epochs
    reason = results.failure(trial)
    if reason is not None:
        state = State.FAILED
    elif not missing:
        state = State.DONE
    elif results.is_trained(trial):
        state = State.TRAINED
    elif shared is not None and ((shared / FINISHED).exists() or recipe in planned_recipes):
        state = State.SHARED
    else:
        can_resume = any((path / UNFINISHED).exists() for path in (run_folder, shared) if path is not None)
        state, epochs = (State.STARTED, epochs) if can_resume else (State.TODO, 0)
        if shared is not None:
            planned_recipes.add(recipe)
    return PlannedTrial(trial, state, epochs, all_epochs, missing, reason)


def _with_estimate(
    spec: ComparisonSpec, planned: PlannedTrial, cost_model: CostModel, problems: dict[str, None]
) -> PlannedTrial:
    """Return the trial with an estimate; if there is none, add the reason to `problems`."""
    if not planned.is_pending:
        return planned
    label = planned.trial.model
    measured: list[Target | LandscapeSpec] = [*spec.build_targets(), *spec.landscapes]
    targets = [target for target in measured if target.name in planned.missing]
    try:
        cost = cost_model.cost(label, targets)
    except AimcError as error:
        problems[str(error)] = None
        return planned
    checkpoints = len(spec.config_of(label).selections) if planned.needs_training else 0
    return replace(planned, estimate=Estimate(_remaining_s(planned, cost), checkpoints * cost.weights_bytes))


def _remaining_s(planned: PlannedTrial, cost: TrialCost) -> float:
    epochs = planned.all_epochs - planned.epochs if planned.needs_training else 0
    return epochs * cost.epoch_s + sum(chips * cost.chip_s[name] for name, chips in planned.missing.items())


def makespan(costs: Iterable[float], jobs: int) -> float:
    """Return when the last of `jobs` workers ends, if each takes the most expensive task that is left.

    At most (4/3 - 1/(3 jobs)) times that of the best order.

    References:
        R. Graham, Bounds on multiprocessing timing anomalies, 1969, Theorem 2.
    """
    ends = [0.0] * jobs
    for cost in sorted(costs, reverse=True):
        heapq.heapreplace(ends, ends[0] + cost)
    return max(ends)
