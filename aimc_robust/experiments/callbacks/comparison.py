"""Progress callbacks of a comparison."""

from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row


class ComparisonProgress:
    """Callbacks that a comparison calls. Each does nothing by default; override those that are needed."""

    def started(self, *, trials: int, epochs: int, coverage: str) -> None:
        """Called when a comparison begins.

        Args:
            trials: Number of models.
            epochs: Largest number of epochs of a model.
            coverage: Which part of the network is analog, as a sentence.
        """

    def training(self, trial: Trial, *, done: int) -> None:
        """Called when a model's training begins, or resumes after `done` epochs."""

    def epoch(self, trial: Trial, row: Row) -> None:
        """Called after an epoch; `row` is its row of the training history."""

    def evaluating(self, trial: Trial, target: str) -> None:
        """Called when a model's evaluation under a target begins."""

    def finished(self, trial: Trial, accuracies: dict[str, float]) -> None:
        """Called when a model is trained and evaluated; `accuracies` is target -> mean accuracy [percent]."""

    def failed(self, trial: Trial, reason: str) -> None:
        """Called when a model has no result."""
