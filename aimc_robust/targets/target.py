"""Targets: the named conditions that every trained model is evaluated under."""

import math
from dataclasses import dataclass, field
from typing import Literal

from aimc_robust.analysis.landscape import Landscape
from aimc_robust.errors import InputError
from aimc_robust.evaluation.monte_carlo import Condition
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.laplace import Laplace
from aimc_robust.training.config import TrainingConfig

Split = Literal["test", "training"]
Direction = Literal["random", "ascent", "plane"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
"""Pattern of labels and target names, which also name folders and columns."""


@dataclass(frozen=True)
class Target:
    """A named condition, and for a crossbar the time and the deployment.

    Attributes:
        name: Unique name, see NAME.
        condition: A crossbar, a weight noise, or None for digital weights.
        deployment: Backend and compensation of a crossbar.
        time_s: Seconds since programming of a crossbar.
        corrects: Name of the same target without compensation; None if this one does not compensate.
        split: Images that are evaluated.
        selected_at: Sigma of early stopping whose selected epoch is evaluated; None: the one that fits best, see
            `selection`.
        direction: Of a perturbation whose length is fixed and whose scale is found for each model: `random`, or
            `ascent` along the loss gradient. `plane` for a landscape.
        radius: L2 length of such a perturbation.
        landscape: Points around the weights that take the place of chips; they give a picture instead of a mean.
    """

    name: str
    condition: Condition
    deployment: Deployment = field(default_factory=Deployment)
    time_s: float = 0.0
    corrects: str | None = None
    split: Split = "test"
    selected_at: float | None = None
    direction: Direction | None = None
    radius: float | None = None
    landscape: Landscape | None = None

    @property
    def backend(self) -> str:
        """What computes the condition: `native` or `crosssim` for crossbars, `noise` for weight noise, or `digital`."""
        if self.direction is not None:
            return "noise"
        if self.condition is None:
            return "digital"
        return self.deployment.backend if isinstance(self.condition, Crossbar) else "noise"

    @property
    def sigma(self) -> float | None:
        """Strength of Gaussian noise of scale filter_max, for plots over sigma (0 for digital weights); else None."""
        if self.split != "test" or self.direction is not None:
            return None
        if self.condition is None:
            return 0.0
        if isinstance(self.condition, Gaussian) and self.condition.scale == "filter_max":
            return self.condition.sigma
        return None

    def chips(self, chips: int) -> int:
        """Return how many chips to evaluate: 1 if nothing is random; the number of points of a landscape.

        Args:
            chips: Number of chips of a random condition.
        """
        if self.landscape is not None:
            return self.landscape.num_points
        return 1 if self.condition is None and self.direction is None else chips

    def selection(self, config: TrainingConfig) -> int:
        """Return which of the epochs that training selects is evaluated, as an index of `config.selections`.

        It is named by `selected_at`; otherwise it is the nearest to this noise's standard deviation (digital: 0).

        Args:
            config: The training configuration.

        Raises:
            InputError: if training does not select at `selected_at`, or the noise has no standard deviation to compare.
        """
        selections = config.selections
        known = ", ".join(map(str, selections))
        if self.selected_at is not None:
            if self.selected_at not in selections:
                raise InputError(f"selected_at = {self.selected_at:g} is not a sigma of early stopping ({known}).")
            return selections.index(self.selected_at)
        if len(selections) == 1:
            return 0
        std = _filter_max_std(self)
        if std is None:
            raise InputError(
                f"training selects {len(selections)} epochs; choose one with `selected_at`, one of {known}."
            )
        return min(range(len(selections)), key=lambda i: abs((selections[i] or 0.0) - std))


def _filter_max_std(target: Target) -> float | None:
    """Return the standard deviation of a target's noise relative to each filter's maximum; None if it has none."""
    noise = target.condition
    if target.direction is not None:
        return None
    if noise is None:
        return 0.0
    if isinstance(noise, Gaussian) and noise.scale == "filter_max":
        return noise.sigma
    if isinstance(noise, Laplace) and noise.scale == "filter_max":
        return noise.b if noise.matched_std else math.sqrt(2) * noise.b
    return None
