"""How large a device's errors are on each weight matrix of a model."""

import math

import numpy as np
import pandas as pd
from torch import Tensor, nn

from aimc_robust.evaluation.monte_carlo import Condition
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.conversion.prepare import plain_copy, prepare
from aimc_robust.hardware.programming.moments import model_moments
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.noise.scales import SCALES, NoiseScale, weight_scale


def layer_errors(model: nn.Module, condition: Condition, *, time_s: float = 0.0, fold: bool = True) -> pd.DataFrame:
    """Return the errors of each weight matrix over chips, without Monte Carlo.

    Weights are those after BatchNorm folding for a crossbar, otherwise unchanged.

    Args:
        model: The trained model; not modified.
        condition: A Crossbar, a `Placement` (a digital layer has no error), a weight noise, or None.
        time_s: Seconds since programming of a crossbar.
        fold: Whether BatchNorms are folded for a crossbar, see `Deployment`.

    Returns:
        One row per layer: `layer`, `weights`; for each scale of `weight_scale` except `absolute`, `std_<scale>`, the
        root mean variance, and `rms_<scale>`, the root mean square error including the systematic part, both relative
        to that scale of the trained weights. `rms_filter_max` is comparable with the sigma of RWP, `rms_layer_max` with
        an error over max|W|. Filters of zeros have no scale and are left out.

    Raises:
        InputError: if an argument is invalid, or a layer is not supported.
    """
    base = prepare(model, fold=fold)[0] if isinstance(condition, Hardware) else plain_copy(model)
    moments = model_moments(base, condition, time_s=time_s)
    rows = []
    for name, weight in analog_weights(base).items():
        matrix = weight.filters_first()
        row: dict[str, str | float] = {"layer": weight.layer, "weights": matrix.numel()}
        if name in moments:
            mean, variance = (weight.filters_first(part) for part in moments[name])
            square = variance + (mean - matrix).square()
        else:
            variance = square = matrix.new_zeros(matrix.shape)
        for scale in SCALES:
            if scale != "absolute":
                row[f"std_{scale}"] = _relative_rms(variance, matrix, scale)
                row[f"rms_{scale}"] = _relative_rms(square, matrix, scale)
        rows.append(row)
    return pd.DataFrame(rows)


def network_rms(errors: pd.DataFrame, scale: NoiseScale) -> float:
    """Return the root mean square error over all weights of a network, from `layer_errors`, in units of `scale`.

    NaN if no layer has that scale.
    """
    scaled = errors[errors[f"rms_{scale}"].notna()]
    if scaled.empty:
        return math.nan
    return float(np.sqrt(np.average(scaled[f"rms_{scale}"] ** 2, weights=scaled["weights"])))


def _relative_rms(squares: Tensor, matrix: Tensor, scale: NoiseScale) -> float:
    """Return sqrt of the mean of squares / scale(w)^2; NaN if no filter has a scale."""
    size = weight_scale(matrix, scale).double().expand_as(matrix)
    has_scale = size > 0
    return float((squares.double()[has_scale] / size[has_scale].square()).mean().sqrt())
