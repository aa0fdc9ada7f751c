"""Mixed random weight perturbation (m-RWP)."""

from dataclasses import dataclass
from typing import ClassVar

from aimc_robust.errors import require_finite
from aimc_robust.training.rwp import RandomPerturbation


@dataclass(frozen=True, kw_only=True)
class MixedRWP(RandomPerturbation):
    """g = (1 - lam) grad L_B1(w) + lam grad L_B2(w + eps), on two different batches.

    lam: share of the perturbed gradient, 0 to 1. Source: m-RWP paper, Eq. 8 (its Algorithm 2 prints lam on the
    clean gradient; at the default 0.5 they agree).
    """

    lam: float = 0.5

    batches_per_update: ClassVar[int] = 2

    def __post_init__(self) -> None:
        require_finite("lam", self.lam, high=1.0)
        super().__post_init__()

    @property
    def shares(self) -> tuple[float, float]:
        return 1.0 - self.lam, self.lam
