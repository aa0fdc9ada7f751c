"""The time that is left of a running comparison: the estimate of `plan`, with the speeds measured up to now."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from aimc_robust.experiments.callbacks.progress import ExperimentProgress, ExperimentSize
from aimc_robust.experiments.planning.remaining import RemainingWork, Speeds, time_left
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row


@dataclass
class _Mean:
    total: float = 0.0
    count: int = 0

    @property
    def value(self) -> float:
        return self.total / self.count

    def add(self, value: float) -> None:
        self.total, self.count = self.total + value, self.count + 1


class TimeLeft(ExperimentProgress):
    """Follows what is left of each trial of a comparison that has not ended."""

    def __init__(self) -> None:
        self._begin([])

    def _begin(self, work: Sequence[RemainingWork]) -> None:
        self.work = {remaining.trial: remaining for remaining in work}
        self.workers = 1  # largest number of trials that were in progress at a time
        self._last_chip: dict[Trial, float] = {}  # when the evaluation or its last chip was reported
        self._epoch_s: dict[str, _Mean] = defaultdict(_Mean)
        self._chip_s: dict[tuple[str, str], _Mean] = defaultdict(_Mean)
        self._active: set[Trial] = set()

    @property
    def seconds(self) -> float | None:
        """Estimate of the time left [s]; None before an epoch and a chip have been measured, or if nothing is left."""
        works, speeds = list(self.work.values()), self.speeds
        if not works or any(speeds.seconds(work) is None for work in works):
            return None
        return time_left(works, speeds, self.workers)

    @property
    def speeds(self) -> Speeds:
        """Mean speeds up to now. What was not measured yet is taken to be like what is similar to it.

        A method's epoch is like those of the other methods; a chip is like those of other methods under its target, or
        like all chips.
        """
        epoch_s = {label: mean.value for label, mean in self._epoch_s.items()}
        chip_s = {key: mean.value for key, mean in self._chip_s.items()}
        similar_epoch, similar_chip = fmean(epoch_s.values() or [0.0]), fmean(chip_s.values() or [0.0])
        by_target: dict[str, list[float]] = defaultdict(list)
        for (_, target), seconds in chip_s.items():
            by_target[target].append(seconds)
        targets = {target: fmean(seconds) for target, seconds in by_target.items()}
        for work in self.work.values():
            label = work.trial.model
            if self._epoch_s:
                epoch_s.setdefault(label, similar_epoch)
            for name in work.chips_left if self._chip_s else ():
                chip_s.setdefault((label, name), targets.get(name, similar_chip))
        return Speeds(epoch_s, chip_s)

    def started(self, size: ExperimentSize) -> None:
        """Take over what is left."""
        self._begin(size.work)

    def training(self, trial: Trial, *, done: int) -> None:
        """Note that a trial is in progress."""
        self._active.add(trial)
        self.workers = max(self.workers, len(self._active))
        self._set_epochs(trial, done)

    def epoch(self, trial: Trial, row: Row) -> None:
        """Measure an epoch."""
        self._epoch_s[trial.model].add(row.get("seconds", 0.0) + row.get("probe_seconds", 0.0))
        self._set_epochs(trial, row["epoch"])

    def evaluating(self, trial: Trial, target: str, *, done: int, chips: int) -> None:
        """Note what is left of an evaluation."""
        self._last_chip[trial] = time.monotonic()
        self._set_chips(trial, target, chips - done)

    def chip(self, trial: Trial, target: str, values: Sequence[float]) -> None:
        """Measure a chip."""
        now = time.monotonic()
        self._chip_s[trial.model, target].add(now - self._last_chip.get(trial, now))
        self._last_chip[trial] = now
        if trial in self.work:
            self._set_chips(trial, target, self.work[trial].chips_left.get(target, 1) - 1)

    def finished(self, trial: Trial, means: dict[str, float]) -> None:
        """Note that nothing is left of a trial."""
        self._end(trial)

    def failed(self, trial: Trial, reason: str) -> None:
        """Note that nothing is left of a trial."""
        self._end(trial)

    def _end(self, trial: Trial) -> None:
        self._active.discard(trial)
        self.work.pop(trial, None)

    def _set_epochs(self, trial: Trial, done: int) -> None:
        if trial in self.work:
            work = self.work[trial]
            self.work[trial] = replace(work, epochs_left=work.all_epochs - done)

    def _set_chips(self, trial: Trial, target: str, left: int) -> None:
        if trial in self.work:
            chips = self.work[trial].chips_left | {target: left}
            self.work[trial] = replace(self.work[trial], chips_left={name: n for name, n in chips.items() if n})
