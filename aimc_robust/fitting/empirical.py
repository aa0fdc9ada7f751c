"""Fit an empirical law: quantiles of the programming error at several targets."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from aimc_robust.devices.laws.empirical import Empirical, QuantileRow, quantile_covariance, quantile_mean
from aimc_robust.errors import DataError
from aimc_robust.fitting.bins import bin_rows
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.programming import MIN_CELLS
from aimc_robust.fitting.read_noise import ReadNoise, read_variance
from aimc_robust.fitting.std_laws import rounded

CELLS_PER_QUANTILE = 4
MIN_QUANTILES, MAX_QUANTILES = 5, 33


def fit_empirical(first: Points, read_noise: ReadNoise | None) -> Empirical:
    """Tabulate quantiles of the cells' deviations at each target, or in up to ten bins of targets.

    The probabilities between 0 and 1 are evenly spaced normal scores, as many as the smallest row supports. Each row is
    scaled about its mean to the unbiased variance of its cells, less the read noise that their states contain.

    Raises:
        DataError: If there are too few cells, or a row deviates from its targets without spread.
    """
    rows = bin_rows(first.target, np.ones(len(first)), min_points=MIN_CELLS)
    if len(rows) < 2:
        raise DataError(
            f"an empirical law needs at least {2 * MIN_CELLS} cells at the earliest time, got {len(first)}; measure "
            "more, or use programming='normal' (--programming normal)."
        )
    smallest = min(map(len, rows))
    reach = -ndtri(1.0 / smallest)
    scores = np.linspace(-reach, reach, int(np.clip(smallest // CELLS_PER_QUANTILE, MIN_QUANTILES, MAX_QUANTILES)))
    probabilities = np.concatenate([[0.0], ndtr(scores), [1.0]])
    p = rounded(tuple(probabilities.tolist()))
    error, known = first.state - first.target, read_variance(first, read_noise)
    table = []
    for row in sorted(rows, key=lambda row: float(first.target[row].mean())):
        state, mean = float(first.target[row].mean()), float(error[row].mean())
        variance = max(float(error[row].var(ddof=1) - known[row].mean()), 0.0)
        if variance == 0.0 != mean:
            raise DataError(
                f"the cells near the target {state:g} all deviate by {mean:g}, within the read noise if there is one, "
                "so they have no quantiles; use programming='normal' (--programming normal)."
            )
        quantiles = np.quantile(error[row], probabilities)
        raw = tuple(quantiles.tolist())
        center, square = quantile_mean(p, raw), quantile_covariance(p, raw, raw)
        scaled = mean + (quantiles - center) * np.sqrt(variance / (square or 1.0))
        table.append(QuantileRow(state=rounded(state), quantiles=rounded(tuple(scaled.tolist()))))
    return Empirical(kind="empirical", probabilities=p, at=tuple(table))
