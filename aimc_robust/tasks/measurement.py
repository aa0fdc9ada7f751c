"""What is measured of a model on labelled data."""

from __future__ import annotations

from typing import NamedTuple


class Measurement(NamedTuple):
    """Result of `Task.measure`.

    Attributes:
        metric: Name of the task's primary metric.
        value: The primary metric, in its unit.
        loss: Mean loss without label smoothing, in nats for a cross-entropy; None for a task without a loss.
        n: Number of items: images, tokens, pixels.
        metrics: (name, value) of each further metric; None for a value that is not finite.
    """

    metric: str
    value: float
    loss: float | None
    n: int
    metrics: tuple[tuple[str, float | None], ...] = ()

    def row(self) -> dict[str, float | int | None]:
        """Return the measurement as a table row: column -> value."""
        return {self.metric: self.value, "loss": self.loss, "n": self.n, **dict(self.metrics)}
