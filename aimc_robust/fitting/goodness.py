"""How good a fit is: standardised residuals against a normal, standard deviations bin by bin, time by time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import log_ndtr, ndtr, ndtri

from aimc_robust.devices.card import Card
from aimc_robust.fitting.bins import Bin, bins_of, largest_miss, p_law, r_squared
from aimc_robust.fitting.laws import slopes, std_at
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.predictive import latent, moments, probability_below
from aimc_robust.fitting.programming import ReadNoise, known_variance
from aimc_robust.seeding import Axes

BAD = 0.01  # corrected p value below which a fit is called bad
BOOTSTRAPS, BOOTSTRAP_POINTS = 999, 1000


class AtTime(NamedTuple):
    """One time: since programming as measured [s], points, mean and standard deviation of the standardised residuals
    (0 and 1 for a perfect card), Kolmogorov and Smirnov's distance from a normal and its p value."""

    time_s: float
    points: int
    mean: float
    std: float
    distance: float
    p: float


class Goodness(NamedTuple):
    """Fit of the programming error, and over time.

    distance, anderson: Kolmogorov and Smirnov's, Anderson and Darling's, from normal residuals, with p values of a
    parametric bootstrap. p_law: of the law over the state (likelihood ratio of `bins`). r_squared: of its curve over
    the bins. times: residuals at each time. read_bins, p_read: of read noise, where there is any. p values are not
    corrected for their number.
    """

    distance: float
    p_distance: float
    anderson: float
    p_anderson: float
    p_law: float
    r_squared: float
    bins: list[Bin]
    times: list[AtTime]
    read_bins: list[Bin]
    p_read: float | None

    @property
    def p_times(self) -> float:
        """The smallest p value of the later times, by Bonferroni's correction; 1 where there are none."""
        return min(1.0, min((t.p for t in self.times[1:]), default=1.0) * max(len(self.times) - 1, 1))

    def faults(self) -> list[str]:
        """What is wrong with the fit, in words; empty for a good one."""
        found = []
        if min(self.p_distance, self.p_anderson) * 3 < BAD:
            found.append(
                "the residuals are not normal (Kolmogorov and Smirnov p = "
                f"{self.p_distance:.2g}, Anderson and Darling p = {self.p_anderson:.2g})"
            )
        if self.p_law * 3 < BAD:
            found.append(
                f"the law misses the standard deviation by up to {largest_miss(self.bins):.0%} over the targets "
                f"(likelihood ratio p = {self.p_law:.2g})"
            )
        if self.p_read is not None and self.p_read < BAD:
            found.append(
                f"the law of read noise misses its standard deviation by up to {largest_miss(self.read_bins):.0%} "
                f"over the states (p = {self.p_read:.2g})"
            )
        if self.p_times < BAD:
            worst = min(self.times[1:], key=lambda t: (t.p, -t.distance))
            found.append(
                f"the drift misses the states at {worst.time_s:g} s (mean {worst.mean:+.2f} and standard deviation "
                f"{worst.std:.2f} of the standardised residuals, expected 0 and 1)"
            )
        return found


def judge(
    card: Card, points: Points, read: ReadNoise | None, *, clock_s: float, fitted: int, reads: tuple[np.ndarray, ...]
) -> Goodness:
    """The goodness of fit of `card` to `points`.

    clock_s: the card's time 0 in the time of the points. fitted: parameters of the programming law. reads: state,
    deviation and degrees of freedom of repeated reads.
    """
    first = points.at(0)
    z = residuals(card, first, read, 0.0)
    distance, anderson = float(_distances(z[None])[0][0]), float(_distances(z[None])[1][0])
    p_distance, p_anderson = _bootstrap(card, first, read, distance, anderson)
    bins = bins_of(first.target, z, np.ones(len(z)), std_at(card.programming, first.target))
    times = [_at_time(card, points, read, clock_s, group) for group in range(len(points.times_s))]
    read_bins, p_read = [], None
    if read is not None:
        state, deviation, freedom = reads
        std = std_at(read.law, state)
        kept = std > 0
        read_bins = bins_of(state[kept], (deviation / np.where(kept, std, 1.0))[kept], freedom[kept], std[kept])
        p_read = p_law(read_bins, state[kept], freedom[kept], fitted=read.fitted)
    return Goodness(
        distance=distance,
        p_distance=p_distance,
        anderson=anderson,
        p_anderson=p_anderson,
        p_law=p_law(bins, first.target, np.ones(len(z)), fitted=fitted),
        r_squared=r_squared(bins),
        bins=bins,
        times=[t for t in times if t is not None],
        read_bins=read_bins,
        p_read=p_read,
    )


def residuals(card: Card, points: Points, read: ReadNoise | None, time_s: float) -> np.ndarray:
    """Standardised residuals, standard normal for a card that is right; time_s: the card's time of the points [s].

    The normal score of the probability of a state below the measured one; states cut off at 0 are spread at random
    over the probability of the cut.
    """
    state = latent(card, points.target, time_s)
    known = known_variance(points, read)
    below = probability_below(state, points.state, known)
    zeros = points.state == 0
    if zeros.any():
        below[zeros] *= np.random.default_rng(Axes(0).at(effect="cut").seed()).uniform(size=zeros.sum())
    z = ndtri(np.clip(below, 1e-15, 1.0 - 1e-15))
    if state.factor.shape[1] == 1:  # exact far out, where probabilities are 0 or 1
        width = np.sqrt(state.std**2 + known)
        plain = ~zeros & (width > 0)
        z[plain] = (points.state - state.centre)[plain] / width[plain]
    return z


def _at_time(card: Card, points: Points, read: ReadNoise | None, clock_s: float, group: int) -> AtTime | None:
    part = points.at(group)
    if not len(part):
        return None
    z = residuals(card, part, read, max(float(points.times_s[group]) - clock_s, 0.0))
    test = stats.kstest(z, "norm")
    when, mean, std = float(points.times_s[group]), float(z.mean()), float(z.std())
    return AtTime(when, len(part), mean, std, float(test.statistic), float(test.pvalue))


def _distances(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Kolmogorov and Smirnov's distance, Anderson and Darling's A^2) from a standard normal of each row of z."""
    z = np.sort(z, axis=1)
    n = z.shape[1]
    i = np.arange(1, n + 1)
    below = ndtr(z)
    distance = np.maximum(i / n - below, below - (i - 1) / n).max(axis=1)
    anderson = -n - ((2 * i - 1) * (log_ndtr(z) + log_ndtr(-z[:, ::-1]))).mean(axis=1)
    return distance, anderson


def _bootstrap(
    card: Card, first: Points, read: ReadNoise | None, distance: float, anderson: float
) -> tuple[float, float]:
    """p values of the two distances by parametric bootstrap: states drawn from the card, the law fitted again.

    The refit is one step of Fisher's scoring, asymptotically the maximum of the likelihood. At most 1000 points are
    drawn: sqrt(n) D and A^2 do not depend on n.
    """
    rng = np.random.default_rng(Axes(0).at(effect="bootstrap").seed())
    n = len(first)
    kept = rng.choice(n, size=min(n, BOOTSTRAP_POINTS), replace=False)
    target, known = first.target[kept], known_variance(first, read)[kept]
    std = std_at(card.programming, target)
    variance = np.maximum(std**2 + known, 1e-300)
    by_parameter = 2.0 * std[:, None] * slopes(card.programming, target) / variance[:, None]  # of ln V
    z = rng.standard_normal((BOOTSTRAPS, len(kept)))
    information = 0.5 * by_parameter.T @ by_parameter
    step = 0.5 * (z**2 - 1.0) @ by_parameter @ np.linalg.pinv(information)
    grown = np.exp(0.5 * np.clip(step @ by_parameter.T, -3.0, 3.0))
    distances, andersons = _distances(z / grown)
    scale = np.sqrt(len(kept) / n)
    p_distance = (1 + np.sum(distances * scale >= distance)) / (BOOTSTRAPS + 1)
    p_anderson = (1 + np.sum(andersons >= anderson)) / (BOOTSTRAPS + 1)
    return float(p_distance), float(p_anderson)


def marginal_deviance(card: Card, points: Points, read: ReadNoise | None, *, clock_s: float) -> float:
    """-2 log likelihood of all points as independent Gaussians with the card's mean and standard deviation."""
    total = 0.0
    for group in np.unique(points.group):
        part = points.at(int(group))
        mean, std = moments(latent(card, part.target, max(float(points.times_s[group]) - clock_s, 0.0)))
        variance = std**2 + known_variance(part, read)
        kept = variance > 0
        deviation = (part.state - mean)[kept]
        total += float(np.sum(np.log(2.0 * np.pi * variance[kept]) + deviation**2 / variance[kept]))
    return total
