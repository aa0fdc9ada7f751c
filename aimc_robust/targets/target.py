"""Targets: the named conditions that every trained model is evaluated under, one class per kind."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal, final

from torch import nn

from aimc_robust.analysis.weight_step import ascent_step, sigma_for_radius
from aimc_robust.devices.limits import DAY_S, YEAR_S
from aimc_robust.errors import InputError, exact_text, require_finite, short_repr
from aimc_robust.evaluation.monte_carlo import Condition
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Hardware, Placement
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.distributions import Gaussian, Laplace
from aimc_robust.noise.scales import NoiseScale
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.task import Task
from aimc_robust.training.config import TrainingConfig

Split = Literal["test", "training"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"
"""Pattern of labels and target names, which also name folders and columns."""


UNITS_S = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": DAY_S, "y": YEAR_S}
LABELS = ("d", "h", "min")  # units of times in names, the largest first


def require_name(what: str, name: str, *, reserved: str = "digital") -> str:
    """Return a name, see NAME. Raise InputError if it cannot be one, or is reserved."""
    if not re.fullmatch(NAME, name) or name == reserved:
        exception = f" (`{reserved}` is reserved)" if reserved else ""
        rule = f"must be up to 80 letters, digits, '.', '_' and '-'{exception}"
        raise InputError(f"{what} {rule}, got {short_repr(name)}.")
    return name


def as_name(text: str, default: str) -> str:
    """Return a name, see NAME, that is made from any text; `default` if nothing of it can be one."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text).lstrip("._-")[:80] or default


def time_label(time_s: float) -> str:
    """Return a time for a name: 86400 -> 1d, 5400 -> 90min, 20 -> 20s."""
    unit = next((unit for unit in LABELS if time_s >= UNITS_S[unit] and time_s % UNITS_S[unit] == 0), "s")
    return f"{exact_text(time_s / UNITS_S[unit])}{unit}".replace("+", "")  # 1e+09 is no name


def compensation_suffix(compensation: Iterable[str]) -> str:
    """Return what the name of a target with these compensations ends in, such as `-drift`."""
    return "".join(f"-{name}" for name in compensation)


@dataclass(frozen=True)
class Target(ABC):
    """What all kinds of targets share.

    Attributes:
        name: Unique name, see NAME.
        split: Images that are evaluated.
        selected_at: Sigma of early stopping whose selected epoch is evaluated; None: the nearest, see `select_epoch`.
    """

    name: str
    split: Split = field(default="test", kw_only=True)
    selected_at: float | None = field(default=None, kw_only=True)

    @abstractmethod
    def condition_for(self, model: nn.Module, batches: Iterable[Batch], task: Task | None = None) -> Condition:
        """Return what a trained model is evaluated under; `batches` are of training images."""

    @property
    def backend(self) -> str:
        """What computes the condition: `native` or `crosssim` (crossbars), `noise`, or `digital`."""
        return "noise"

    @property
    def time_s(self) -> float:
        """Seconds since programming of a crossbar; 0 for everything else."""
        return 0.0

    @property
    def sigma(self) -> float | None:
        """Strength of Gaussian noise of scale filter_max; 0 for digital weights, None for every other condition."""
        return None

    @property
    def filter_max_std(self) -> float | None:
        """Standard deviation of the noise relative to each filter's maximum; None if it has none."""
        return self.sigma

    def chips(self, chips: int) -> int:
        """Return how many of the chips of a random condition to evaluate: 1 if nothing is random."""
        return chips

    def selection(self, config: TrainingConfig) -> int:
        """Return which of the epochs that training selects is evaluated, see `select_epoch`."""
        return select_epoch(config, self.selected_at, self.filter_max_std)


@dataclass(frozen=True)
class DeployableTarget(Target):
    """A target whose condition is the same for all models, so that `evaluate` takes it too."""

    @property
    @abstractmethod
    def condition(self) -> Condition:
        """What every model is evaluated under."""

    def condition_for(self, model: nn.Module, batches: Iterable[Batch], task: Task | None = None) -> Condition:
        """Return the condition."""
        return self.condition


def select_epoch(config: TrainingConfig, selected_at: float | None, std: float | None) -> int:
    """Return the index of `config.selections` whose sigma is `selected_at`; if that is None, the nearest to `std`.

    `std` is the standard deviation relative to each filter's maximum; None if there is none to compare.

    Raises:
        InputError: if training does not select at `selected_at`, or nothing names one of several selections.
    """
    selections = config.selections
    known = ", ".join(map(str, selections))
    if selected_at is not None:
        if selected_at not in selections:
            raise InputError(f"selected_at = {selected_at:g} is not a sigma of early stopping ({known}).")
        return selections.index(selected_at)
    if len(selections) == 1:
        return 0
    if std is None:
        raise InputError(f"training selects {len(selections)} epochs; choose one with `selected_at`, one of {known}.")
    return min(range(len(selections)), key=lambda i: abs((selections[i] or 0.0) - std))


@final
@dataclass(frozen=True)
class DigitalTarget(DeployableTarget):
    """Exact digital weights."""

    name: str = "digital"
    backend: ClassVar[str] = "digital"
    condition: ClassVar[None] = None
    sigma: ClassVar[float] = 0.0

    def chips(self, chips: int) -> int:
        """Return 1: all chips are the same."""
        return 1


@final
@dataclass(frozen=True)
class NoiseTarget(DeployableTarget):
    """Weights perturbed by a weight noise; each chip is one draw."""

    noise: WeightNoise

    @property
    def condition(self) -> WeightNoise:
        """The noise."""
        return self.noise

    @property
    def sigma(self) -> float | None:
        """Strength of Gaussian noise of scale filter_max; None of any other noise."""
        noise = self.noise
        return noise.sigma if isinstance(noise, Gaussian) and noise.scale == "filter_max" else None

    @property
    def filter_max_std(self) -> float | None:
        """Standard deviation relative to each filter's maximum; None of a noise of another scale."""
        noise = self.noise
        if isinstance(noise, Laplace) and noise.scale == "filter_max":
            return noise.b if noise.matched_std else math.sqrt(2) * noise.b
        return self.sigma


@final
@dataclass(frozen=True)
class RadiusTarget(Target):
    """Gaussian noise of root mean square L2 length `radius` over all analog weights; sigma is found for each model."""

    radius: float
    scale: NoiseScale = "filter_norm"

    def __post_init__(self) -> None:
        require_finite("radius", self.radius)

    def condition_for(self, model: nn.Module, batches: Iterable[Batch], task: Task | None = None) -> Gaussian:
        """Return the noise that has this length on `model`."""
        return Gaussian(sigma_for_radius(model, self.radius, self.scale), self.scale)


@final
@dataclass(frozen=True)
class AscentTarget(Target):
    """A step of L2 length `radius` over all analog weights, along the loss gradient of one training batch per chip."""

    radius: float

    def __post_init__(self) -> None:
        require_finite("radius", self.radius)

    def condition_for(self, model: nn.Module, batches: Iterable[Batch], task: Task | None = None) -> Condition:
        """Return the step along the loss gradient of the first batch."""
        return ascent_step(model, next(iter(batches)), self.radius, task)


@final
@dataclass(frozen=True)
class CrossbarTarget(DeployableTarget):
    """Weights programmed onto a crossbar.

    Attributes:
        crossbar: The crossbar.
        deployment: Backend, compensation and BatchNorm folding.
        time_s: Seconds since programming.
        corrects: Name of the same target without compensation; None if this one does not compensate.
        placement: Where each layer is, if some are not on `crossbar`.
    """

    crossbar: Crossbar
    deployment: Deployment = field(default_factory=Deployment)
    time_s: float = 0.0
    corrects: str | None = None
    placement: Placement | None = None

    @property
    def backend(self) -> str:
        """What computes the products: `native` or `crosssim`."""
        return self.deployment.backend

    @property
    def condition(self) -> Hardware:
        """The crossbar, or the placement."""
        return self.placement or self.crossbar

    @property
    def is_plain(self) -> bool:
        """Whether the native backend computes it with folded BatchNorms, without compensation."""
        return self.deployment == Deployment()
