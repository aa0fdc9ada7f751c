"""What a comparison tells whoever watches it. The base listens in silence."""

from aimc_robust.experiments.results.trial import Trial
from aimc_robust.io.atomic import Row


class ComparisonProgress:
    """Override what is to be shown."""

    def started(self, *, trials: int, epochs: int, coverage: str) -> None:
        """A comparison of so many models with so many epochs each begins."""

    def training(self, trial: Trial, *, done: int) -> None:
        """A model's training begins, or goes on after `done` epochs."""

    def epoch(self, trial: Trial, row: Row) -> None:
        """An epoch is done; `row` is its history row."""

    def evaluating(self, trial: Trial, target: str) -> None:
        """A model's evaluation under a target begins."""

    def finished(self, trial: Trial, accuracies: dict[str, float]) -> None:
        """A model is trained and evaluated: target -> mean accuracy [percent]."""

    def failed(self, trial: Trial, reason: str) -> None:
        """A model has no result."""
