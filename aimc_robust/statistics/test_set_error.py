"""Sampling error of an accuracy that is measured on a finite test set."""

import math

from aimc_robust.errors import require_finite, require_whole


def sampling_half_width(accuracy: float, images: int) -> float:
    """Half-width of the 95 % interval that a finite test set leaves on an accuracy.

    Binomial: 1.96 sqrt(p (1 - p) / n), with p clipped to [1/n, 1 - 1/n]. For a mean over chips, where an image's score
    lies between right and wrong, this is an upper bound. It adds to the interval over chips or models, which is
    conditional on the given images.

    Args:
        accuracy: Measured accuracy [percent].
        images: Number of test images.

    Returns:
        Half-width [percentage points].

    Raises:
        InputError: if an argument is invalid.

    References:
        Miller, Adding error bars to evals, arXiv 2411.00640.
    """
    require_finite("accuracy", accuracy, high=100.0)
    require_whole("images", images, low=1)
    one_image = min(1.0 / images, 0.5)
    p = min(max(accuracy / 100.0, one_image), 1.0 - one_image)
    return 196.0 * math.sqrt(p * (1.0 - p) / images)
