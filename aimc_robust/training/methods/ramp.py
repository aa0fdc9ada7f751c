"""Schedule of the perturbation strength over the updates."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from aimc_robust.errors import InputError, names_arguments, require_finite, require_known, require_whole, warn

RampShape = Literal["constant", "linear", "quadratic"]


@names_arguments
@dataclass(frozen=True, kw_only=True)
class Ramp:
    """Fraction of the full strength (sigma or rho) at update t = 1, 2, ...

    The shapes are, with T* the ramp length:

    - quadratic: sigma_t^2 = sigma_max^2 (min(t, T*) / T*)^2, so sigma grows linearly (Eq. 6)
    - linear: sigma_t^2 = sigma_max^2 min(t, T*) / T* (Eq. 7)
    - constant: sigma_t = sigma_max

    Args:
        shape: `constant`, `linear` or `quadratic`.
        updates: T*, the number of updates until full strength, at least 1.
        fraction: T* as a fraction of the run, above 0 and at most 1. `for_run` (or `Method.for_run`, which `train`
            calls) converts it to updates. Give either `updates` or `fraction`; neither for `constant`.

    References:
        Incorruptible paper, App. H.1 and Algorithm 1, which applies the same shapes to the rho of SAM.
    """

    shape: RampShape = "constant"
    updates: int | None = None
    fraction: float | None = None

    def __post_init__(self) -> None:
        require_known("ramp shape", self.shape, get_args(RampShape))
        if self.shape == "constant":
            if self.updates is not None or self.fraction is not None:
                raise InputError("a constant ramp has no length; remove `updates` and `fraction`.")
        elif self.fraction is None:
            if self.updates is None:
                raise InputError(f"a {self.shape} ramp needs its length as `updates`, or as `fraction` of the run.")
            require_whole(f"`updates` of a {self.shape} ramp", self.updates, low=1)
        elif self.updates is not None:
            raise InputError("a ramp takes its length as `updates` or as `fraction` of the run, not both.")
        else:
            require_finite("fraction", self.fraction, high=1.0)
            if self.fraction == 0:
                raise InputError("`fraction` of a ramp must be above 0; use shape `constant` for no ramp.")

    def for_run(self, total_updates: int) -> "Ramp":
        """Return this ramp with its length in updates, for a run of `total_updates`.

        Warns if the ramp is longer than the run.
        """
        require_whole("the number of updates of a run", total_updates, low=1)
        if self.fraction is not None:
            return Ramp(shape=self.shape, updates=max(1, round(self.fraction * total_updates)))
        if self.updates is not None and self.updates > total_updates:
            warn(
                f"the ramp of {self.updates} updates is longer than the run of {total_updates}: full strength is never "
                "reached; shorten it, or give its length as `fraction` of the run.",
            )
        return self

    def factor(self, step: int) -> float:
        """Return the fraction of the full strength at update `step`, from 0 to 1; the length must be in updates."""
        if self.shape == "constant":
            return 1.0
        if self.updates is None:
            raise InputError(
                "a ramp given as a fraction needs the length of the run: method = method.for_run(total_updates)."
            )
        progress = min(max(step, 0), self.updates) / self.updates
        return math.sqrt(progress) if self.shape == "linear" else progress


CONSTANT_RAMP = Ramp()
