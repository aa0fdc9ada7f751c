"""What a comparison has done and what is left of it, with an estimate of its cost on this machine."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from aimc_robust.errors import AimcError
from aimc_robust.experiments.execution.engines.cpu_gpu_allocation import available_gpus
from aimc_robust.experiments.execution.engines.local import LocalEngine
from aimc_robust.experiments.planning.cost_model import CostModel, TrialCost
from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.training.fabric import Machine
from aimc_robust.training.resumption import FINISHED, UNFINISHED

DONE, FAILED, TRAINED, SHARED, STARTED, TODO = "done", "failed", "trained", "shared", "started", "to do"


@dataclass(frozen=True)
class Estimate:
    """What is left of a trial: seconds with one job, and among several side by side; bytes of checkpoints to come."""

    serial_s: float
    parallel_s: float
    disk_bytes: int


@dataclass(frozen=True)
class PlannedTrial:
    """A model's state, and how far it is.

    state: DONE; FAILED, for `reason` (it is not tried again by itself); TRAINED, but not evaluated on all; SHARED, its
    training is there or made by an earlier trial, so only the evaluation is left; STARTED, at `epochs` of `all_epochs`;
    TODO. missing: target -> chips without a row. estimate: of what is left; None where it cannot be estimated.
    """

    trial: Trial
    state: str
    epochs: int
    all_epochs: int
    missing: dict[str, int]
    reason: str | None = None
    estimate: Estimate | None = None

    @property
    def trains(self) -> bool:
        """Whether there is training left."""
        return self.state in (STARTED, TODO)

    @property
    def is_pending(self) -> bool:
        """Whether `compare` would work on it."""
        return self.state not in (DONE, FAILED)


@dataclass(frozen=True)
class Plan:
    """The trials in the order in which they run.

    workers: trials that truly run at a time, of `jobs`: not more than GPUs. measured: what the estimates rest on.
    problems: why some trials have none.
    """

    spec: ComparisonSpec
    trials: tuple[PlannedTrial, ...]
    jobs: int
    workers: int
    device: str
    measured: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def serial_s(self) -> float:
        """Seconds of all that could be estimated, one after the other."""
        return sum(planned.estimate.serial_s for planned in self.trials if planned.estimate)

    @property
    def parallel_s(self) -> float:
        """The same side by side."""
        return makespan((planned.estimate.parallel_s for planned in self.trials if planned.estimate), self.workers)

    @property
    def disk_bytes(self) -> int:
        """Size of the checkpoints to come."""
        return sum(planned.estimate.disk_bytes for planned in self.trials if planned.estimate)


def plan(
    spec: ComparisonSpec,
    folder: Path,
    *,
    data_folder: Path,
    models: Path | None = None,
    machine: Machine | None = None,
    jobs: int = 1,
    told: Callable[[str], None] = lambda line: None,
) -> Plan:
    """The state of every trial of `spec` in `folder`, and what is left, timed on this machine. Writes nothing.

    data_folder: where relative data paths start. models: a folder of trained models that comparisons share. jobs: trials
    at a time, each with its share of the cores. told: called with a line on each timing that is about to begin.
    Where data are missing, or a network cannot be built, the trials are listed all the same, with the reason among
    `problems`. Raises ResultsError when the folder holds another spec's results.
    """
    machine = machine or Machine()
    store = ComparisonResults(folder, spec)
    store.check()
    trials = trial_states(store, models)
    on_cpu = machine.device_name == "cpu"
    workers = jobs if on_cpu else min(jobs, len(available_gpus(machine)) or 1)
    threads = LocalEngine(jobs).threads if jobs > 1 and on_cpu else None
    alone = CostModel(spec, data_folder=data_folder, machine=machine, told=told)
    beside = alone
    if threads is not None and threads != torch.get_num_threads():
        beside = CostModel(spec, data_folder=data_folder, machine=machine, threads=threads, told=told)
    problems: dict[str, None] = {}
    planned = tuple(_estimated(spec, trial, alone, beside, problems) for trial in trials)
    measured = list(alone.lines)
    if beside is not alone:
        measured += [f"{line}, with {threads} thread{'s' if threads > 1 else ''}" for line in beside.lines]
    return Plan(spec, planned, jobs, workers, machine.device_name, tuple(measured), tuple(problems))


def trial_states(store: ComparisonResults, models: Path | None = None) -> list[PlannedTrial]:
    """Every trial with its state, without estimates; from the files alone."""
    made: set[str] = set()
    return [_state(store, trial, models, made) for trial in store.trials]


def _state(store: ComparisonResults, trial: Trial, models: Path | None, made: set[str]) -> PlannedTrial:
    """made: recipes that earlier trials bring into `models`."""
    done = {(row["target"], row["chip"]) for row in store.evaluations(trial)}
    missing = {
        target.name: count
        for target in store.targets
        if (count := sum((target.name, chip) not in done for chip in range(target.chips(store.spec.chips))))
    }
    recipe = store.spec.recipe(trial.method, trial.seed)
    own, shared = store.run_folder(trial), None if models is None else models / recipe
    if shared is not None and (own / UNFINISHED).exists():
        shared = None  # what the run folder has started goes on there
    history = store.history(trial) or ([] if shared is None else store.history(trial, shared))
    epochs, all_epochs = len(history), store.spec.config_of(trial.method).epochs
    reason = store.failure(trial)
    if reason is not None:
        state = FAILED
    elif not missing:
        state = DONE
    elif store.is_trained(trial):
        state = TRAINED
    elif shared is not None and ((shared / FINISHED).exists() or recipe in made):
        state = SHARED
    else:
        goes_on = any((place / UNFINISHED).exists() for place in (own, shared) if place is not None)
        state, epochs = (STARTED, epochs) if goes_on else (TODO, 0)
        if shared is not None:
            made.add(recipe)
    return PlannedTrial(trial, state, epochs, all_epochs, missing, reason)


def _estimated(
    spec: ComparisonSpec, planned: PlannedTrial, alone: CostModel, beside: CostModel, problems: dict[str, None]
) -> PlannedTrial:
    """The trial with an estimate, or its reason for having none among `problems`."""
    if not planned.is_pending:
        return planned
    label = planned.trial.method
    targets = [target for target in spec.build_targets() if target.name in planned.missing]
    try:
        costs = [timer.cost(label, targets) for timer in (alone, beside)]
    except AimcError as error:
        problems[str(error)] = None
        return planned
    files = len(spec.config_of(label).selections) if planned.trains else 0
    seconds = [_left_s(planned, cost) for cost in costs]
    found = Estimate(seconds[0], seconds[1], files * costs[0].weights_bytes)
    return PlannedTrial(**{**vars(planned), "estimate": found})


def _left_s(planned: PlannedTrial, cost: TrialCost) -> float:
    epochs = planned.all_epochs - planned.epochs if planned.trains else 0
    return epochs * cost.epoch_s + sum(chips * cost.chip_s[name] for name, chips in planned.missing.items())


def makespan(costs: Iterable[float], jobs: int) -> float:
    """When the last of `jobs` workers is done that take the costliest task that is left: (4/3 - 1/(3 jobs)) of the best
    order at most (R. Graham, Bounds on multiprocessing timing anomalies, 1969, Theorem 2).
    """
    ends = [0.0] * jobs
    for cost in sorted(costs, reverse=True):
        heapq.heapreplace(ends, ends[0] + cost)
    return max(ends)
