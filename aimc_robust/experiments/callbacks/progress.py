"""Progress callbacks of experiments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aimc_robust.experiments.planning.remaining import RemainingWork
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row
from aimc_robust.statistics.primary_metric import ACCURACY, PrimaryMetric


@dataclass(frozen=True, kw_only=True)
class ExperimentSize:
    """What an experiment is about to do."""

    trials: int
    epochs: int = 0  # largest number that a model is trained for; 0: nothing is trained
    models: Mapping[str, int] = field(default_factory=dict)  # label of a method -> its number of trials
    target_names: Sequence[str] = ()
    coverage: str = ""  # which part of the network is analog, as a sentence
    metric: PrimaryMetric = ACCURACY  # what the chips are measured by
    pilot: int | None = None  # number of chips after which that of further chips is decided; None: it is fixed
    work: Sequence[RemainingWork] = ()  # what is left of the trials that a comparison runs


class ExperimentProgress:
    """Callbacks of comparisons and evaluations. Each does nothing by default; override those that are needed."""

    def started(self, size: ExperimentSize) -> None:
        """Called when an experiment begins."""

    def note(self, text: str) -> None:
        """Called with a remark for the user."""

    def training(self, trial: Trial, *, done: int) -> None:
        """Called when a model's training begins, or resumes after `done` epochs."""

    def epoch(self, trial: Trial, row: Row) -> None:
        """Called after an epoch; `row` is its row of the training history."""

    def evaluating(self, trial: Trial, target: str, *, done: int, chips: int) -> None:
        """Called when a model's evaluation under a target or landscape begins; `done` of at most `chips` are done."""

    def chip(self, trial: Trial, target: str, values: Sequence[float]) -> None:
        """Called after each chip, with the primary metric of all chips up to now."""

    def evaluated(self, trial: Trial, target: str, values: Sequence[float]) -> None:
        """Called when a model's evaluation under a target is finished."""

    def explaining(self, description: str, *, done: int, total: int) -> None:
        """Called when `done` of `total` steps of an attribution or a prediction are finished."""

    def finished(self, trial: Trial, means: dict[str, float]) -> None:
        """Called when a model is evaluated under all targets; `means` is target -> mean of the primary metric."""

    def failed(self, trial: Trial, reason: str) -> None:
        """Called when a model has no result."""


Call = tuple[str, tuple[Any, ...], dict[str, Any]]
"""(name of the callback, arguments, keyword arguments)."""


class ForwardingProgress(ExperimentProgress):
    """Pass every callback to `send` as a `Call`, for example to another process."""

    def __init__(self, send: Callable[[Call], None]) -> None:
        self._send = send


class ProgressGroup(ForwardingProgress):
    """Pass every callback to each of several, in their order."""

    def __init__(self, members: Sequence[ExperimentProgress]) -> None:
        def send(call: Call) -> None:
            for member in members:
                replay(member, call)

        super().__init__(send)


def replay(progress: ExperimentProgress, call: Call) -> None:
    """Call on `progress` what a `ForwardingProgress` has sent."""
    name, args, kwargs = call
    getattr(progress, name)(*args, **kwargs)


def _forwarding(name: str) -> Callable[..., None]:
    def forward(self: ForwardingProgress, *args: Any, **kwargs: Any) -> None:
        self._send((name, args, kwargs))

    return forward


for _name in [name for name in vars(ExperimentProgress) if not name.startswith("_")]:
    setattr(ForwardingProgress, _name, _forwarding(_name))
