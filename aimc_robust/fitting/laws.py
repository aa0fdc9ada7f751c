"""Standard deviations as laws of the state, fitted by maximum likelihood and chosen by BIC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_ndtr

from aimc_robust.devices.laws.polynomial import Polynomial
from aimc_robust.devices.laws.saturating_exponential import SaturatingExponential

StdLaw = Polynomial | SaturatingExponential
DEGREES = (0, 1, 2, 3, 4)
SATURATING = "saturating-exponential"
POINTS_PER_COEFFICIENT = 12
LEAST = 1e-3  # of the overall deviation: the standard deviation that a fitted polynomial keeps over the whole window
DIGITS = 7


class Sample(NamedTuple):
    """Deviations whose standard deviation is wanted, each array (n,).

    state: where the law is evaluated. deviation: from the mean. freedom: degrees of freedom of its square (1 for a
    single deviation). known: variance that is not the law's. cut: whether the state was cut off at 0, so that the
    deviation is the largest that it may be. States in [unit].
    """

    state: np.ndarray
    deviation: np.ndarray
    freedom: np.ndarray
    known: np.ndarray
    cut: np.ndarray


class Choice(NamedTuple):
    """The laws fitted to each of several samples, all of one family; their -2 log likelihood, parameters and BIC."""

    family: int | str
    laws: list[StdLaw]
    deviance: float
    parameters: int
    bic: float


def std_at(law: StdLaw | None, state: np.ndarray) -> np.ndarray:
    """The law's standard deviation [unit] at `state` (any shape) [unit], at least 0; 0 where there is no law."""
    if law is None:
        return np.zeros_like(state, dtype=float)
    if isinstance(law, Polynomial):
        return np.maximum(np.polynomial.polynomial.polyval(state / law.reference, law.coefficients), 0.0)
    return law.amplitude * -np.expm1(-np.asarray(state) / law.constant)


def slopes(law: StdLaw, state: np.ndarray) -> np.ndarray:
    """Derivatives of the standard deviation by the law's parameters, (n, parameters)."""
    if isinstance(law, Polynomial):
        return (state[:, None] / law.reference) ** np.arange(len(law.coefficients))
    decay = np.exp(-state / law.constant)
    return np.column_stack([1.0 - decay, -law.amplitude * decay * state / law.constant**2])


def family_text(law: StdLaw) -> str:
    """The law's family in words."""
    if not isinstance(law, Polynomial):
        return "saturating exponential"
    return ("constant", "linear", "quadratic", "cubic", "quartic")[len(law.coefficients) - 1]


def families(samples: Sequence[Sample]) -> list[int | str]:
    """The families that all samples can support: degrees of polynomials, and the saturating exponential."""
    states = min(len(np.unique(sample.state)) for sample in samples)
    count = min(float(sample.freedom.sum()) for sample in samples)
    room = max(1, min(states, int(count / POINTS_PER_COEFFICIENT)))
    return [degree for degree in DEGREES if degree < room] + ([SATURATING] if room >= 2 else [])


def choose(samples: Sequence[Sample], *, reference: float) -> Choice:
    """The family with the lowest BIC, summed over samples: -2 log likelihood + parameters * ln(n).

    reference: of polynomials [unit]. Source: G. Schwarz, Estimating the dimension of a model, Ann. Stat. 6, 1978.
    """
    return min((fit_family(family, samples, reference=reference) for family in families(samples)), key=lambda c: c.bic)


def fit_family(family: int | str, samples: Sequence[Sample], *, reference: float) -> Choice:
    """One family fitted to each sample by itself."""
    laws = [rounded(_fit(family, sample, reference)) for sample in samples]
    deviance = sum(_deviance(std_at(law, s.state), s) for law, s in zip(laws, samples, strict=True))
    each = 2 if family == SATURATING else int(family) + 1
    penalty = sum(each * np.log(sample.freedom.sum()) for sample in samples)
    return Choice(family, laws, deviance, each * len(samples), deviance + penalty)


def rounded(law: StdLaw) -> StdLaw:
    """The law with as many digits as a card is written with."""
    values = law.model_dump()
    return type(law)(**{key: round_value(value) for key, value in values.items()})


def round_value(value: object) -> object:
    """A float, or the floats of a sequence, to 7 significant digits."""
    if isinstance(value, tuple | list):
        return tuple(round_value(item) for item in value)
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _fit(family: int | str, sample: Sample, reference: float) -> StdLaw:
    scale = float(np.sqrt(np.average(sample.deviation**2, weights=sample.freedom))) or 1.0
    return _saturating(sample, scale) if family == SATURATING else _polynomial(sample, int(family), scale, reference)


def _polynomial(sample: Sample, degree: int, scale: float, reference: float) -> Polynomial:
    powers = np.arange(degree + 1)
    x = (sample.state[:, None] / reference) ** powers
    low, high = sample.state.min(), sample.state.max()
    window = (np.linspace(low, high, 65)[:, None] / reference) ** powers

    def cost(c: np.ndarray) -> tuple[float, np.ndarray]:
        std = np.maximum(x @ c, LEAST / 10.0)
        value, by_std = _cost(std * scale, sample)
        return value / len(x), (by_std * scale) @ x / len(x)

    size = np.sqrt(np.maximum(sample.deviation**2 - sample.known, 0.0)) / scale
    # E|x| = 0.8 sigma for one Gaussian deviation; good enough to start from
    regression = np.linalg.lstsq(x, size / 0.8, rcond=None)[0]
    flat = np.eye(degree + 1)[0]
    lift = max(0.0, 2.0 * LEAST - float((window @ regression).min()))
    starts = [flat] if degree == 0 else [regression + lift * flat, flat]
    for start in starts:
        best = minimize(
            cost,
            start,
            jac=True,
            method="SLSQP",
            constraints={"type": "ineq", "fun": lambda c: window @ c - LEAST, "jac": lambda c: window},
            options={"maxiter": 200, "ftol": 1e-10},
        )
        if best.success:
            break
    coefficients = best.x + max(0.0, LEAST - float((window @ best.x).min())) * flat
    return Polynomial(kind="polynomial", coefficients=tuple((coefficients * scale).tolist()), reference=reference)


def _saturating(sample: Sample, scale: float) -> SaturatingExponential:
    most = float(sample.state.max())

    def law(p: np.ndarray) -> SaturatingExponential:
        amplitude, constant = np.exp(p) * (scale, most)
        return SaturatingExponential(kind=SATURATING, amplitude=float(amplitude), constant=float(constant))

    def cost(p: np.ndarray) -> tuple[float, np.ndarray]:
        now = law(p)
        value, by_std = _cost(np.maximum(std_at(now, sample.state), LEAST * scale / 10.0), sample)
        by_log = (by_std @ slopes(now, sample.state)) * (now.amplitude, now.constant)
        return value / len(sample.state), by_log / len(sample.state)

    found = [
        minimize(cost, [0.0, np.log(share)], jac=True, method="L-BFGS-B", bounds=[(-7.0, 5.0), (-6.0, 3.0)])
        for share in (0.05, 0.3, 2.0)
    ]
    return law(min(found, key=lambda r: r.fun).x)


def _cost(std: np.ndarray, sample: Sample) -> tuple[float, np.ndarray]:
    """-log likelihood of Gaussian deviations, cut ones as the probability of all that lies beyond; and its slopes.

    sum freedom / 2 * (ln V + deviation^2 / V), V = std^2 + known; -ln Phi(deviation / sqrt(V)) for those cut.
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
    """-2 log likelihood; a state that cannot err, and does not, costs nothing."""
    certain = (std == 0) & (sample.known == 0) & (sample.deviation == 0)
    kept = Sample(*(values[~certain] for values in sample))
    return 2.0 * _cost(np.maximum(std[~certain], 1e-12), kept)[0]
