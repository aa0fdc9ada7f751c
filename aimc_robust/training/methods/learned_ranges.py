"""Input ranges that are trained with the weights: how they start, and the rule of an update."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from aimc_robust.errors import InputError, names_arguments, require_finite, require_type, require_whole
from aimc_robust.hardware.config.ranges import ConverterRanges

MAX_CHANGE = 0.1  # of one update, relative: a single batch with a large loss must not decide the range


@names_arguments
@dataclass(frozen=True, kw_only=True)
class LearnedRanges:
    """Learn the full scale of each layer's DAC while the weights are trained; one static range per layer.

    A range starts as the mean over the first batches, each of which gives `init_std` standard deviations of its inputs.
    Then, at each update, with the loss gradient dL/dr of the clipped inputs, r -> r exp(-lr r dL/dr - decay). Only
    inputs whose gradient asks for a larger range count; the decay, which acts while fewer than 1 - `unclipped` of the
    inputs are clipped, makes it smaller. An update changes r by 10 % at most. The lower end of a range is 0 where no
    input of the first batches was negative. ADCs whose range is calibrated get the running mean of the ranges of the
    batches (quantile `percentile` of the method) over `init_batches` updates; a fixed one stays as it is.
    A model that is trained with another `LearnedRanges` or other converters starts anew.

    Args:
        init_batches: Updates whose batches give the first range.
        init_std: Standard deviations that the first range spans; None: the quantile `percentile` of the method.
        lr: Learning rate of the logarithm of a range; weight decay, schedule and momentum of the weights do not act.
        decay: Relative decrease of an update.
        unclipped: Share of the inputs that must lie inside for the decay to act, 0 to 1.
        start: First ranges, from `calibrate`, instead of those from batches; or those of `learned_ranges`, to go on.

    References:
        M. J. Rasch et al., Nat. Commun. 14, 5282, 2023, Methods. IBM/aihwkit-lightning, `InputRangeParameter`, whose
        gradient of r is r dL/dr + decay r: here `decay` is not multiplied by a learning rate, and r stays positive.
    """

    init_batches: int = 100
    init_std: float | None = 3.0
    lr: float = 0.1
    decay: float = 1e-3
    unclipped: float = 0.95
    start: ConverterRanges | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        require_whole("init_batches", self.init_batches, low=1)
        require_finite("lr of learned ranges", self.lr)
        require_finite("decay of learned ranges", self.decay, high=MAX_CHANGE)
        require_finite("unclipped", self.unclipped, high=1.0)
        if self.init_std is not None:
            require_finite("init_std", self.init_std)
            if self.init_std == 0:
                raise InputError("init_std must be above 0, or None for a quantile; 3 is usual.")
        require_type("start", self.start, ConverterRanges | None, example="the result of calibrate(...), or None")

    def updated(self, full_scale: float, gradient: float, unclipped: float) -> float:
        """Return the full scale after an update.

        Args:
            full_scale: The one before.
            gradient: dL/dr; if it is not finite, as of a skipped step in float16, only the decay acts.
            unclipped: Share of the inputs inside the range.
        """
        change = -self.lr * full_scale * gradient if math.isfinite(gradient) else 0.0
        if unclipped > self.unclipped:
            change -= self.decay
        return full_scale * math.exp(min(max(change, -MAX_CHANGE), MAX_CHANGE))
