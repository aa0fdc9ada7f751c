"""Fit laws of a standard deviation by maximum likelihood, and select the family by BIC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_ndtr

from aimc_robust.devices.laws.polynomial import Polynomial
from aimc_robust.devices.laws.saturating_exponential import SaturatingExponential
from aimc_robust.fitting.std_laws import FittedStd, rounded, std_at, std_gradient

Family: TypeAlias = int | Literal["saturating-exponential"]
"""A degree of a polynomial, or the saturating exponential."""

DEGREES = (0, 1, 2, 3, 4)
POINTS_PER_COEFFICIENT = 12
MIN_RELATIVE_STD = 1e-3  # of the overall deviation: lower bound of a fitted polynomial over the whole window


class Sample(NamedTuple):
    """Deviations from a mean, each array (n,).

    Attributes:
        state: Where the law is evaluated [unit].
        deviation: Deviation from the mean [unit].
        freedom: Degrees of freedom of its square; 1 for a single deviation.
        known: Variance that the law does not explain [unit^2].
        cut: Whether the state was cut off at 0, so that the deviation is an upper bound.
    """

    state: np.ndarray
    deviation: np.ndarray
    freedom: np.ndarray
    known: np.ndarray
    cut: np.ndarray


class FittedLaws(NamedTuple):
    """Laws of one family, one for each sample; number of parameters and BIC of all samples together."""

    family: Family
    laws: list[FittedStd]
    parameters: int
    bic: float


def candidate_families(samples: Sequence[Sample]) -> list[Family]:
    """The families that every sample has enough states and points for."""
    states = min(len(np.unique(sample.state)) for sample in samples)
    count = min(float(sample.freedom.sum()) for sample in samples)
    max_parameters = max(1, min(states, int(count / POINTS_PER_COEFFICIENT)))
    degrees: list[Family] = [degree for degree in DEGREES if degree < max_parameters]
    return degrees + (["saturating-exponential"] if max_parameters >= 2 else [])


def fit_best_family(samples: Sequence[Sample], *, reference: float) -> FittedLaws:
    """Fit every candidate family and return the one with the lowest BIC.

    BIC = -2 log likelihood + parameters * ln(n), summed over samples. `reference` [unit] is that of polynomials.

    References:
        G. Schwarz, Estimating the dimension of a model, Ann. Stat. 6, 1978.
    """
    fits = (fit_family(family, samples, reference=reference) for family in candidate_families(samples))
    return min(fits, key=lambda fit: fit.bic)


def fit_family(family: Family, samples: Sequence[Sample], *, reference: float) -> FittedLaws:
    """Fit one family to each sample separately; `reference` [unit] is that of polynomials."""
    laws: list[FittedStd] = [rounded(_fit_sample(family, sample, reference)) for sample in samples]
    deviance = sum(_deviance(std_at(law, s.state), s) for law, s in zip(laws, samples, strict=True))
    parameters = family + 1 if isinstance(family, int) else 2
    penalty = sum(parameters * np.log(sample.freedom.sum()) for sample in samples)
    return FittedLaws(family, laws, parameters * len(samples), deviance + penalty)


def _fit_sample(family: Family, sample: Sample, reference: float) -> FittedStd:
    scale = float(np.sqrt(np.average(sample.deviation**2, weights=sample.freedom))) or 1.0
    if isinstance(family, int):
        return _fit_polynomial(sample, family, scale, reference)
    return _fit_saturating_exponential(sample, scale)


def _fit_polynomial(sample: Sample, degree: int, scale: float, reference: float) -> Polynomial:
    powers = np.arange(degree + 1)
    x = (sample.state[:, None] / reference) ** powers
    low, high = sample.state.min(), sample.state.max()
    window = (np.linspace(low, high, 65)[:, None] / reference) ** powers

    def cost(c: np.ndarray) -> tuple[float, np.ndarray]:
        std = np.maximum(x @ c, MIN_RELATIVE_STD / 10.0)
        value, by_std = _negative_log_likelihood(std * scale, sample)
        return value / len(x), (by_std * scale) @ x / len(x)

    size = np.sqrt(np.maximum(sample.deviation**2 - sample.known, 0.0)) / scale
    # E|x| = 0.8 sigma for one Gaussian deviation; close enough for a start
    regression = np.linalg.lstsq(x, size / 0.8, rcond=None)[0]
    flat = np.eye(degree + 1)[0]
    lift = max(0.0, 2.0 * MIN_RELATIVE_STD - float((window @ regression).min()))
    starts = [flat] if degree == 0 else [regression + lift * flat, flat]
    for start in starts:
        best = minimize(
            cost,
            start,
            jac=True,
            method="SLSQP",
            constraints={"type": "ineq", "fun": lambda c: window @ c - MIN_RELATIVE_STD, "jac": lambda c: window},
            options={"maxiter": 200, "ftol": 1e-10},
        )
        if best.success:
            break
    coefficients = best.x + max(0.0, MIN_RELATIVE_STD - float((window @ best.x).min())) * flat
    return Polynomial(kind="polynomial", coefficients=tuple((coefficients * scale).tolist()), reference=reference)


def _fit_saturating_exponential(sample: Sample, scale: float) -> SaturatingExponential:
    largest = float(sample.state.max())

    def law_of(p: np.ndarray) -> SaturatingExponential:
        amplitude, constant = np.exp(p) * (scale, largest)
        return SaturatingExponential(
            kind="saturating-exponential", amplitude=float(amplitude), constant=float(constant)
        )

    def cost(p: np.ndarray) -> tuple[float, np.ndarray]:
        law = law_of(p)
        std = np.maximum(std_at(law, sample.state), MIN_RELATIVE_STD * scale / 10.0)
        value, by_std = _negative_log_likelihood(std, sample)
        by_log = (by_std @ std_gradient(law, sample.state)) * (law.amplitude, law.constant)
        return value / len(sample.state), by_log / len(sample.state)

    fits = [
        minimize(cost, [0.0, np.log(fraction)], jac=True, method="L-BFGS-B", bounds=[(-7.0, 5.0), (-6.0, 3.0)])
        for fraction in (0.05, 0.3, 2.0)
    ]
    return law_of(min(fits, key=lambda fit: fit.fun).x)


def _negative_log_likelihood(std: np.ndarray, sample: Sample) -> tuple[float, np.ndarray]:
    """Negative log likelihood of Gaussian deviations, and its derivatives with respect to `std` (n,).

    sum freedom / 2 * (ln V + deviation^2 / V), V = std^2 + known; -ln Phi(deviation / sqrt(V)) for those cut off,
    the probability of all states below the cut.
    """
    variance = std**2 + sample.known
    ratio = sample.deviation**2 / variance
    value = 0.5 * sample.freedom * (np.log(variance) + ratio)
    by_variance = 0.5 * sample.freedom * (1.0 - ratio) / variance
    if sample.cut.any():
        cut = sample.cut
        a = sample.deviation[cut] / np.sqrt(variance[cut])
        value[cut] = -log_ndtr(a)
        hazard = np.exp(-0.5 * a**2 - 0.5 * np.log(2.0 * np.pi) - log_ndtr(a))
        by_variance[cut] = 0.5 * hazard * a / variance[cut]
    return float(value.sum()), by_variance * 2.0 * std


def _deviance(std: np.ndarray, sample: Sample) -> float:
    """-2 log likelihood. A state without error that shows none costs nothing."""
    certain = (std == 0) & (sample.known == 0) & (sample.deviation == 0)
    uncertain = Sample(*(values[~certain] for values in sample))
    return 2.0 * _negative_log_likelihood(np.maximum(std[~certain], 1e-12), uncertain)[0]
