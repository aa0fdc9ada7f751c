"""Progress callbacks of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from aimc_robust.experiments.spec.evaluation import TrainedModel


class EvaluationProgress:
    """Callbacks that an evaluation calls. Each does nothing by default; override those that are needed."""

    def started(self, *, models: int, targets: int, coverage: str, pilot: int | None) -> None:
        """Called when an evaluation begins.

        Args:
            models: Number of models.
            targets: Number of targets.
            coverage: Which part of the network is analog, as a sentence.
            pilot: Number of chips after which the number of further chips is decided; None: it is fixed.
        """

    def note(self, text: str) -> None:
        """Called with a remark for the user."""

    def evaluating(self, model: TrainedModel, target: str, *, done: int, chips: int) -> None:
        """Called when a model's evaluation under a target begins; `done` of at most `chips` chips are finished."""

    def chip(self, model: TrainedModel, target: str, accuracies: Sequence[float]) -> None:
        """Called after each chip, with the accuracies of all chips up to now [percent]."""

    def finished(self, model: TrainedModel, target: str, accuracies: Sequence[float]) -> None:
        """Called when a model's evaluation under a target is finished."""

    def explaining(self, description: str, *, done: int, total: int) -> None:
        """Called when `done` of `total` steps of an attribution or a prediction are finished."""
