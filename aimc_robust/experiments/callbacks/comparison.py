"""What a comparison tells whoever watches it. The base listens in silence."""

from aimc_robust.experiments.results.trial import Cell
from aimc_robust.io.atomic import Row


class Progress:
    """Override what is to be shown."""

    def started(self, *, cells: int, epochs: int, coverage: str) -> None:
        """A comparison of so many models with so many epochs each begins."""

    def training(self, cell: Cell, *, done: int) -> None:
        """A model's training begins, or goes on after `done` epochs."""

    def epoch(self, cell: Cell, row: Row) -> None:
        """An epoch is done; `row` is its history row."""

    def evaluating(self, cell: Cell, target: str) -> None:
        """A model's evaluation under a target begins."""

    def finished(self, cell: Cell, accuracies: dict[str, float]) -> None:
        """A model is trained and evaluated: target -> mean accuracy [percent]."""

    def failed(self, cell: Cell, reason: str) -> None:
        """A model has no result."""
