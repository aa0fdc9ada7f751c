"""What an evaluation tells whoever watches it."""

from __future__ import annotations

from collections.abc import Sequence

from aimc_robust.experiments.spec.evaluation import TrainedModel


class EvaluationProgress:
    """What an evaluation tells whoever watches it. The base listens in silence."""

    def started(self, *, models: int, targets: int, coverage: str, pilot: int | None) -> None:
        """An evaluation of so many models on so many targets begins. pilot: chips that decide how many follow."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def evaluating(self, model: TrainedModel, target: str, *, done: int, chips: int) -> None:
        """A model's evaluation on a target begins; `done` of at most `chips` chips are there already."""

    def chip(self, model: TrainedModel, target: str, accuracies: Sequence[float]) -> None:
        """A chip is done: all accuracies so far [percent]."""

    def finished(self, model: TrainedModel, target: str, accuracies: Sequence[float]) -> None:
        """A model's evaluation on a target is done."""

    def explaining(self, what: str, *, done: int, total: int) -> None:
        """So much of an attribution or a prediction is done."""
