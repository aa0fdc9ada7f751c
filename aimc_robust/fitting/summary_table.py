"""Summary tables: the mean and standard deviation of n cells at each target, in place of the cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from aimc_robust.errors import DataError

COLUMNS = ("target", "mean", "std", "n")
MAX_CELLS = 200_000  # more would change nothing but the time of a fit


def equivalent_cells(numbers: dict[str, np.ndarray], lines: Sequence[int], where: str) -> dict[str, np.ndarray]:
    """Columns of measurements with the same likelihood under a normal error: `target`, `measured` and `time_s`.

    The n cells of a row have evenly spaced normal scores, scaled to the row's mean and (unbiased) standard deviation.

    Raises:
        DataError: If an n is not a whole number of at least 2, or their sum is too large.
    """
    counts = numbers["n"]
    for n, line in zip(counts, lines, strict=True):
        if n < 2 or n % 1:
            raise DataError(f"{where} {line}: n counts cells, expected a whole number of at least 2, got {n:g}.")
    if counts.sum() > MAX_CELLS:
        raise DataError(
            f"the n of a summary table add up to {counts.sum():g}; divide all by one factor, to {MAX_CELLS}."
        )
    scores = [_scores(int(n)) for n in counts]
    measured = [m + s * z for m, s, z in zip(numbers["mean"], numbers["std"], scores, strict=True)]
    repeated = {name: np.repeat(values, counts.astype(int)) for name, values in numbers.items()}
    return {"target": repeated["target"], "measured": np.concatenate(measured), "time_s": repeated["time_s"]}


def _scores(n: int) -> np.ndarray:
    z = ndtri((np.arange(n) + 0.5) / n)
    return z / z.std(ddof=1)
