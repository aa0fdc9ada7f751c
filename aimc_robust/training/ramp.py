"""How a perturbation's strength grows over the updates."""

import math
from dataclasses import dataclass

from aimc_robust.errors import InputError, require_known, require_whole

SHAPES = ("constant", "linear", "quadratic")


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """The share of the full strength (sigma or rho) at update t, t = 1, 2, ...

    quadratic: sigma_t^2 = sigma_max^2 (min(t, T*) / T*)^2, so sigma grows linearly (Eq. 6)
    linear:    sigma_t^2 = sigma_max^2  min(t, T*) / T*                            (Eq. 7)
    constant:  sigma_t   = sigma_max

    updates: T*, the number of updates until full strength; 1 or more, and not given for `constant`.
    Source: Incorruptible paper, App. H.1 and Algorithm 1; the paper applies the same shapes to SAM's rho.
    """

    shape: str = "constant"
    updates: int | None = None

    def __post_init__(self) -> None:
        require_known("ramp shape", self.shape, SHAPES)
        if self.shape == "constant":
            if self.updates is not None:
                raise InputError("a constant ramp has no length; leave `updates` out.")
        else:
            require_whole(f"`updates` of a {self.shape} ramp", self.updates, low=1)

    def factor(self, step: int) -> float:
        """Strength at update `step` as a share of the full strength, 0 to 1."""
        if self.shape == "constant":
            return 1.0
        share = min(max(step, 0), self.updates) / self.updates
        return math.sqrt(share) if self.shape == "linear" else share


CONSTANT = Ramp()
