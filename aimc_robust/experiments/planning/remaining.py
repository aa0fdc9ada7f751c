"""What is left of a comparison, and how long it takes: one estimate for `plan` and for `compare` while it runs."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
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
class RemainingWork:
    """State of a trial, and what is left of it."""

    trial: Trial
    state: State
    all_epochs: int
    epochs_left: int
    chips_left: dict[str, int]  # target or landscape -> number of chips or points without a row
    reason: str | None = None  # why it failed

    @property
    def is_pending(self) -> bool:
        """Whether `compare` would run it."""
        return self.state not in (State.DONE, State.FAILED)


@dataclass(frozen=True)
class Speeds:
    """How fast the work of a comparison is."""

    epoch_s: dict[str, float] = field(default_factory=dict)
    """Label -> time of an epoch with its validation and diagnostics [s]."""
    chip_s: dict[tuple[str, str], float] = field(default_factory=dict)
    """(label, target or landscape) -> time of a chip or point [s]."""

    def seconds(self, work: RemainingWork) -> float | None:
        """Return the time of what is left of a trial [s]; None if a speed that it needs is unknown."""
        label = work.trial.model
        parts = [(work.epochs_left, self.epoch_s.get(label))] if work.epochs_left else []
        parts += [(chips, self.chip_s.get((label, name))) for name, chips in work.chips_left.items() if chips]
        if any(each_s is None for _, each_s in parts):
            return None
        return sum(count * each_s for count, each_s in parts if each_s is not None)


def time_left(works: Iterable[RemainingWork], speeds: Speeds, workers: int) -> float:
    """Return when the last of `workers` ends, if each takes the longest trial that is left [s].

    Trials with an unknown speed are left out. At most (4/3 - 1/(3 workers)) times that of the best order.

    References:
        R. Graham, Bounds on multiprocessing timing anomalies, 1969, Theorem 2.
    """
    ends = [0.0] * workers
    for seconds in sorted((seconds for work in works if (seconds := speeds.seconds(work))), reverse=True):
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def remaining_work(
    results: ComparisonResults, trials: Iterable[Trial], model_cache: Path | None = None
) -> list[RemainingWork]:
    """Return what is left of each of `trials`, in the order in which they run, from the files alone."""
    planned_recipes: set[str] = set()  # that earlier trials will add to the model cache
    epochs = {label: results.spec.config_of(label).epochs for label in results.spec.labels}
    return [_remaining_work(results, trial, epochs[trial.model], model_cache, planned_recipes) for trial in trials]


def _remaining_work(
    results: ComparisonResults, trial: Trial, epochs: int, model_cache: Path | None, planned_recipes: set[str]
) -> RemainingWork:
    chips_left = {name: len(left) for name, left in results.missing(trial).items()}
    folder = results.training_folder(trial, model_cache)
    is_shared = folder != results.run_folder(trial)
    epochs_left = epochs
    reason = results.failure(trial)
    if not chips_left:
        state, epochs_left = State.DONE, 0
    elif results.is_trained(trial):
        state, epochs_left = State.TRAINED, 0
    elif is_shared and ((folder / FINISHED).exists() or folder.name in planned_recipes):
        state, epochs_left = State.SHARED, 0
    else:
        is_started = (folder / UNFINISHED).exists()
        state = State.STARTED if is_started else State.TODO
        epochs_left -= len(results.history(trial, folder)) if is_started else 0
        if is_shared and reason is None:
            planned_recipes.add(folder.name)
    if reason is not None:
        state = State.FAILED
    return RemainingWork(trial, state, epochs, epochs_left, chips_left, reason)
