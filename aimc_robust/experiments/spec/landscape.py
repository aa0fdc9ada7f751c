"""The loss landscapes that a comparison draws around every trained model."""

from __future__ import annotations

import pydantic

from aimc_robust.analysis.landscape import MAX_POINTS, Landscape
from aimc_robust.io.toml import StrictModel
from aimc_robust.targets.target import NAME, Split, select_epoch
from aimc_robust.training.config import TrainingConfig


class LandscapeSpec(StrictModel):
    """A loss landscape: points x points on a plane through the weights, an entry of `[[landscapes]]`.

    Attributes:
        name: Unique name, which also names a figure and a table.
        points: Grid points along each direction, see `analysis.landscape.Landscape`.
        span: The grid extends from -span to span.
        split: Images that the loss is over.
        selected_at: Sigma of early stopping whose selected epoch is at the center; needed if there are several.
    """

    name: str = pydantic.Field(pattern=NAME)
    points: int = pydantic.Field(ge=2, le=MAX_POINTS)
    span: float = pydantic.Field(default=1.0, ge=0)
    split: Split = "test"
    selected_at: float | None = None

    @property
    def grid(self) -> Landscape:
        """The points."""
        return Landscape(self.points, self.span)

    def selection(self, config: TrainingConfig) -> int:
        """Return which of the epochs that training selects is at the center, see `select_epoch`."""
        return select_epoch(config, self.selected_at, None)
