"""Standardized residuals of a card, their normality, and the likelihood of all points."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.special import log_ndtr, ndtr, ndtri

from aimc_robust.devices.card import Card
from aimc_robust.devices.laws.empirical import Empirical
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.read_noise import ReadNoise, read_variance
from aimc_robust.fitting.repeated_devices import draw_devices, has_repetitions, share_offsets
from aimc_robust.fitting.state_distribution import state_distribution
from aimc_robust.fitting.std_laws import std_at, std_gradient
from aimc_robust.seeding import Axes

BOOTSTRAPS, BOOTSTRAP_POINTS = 999, 1000


def standardized_residuals(card: Card, points: Points, read_noise: ReadNoise | None, time_s: float) -> np.ndarray:
    """Residuals (points,) at the card's time `time_s` that are standard normal if the card is right.

    The normal score of the probability of a state below the measured one. States cut off at 0 are spread at random
    over the probability of the cut.
    """
    state = state_distribution(card, points.target, time_s)
    known = read_variance(points, read_noise)
    below = state.cdf(points.state, known)
    zeros = points.state == 0
    if zeros.any():
        below[zeros] *= np.random.default_rng(Axes(0).at(effect="cut").seed()).uniform(size=zeros.sum())
    empirical = isinstance(card.programming, Empirical)
    edge = 0.5 / len(below) if empirical else 1e-15  # a table ends at its lowest and highest cell
    z = ndtri(np.clip(below, edge, 1.0 - edge))
    if state.factor.shape[1] == 1 and not empirical:  # closed form in the tails, where probabilities round to 0 or 1
        width = np.sqrt(state.std**2 + known)
        plain = ~zeros & (width > 0)
        z[plain] = (points.state - state.center)[plain] / width[plain]
    return z


def normality_distances(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kolmogorov-Smirnov distance and Anderson-Darling A^2 from a standard normal, for each row of z."""
    z = np.sort(z, axis=1)
    n = z.shape[1]
    i = np.arange(1, n + 1)
    below = ndtr(z)
    distance = np.maximum(i / n - below, below - (i - 1) / n).max(axis=1)
    anderson = -n - ((2 * i - 1) * (log_ndtr(z) + log_ndtr(-z[:, ::-1]))).mean(axis=1)
    return distance, anderson


def bootstrap_p_values(
    card: Card, first: Points, read_noise: ReadNoise | None, distance: float, anderson: float, *, share: float = 0.0
) -> tuple[float, float]:
    """P values of the two distances at the earliest time: states drawn from the card, and the law fitted again.

    Parametric bootstrap. The refit is one step of Fisher scoring, asymptotically the maximum of the likelihood. At most
    1000 points are drawn: sqrt(n) D and A^2 do not depend on n. `share` of the error's variance stays with a device
    that was programmed repeatedly; such devices are drawn with all their points.
    """
    rng = np.random.default_rng(Axes(0).at(effect="bootstrap").seed())
    n = len(first)
    repeated = has_repetitions(first.device)
    drawn = (
        draw_devices(rng, first.device, BOOTSTRAP_POINTS)
        if repeated
        else rng.choice(n, size=min(n, BOOTSTRAP_POINTS), replace=False)
    )
    target, known = first.target[drawn], read_variance(first, read_noise)[drawn]
    std = std_at(card.programming, target)
    variance = np.maximum(std**2 + known, 1e-300)
    gradient = 2.0 * std[:, None] * std_gradient(card.programming, target) / variance[:, None]  # of ln V
    z = rng.standard_normal((BOOTSTRAPS, len(drawn)))
    if repeated:
        z = share_offsets(rng, z, first.device[drawn], share * std**2 / variance)
    information = 0.5 * gradient.T @ gradient
    step = 0.5 * (z**2 - 1.0) @ gradient @ np.linalg.pinv(information)
    refitted = np.exp(0.5 * np.clip(step @ gradient.T, -3.0, 3.0))
    distances, andersons = normality_distances(z / refitted)
    scale = np.sqrt(len(drawn) / n)
    p_distance = (1 + np.sum(distances * scale >= distance)) / (BOOTSTRAPS + 1)
    p_anderson = (1 + np.sum(andersons >= anderson)) / (BOOTSTRAPS + 1)
    return float(p_distance), float(p_anderson)


def table_p_value(law: Empirical, target: np.ndarray, z: np.ndarray) -> float:
    """P value of residuals z (n,) of a table: Kolmogorov-Smirnov tests in halves of its rows, Bonferroni-corrected.

    An upper bound, because the table was fitted to the same cells. Halves show an error that changes within a row.
    """
    parts = np.array_split(np.argsort(target, kind="stable"), 2 * len(law.at))
    return min(1.0, min(stats.kstest(z[part], "norm").pvalue for part in parts) * len(parts))


def marginal_deviance(card: Card, points: Points, read_noise: ReadNoise | None, *, time_zero_s: float) -> float:
    """-2 log likelihood of all points as independent Gaussians with the card's mean and standard deviation.

    `time_zero_s` is the time [s] of the points at which the card's time is 0.
    """
    total = 0.0
    for group in np.unique(points.group):
        part = points.at(int(group))
        time_s = max(float(points.times_s[group]) - time_zero_s, 0.0)
        mean, std = state_distribution(card, part.target, time_s).moments()
        variance = std**2 + read_variance(part, read_noise)
        uncertain = variance > 0
        deviation = (part.state - mean)[uncertain]
        total += float(np.sum(np.log(2.0 * np.pi * variance[uncertain]) + deviation**2 / variance[uncertain]))
    return total
