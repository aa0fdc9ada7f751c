"""The error that a finite test set leaves on an accuracy, whatever the number of chips and models."""

import math

from aimc_robust.errors import require_finite, require_whole


def sampling_half_width(accuracy: float, images: int) -> float:
    """95 % half-width [points] that `images` test images leave on an accuracy.

    Binomial, 1.96 sqrt(p (1 - p) / n), with p kept one image away from 0 and 1. For a mean over chips, which scores an
    image between right and wrong, it is the most that the error can be. It comes on top of the interval over chips or
    models, which holds for these very images.
    accuracy: [percent]. Raises InputError. Source: Miller, Adding error bars to evals, arXiv 2411.00640.
    """
    require_finite("accuracy", accuracy, high=100.0)
    require_whole("images", images, low=1)
    one = min(1.0 / images, 0.5)
    share = min(max(accuracy / 100.0, one), 1.0 - one)
    return 196.0 * math.sqrt(share * (1.0 - share) / images)
