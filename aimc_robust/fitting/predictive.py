"""What a fitted card predicts for one measurement: mean, standard deviation and distribution, without simulation."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from aimc_robust.devices.card import Card
from aimc_robust.devices.laws.power_law_drift import ClippedLog, PowerLawDrift
from aimc_robust.devices.laws.table_drift import TableDrift
from aimc_robust.fitting.laws import std_at

# Gauss and Hermite's nodes and weights for a standard normal: the drawn exponent of a power law.
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


class Latent(NamedTuple):
    """A state max(0, N(centre, std^2)) * factor: centre, std (n,), and the equally named nodes of factor (n, nodes)."""

    centre: np.ndarray
    std: np.ndarray
    factor: np.ndarray
    weights: np.ndarray


def latent(card: Card, target: np.ndarray, time_s: float) -> Latent:
    """The distribution of the state of cells with `target` (n,) [card.unit] at `time_s` [s] of the card's own time.

    Cards with a normal programming error cut at 0, and no drift, a table or a power law: what `fit_card` makes.
    """
    centre, std = target, std_at(card.programming, target)
    one = np.ones((len(target), 1))
    match card.drift:
        case TableDrift(at=at) as law if time_s > at[0].time_s:
            shift, std_law = law.interpolate(time_s)
            centre = target + np.polynomial.polynomial.polyval(target, shift or (0.0,))
            return Latent(centre, std_at(std_law, centre), one, np.ones(1))
        case PowerLawDrift() as law if time_s > 0:
            x_ln = np.log(np.maximum(target / law.reference, 1e-300))[:, None]
            nu = np.abs(clipped_log(law.exponent_mean, x_ln) + clipped_log(law.exponent_std, x_ln) * NODES)
            return Latent(centre, std, np.exp(-nu * np.log1p(time_s / law.t0_s)), WEIGHTS)
    return Latent(centre, std, one, np.ones(1))


def clipped_log(law: ClippedLog, x_ln: np.ndarray) -> np.ndarray:
    """clip(slope_ln * x_ln + offset, min, max)."""
    return np.clip(law.slope_ln * x_ln + law.offset, law.min, law.max)


def moments(state: Latent) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of the state, each (n,) [card.unit]. Closed form of a Gaussian cut at 0."""
    std = np.maximum(state.std, 1e-300)
    with np.errstate(over="ignore"):
        ratio = state.centre / std
        density = np.exp(-0.5 * ratio**2) / np.sqrt(2.0 * np.pi)
    first = state.centre * ndtr(ratio) + std * density
    second = (state.centre**2 + std**2) * ndtr(ratio) + state.centre * std * density
    mean = first * (state.factor @ state.weights)
    square = second * (state.factor**2 @ state.weights)
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


def probability_below(state: Latent, value: np.ndarray, known: np.ndarray) -> np.ndarray:
    """P(state + N(0, known) <= value) before the cut at 0, (n,); known: variance of reading [card.unit^2]."""
    scaled = value[:, None] / state.factor - state.centre[:, None]
    variance = state.std[:, None] ** 2 + known[:, None] / state.factor**2
    return ndtr(scaled / np.sqrt(np.maximum(variance, 1e-300))) @ state.weights
