"""Mean and variance of weights whose drift is compensated by one digital factor per matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from aimc_robust.devices.moments import Moments
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.programming.moments import model_moments
from aimc_robust.hardware.programming.programmed_matrix import with_bias_rows, zero_weight
from aimc_robust.noise.analog_weights import AnalogWeight, analog_weights


@torch.no_grad()
def compensated_moments(
    prepared: nn.Module, hardware: Hardware, moments: Mapping[str, Moments], *, chip_seed: int = 0
) -> dict[str, Moments]:
    """Return `moments`, which are those of `model_moments` at a time after 0, with global drift compensation.

    The factor of a matrix, the mean magnitude of its currents at time 0 over the present one, hardly differs between
    chips: a mean over all devices. It is computed from the moments at both times, with |current| that of a Gaussian.
    """
    fresh = model_moments(prepared, hardware, chip_seed=chip_seed)
    names = {id(parameter): name for name, parameter in prepared.named_parameters()}
    result = {name: Moments(*(values.clone() for values in moment)) for name, moment in moments.items()}
    for name, weight in analog_weights(prepared).items():
        crossbar = hardware.crossbar_of(weight.layer)
        if crossbar is None:
            continue
        with crossbar.naming_layer(weight.layer):
            matrix = with_bias_rows(crossbar, weight)
            zero = zero_weight(crossbar, crossbar.weights.weight_limit(matrix.float(), layer=weight.layer))
        rows, bias = crossbar.arrays.bias_rows, None
        if weight.bias is not None and rows:
            parameter, part = weight.bias_source()
            bias = names[id(parameter)], part
        before, now = (_mean_magnitude(weight, name, bias, rows, of, zero) for of in (fresh, moments))
        factor = before / now if before > 0 and now > 0 else 1.0
        weights = _scaled(weight.filters_first(moments[name].mean).flatten(1), zero, factor)
        shape = weight.filters_first().shape
        result[name].mean.copy_(weight.to_parameter_layout(weights.reshape(shape)))
        result[name].variance.mul_(factor**2)
        if bias is not None:
            mean, variance = result[bias[0]]
            mean[bias[1]] = _scaled(mean[bias[1]].unsqueeze(1), rows * zero, factor).squeeze(1)
            variance[bias[1]] *= factor**2
    return result


def _scaled(weights: Tensor, zero: Tensor, factor: float) -> Tensor:
    """Scale the currents of weights (outputs, inputs), which are 0 at the weight `zero`."""
    return (weights - zero) * factor + zero


def _mean_magnitude(
    weight: AnalogWeight,
    name: str,
    bias: tuple[str, slice] | None,
    rows: int,
    moments: Mapping[str, Moments],
    zero: Tensor,
) -> float:
    """Return the mean of |current| over the devices of a matrix and over chips, in units of the weight."""
    mean, variance = (weight.filters_first(values).flatten(1) for values in moments[name])
    if bias is not None:  # every row holds the same part of the bias
        sums = (values[bias[1]].unsqueeze(1) / rows for values in moments[bias[0]])
        mean, variance = (
            torch.cat([v, s.expand(-1, rows)], dim=1) for v, s in zip((mean, variance), sums, strict=True)
        )
    current, std = (mean - zero).double(), variance.double().sqrt()
    ratio = current / std.clamp_min(torch.finfo(torch.float64).tiny)
    spread = std * math.sqrt(2.0 / math.pi) * ratio.square().mul(-0.5).exp()
    return float((spread + current * torch.erf(ratio / math.sqrt(2.0))).mean())
