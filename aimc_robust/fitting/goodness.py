"""Goodness of fit: standardized residuals against a normal distribution, in bins of the state, and over time."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from aimc_robust.devices.card import Card
from aimc_robust.fitting.bins import Bin, bin_residuals, bin_rows, largest_relative_error, law_p_value, r_squared
from aimc_robust.fitting.card_draft import DriftFit
from aimc_robust.fitting.device_share import DeviceShare
from aimc_robust.fitting.points import Points
from aimc_robust.fitting.read_noise import ReadNoise, read_sample, read_variance
from aimc_robust.fitting.repeated_devices import design_effect, has_repetitions, one_cell_per_device
from aimc_robust.fitting.residuals import bootstrap_p_values, normality_distances, standardized_residuals, table_p_value
from aimc_robust.fitting.state_distribution import state_distribution
from aimc_robust.fitting.std_laws import std_at

BAD_P = 0.01  # corrected p value below which a fit is called bad


class TimeResiduals(NamedTuple):
    """Standardized residuals at one time [s] as measured, of a number of points.

    Mean and standard deviation are 0 and 1 for a perfect card; distance and p are those of a Kolmogorov-Smirnov test of
    normality.
    """

    time_s: float
    points: int
    mean: float
    std: float
    distance: float
    p: float


class Goodness(NamedTuple):
    """Goodness of fit of a card. p values are not corrected for their number; NaN: not tested, see `assess_fit`.

    Attributes:
        distance: Kolmogorov-Smirnov distance of the residuals of the programming error from a normal distribution.
        p_distance: Its p value, by parametric bootstrap; for an empirical law see `table_p_value`.
        anderson: Anderson-Darling statistic of the same.
        p_anderson: Its p value, by parametric bootstrap.
        p_law: p value of the law over the state: likelihood ratio test of `bins`.
        r_squared: Coefficient of determination of the law over the bins.
        bins: The programming error in bins of the target.
        times: Residuals at each time.
        read_bins: The read noise in bins of the state; empty without read noise.
        p_read: p value of the law of read noise; None without read noise.
    """

    distance: float
    p_distance: float
    anderson: float
    p_anderson: float
    p_law: float
    r_squared: float
    bins: list[Bin]
    times: list[TimeResiduals]
    read_bins: list[Bin]
    p_read: float | None

    @property
    def p_times(self) -> float:
        """Smallest p value of the later times, with Bonferroni's correction; 1 without later times."""
        return min(1.0, min((t.p for t in self.times[1:]), default=1.0) * max(len(self.times) - 1, 1))

    def faults(self) -> list[str]:
        """Describe what is wrong with the fit; empty for a good fit."""
        faults = []
        if min(self.p_distance, self.p_anderson) * 3 < BAD_P:
            faults.append(
                f"the residuals are not normal (Kolmogorov-Smirnov p = {self.p_distance:.2g}, Anderson-Darling p = "
                f"{self.p_anderson:.2g}), programming='empirical' (--programming empirical) tabulates them"
                if self.p_anderson == self.p_anderson
                else f"the cells do not follow the table (Kolmogorov-Smirnov p = {self.p_distance:.2g})"
            )
        if self.p_law * 3 < BAD_P:
            faults.append(
                f"the law misses the standard deviation by up to {largest_relative_error(self.bins):.0%} over the "
                f"targets (likelihood ratio p = {self.p_law:.2g})"
            )
        if self.p_read is not None and self.p_read < BAD_P:
            faults.append(
                f"the law of read noise misses its standard deviation by up to "
                f"{largest_relative_error(self.read_bins):.0%} over the states (p = {self.p_read:.2g})"
            )
        if self.p_times < BAD_P:
            worst = min(self.times[1:], key=lambda t: (t.p, -t.distance))
            faults.append(
                f"the drift misses the states at {worst.time_s:g} s (mean {worst.mean:+.2f} and standard deviation "
                f"{worst.std:.2f} of the standardized residuals, expected 0 and 1)"
            )
        return faults


def assess_fit(
    card: Card,
    points: Points,
    read_noise: ReadNoise | None,
    drift: DriftFit,
    share: DeviceShare | None = None,
    *,
    summarized: bool = False,
) -> Goodness:
    """Compute the goodness of fit of a card to its points; `drift` is the fit of its laws.

    What cannot be tested is NaN: the distribution of cells that are `summarized`, the law of an empirical error, and
    both where devices were programmed repeatedly and `share`, of the error that stays with a device, is not known.
    """
    first = points.at(0)
    repeated = has_repetitions(first.device)
    stays = share.share if repeated and share is not None else 0.0
    z = standardized_residuals(card, first, read_noise, 0.0)
    distance, anderson = (float(values[0]) for values in normality_distances(z[None]))
    if drift.empirical is None:
        p_distance, p_anderson = bootstrap_p_values(card, first, read_noise, distance, anderson, share=stays)
    else:
        alone = one_cell_per_device(first.device) if repeated else np.arange(len(z))
        p_distance, p_anderson = table_p_value(drift.empirical, first.target[alone], z[alone]), math.nan
    if summarized:
        distance, p_distance, anderson, p_anderson = (math.nan,) * 4
    if unknown := repeated and share is None:
        p_distance = p_anderson = math.nan
    if drift.empirical is not None:  # its table states the moments of the error, not of normal scores
        state = state_distribution(card, first.target, 0.0)
        z = (first.state - state.center) / np.sqrt(np.maximum(state.std**2 + read_variance(first, read_noise), 1e-300))
    bins = bin_residuals(first.target, z, np.ones(len(z)), std_at(card.programming, first.target))
    effect = design_effect(bin_rows(first.target, np.ones(len(z))), first.device, stays) if repeated else 1.0
    parameters = drift.programming.parameters
    read_bins = [] if read_noise is None else _read_bins(points, read_noise)
    return Goodness(
        distance=distance,
        p_distance=p_distance,
        anderson=anderson,
        p_anderson=p_anderson,
        p_law=math.nan if drift.empirical or unknown else law_p_value(bins, parameters=parameters, effect=effect),
        r_squared=r_squared(bins),
        bins=bins,
        times=[_time_residuals(card, points.at(g), read_noise, drift.time_zero_s) for g in np.unique(points.group)],
        read_bins=read_bins,
        p_read=None if read_noise is None else law_p_value(read_bins, parameters=read_noise.parameters),
    )


def _read_bins(points: Points, read_noise: ReadNoise) -> list[Bin]:
    state, deviation, freedom, *_ = read_sample(points)
    std = std_at(read_noise.law, state)
    noisy = std > 0
    return bin_residuals(state[noisy], deviation[noisy] / std[noisy], freedom[noisy], std[noisy])


def _time_residuals(card: Card, points: Points, read_noise: ReadNoise | None, time_zero_s: float) -> TimeResiduals:
    """Residuals of the points of one time."""
    measured_s = float(points.times_s[points.group[0]])
    z = standardized_residuals(card, points, read_noise, max(measured_s - time_zero_s, 0.0))
    alone = one_cell_per_device(points.device) if has_repetitions(points.device) else np.arange(len(z))
    test = stats.kstest(z[alone], "norm")
    return TimeResiduals(
        measured_s, len(points), float(z.mean()), float(z.std()), float(test.statistic), float(test.pvalue)
    )
