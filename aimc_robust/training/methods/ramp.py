"""How a perturbation's strength grows over the updates."""

import math
import warnings
from dataclasses import dataclass

from aimc_robust.errors import InputError, require_finite, require_known, require_whole

SHAPES = ("constant", "linear", "quadratic")


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """The share of the full strength (sigma or rho) at update t, t = 1, 2, ...

    quadratic: sigma_t^2 = sigma_max^2 (min(t, T*) / T*)^2, so sigma grows linearly (Eq. 6)
    linear:    sigma_t^2 = sigma_max^2  min(t, T*) / T*                            (Eq. 7)
    constant:  sigma_t   = sigma_max

    updates: T*, the number of updates until full strength; 1 or more. fraction: T* as a share of the run, above 0 up to
    1, for a run whose length `over` (or `Method.for_run`, as `train` does) gives. One of the two; neither for
    `constant`.
    Source: Incorruptible paper, App. H.1 and Algorithm 1; the paper applies the same shapes to SAM's rho.
    """

    shape: str = "constant"
    updates: int | None = None
    fraction: float | None = None

    def __post_init__(self) -> None:
        require_known("ramp shape", self.shape, SHAPES)
        if self.shape == "constant":
            if self.updates is not None or self.fraction is not None:
                raise InputError("a constant ramp has no length; leave `updates` and `fraction` out.")
        elif self.fraction is None:
            require_whole(f"`updates` of a {self.shape} ramp", self.updates, low=1)
        elif self.updates is not None:
            raise InputError("a ramp takes its length as `updates` or as `fraction` of the run, not both.")
        else:
            require_finite("fraction", self.fraction, high=1.0)
            if self.fraction == 0:
                raise InputError("`fraction` of a ramp must be above 0; a perturbation without a ramp is `constant`.")

    def over(self, total_updates: int) -> "Ramp":
        """This ramp with its length in updates, for a run of `total_updates`; warns when it is longer than the run."""
        require_whole("the number of updates of a run", total_updates, low=1)
        if self.fraction is not None:
            return Ramp(shape=self.shape, updates=max(1, round(self.fraction * total_updates)))
        if self.updates is not None and self.updates > total_updates:
            warnings.warn(
                f"the ramp of {self.updates} updates is longer than the run of {total_updates}: full strength is never "
                "reached; shorten it, or give its length as `fraction` of the run.",
                stacklevel=3,
            )
        return self

    def factor(self, step: int) -> float:
        """Strength at update `step` as a share of the full strength, 0 to 1."""
        if self.shape == "constant":
            return 1.0
        if self.updates is None:
            raise InputError(
                "a ramp given as a fraction needs the length of the run: method = method.for_run(total_updates)."
            )
        share = min(max(step, 0), self.updates) / self.updates
        return math.sqrt(share) if self.shape == "linear" else share


CONSTANT = Ramp()
