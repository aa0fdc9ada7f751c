"""Mean and variance over chips of a model's weights, when programmed or under a weight noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aimc_robust.devices.moments import Moments, MomentTable, moment_table
from aimc_robust.errors import InputError, require_whole
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.config.placement import Hardware, check_condition
from aimc_robust.hardware.config.weight_layout import relative_weights
from aimc_robust.hardware.program import check_program
from aimc_robust.hardware.programming.programmed_matrix import with_bias_rows
from aimc_robust.hardware.programming.weights_to_states import stuck_states
from aimc_robust.noise.analog_weights import AnalogWeight, analog_weights
from aimc_robust.noise.base import WeightNoise, own_source, perturb_checked
from aimc_robust.noise.distributions import Gaussian, Laplace
from aimc_robust.noise.model_kinds import check_model
from aimc_robust.noise.scales import weight_scale
from aimc_robust.seeding import Axes

SAMPLED_DRAWS = 64  # of a noise without closed form


def has_closed_form(condition: WeightNoise) -> bool:
    """Return whether the moments under a condition are computed; those of other noises are estimated from draws."""
    return isinstance(condition, (Hardware, Gaussian, Laplace))


def weight_moments(
    crossbar: Crossbar, matrix: Tensor, *, time_s: float = 0.0, layer: str = "", table: MomentTable | None = None
) -> Moments:
    """Compute mean and variance over chips of weights (outputs, inputs) read back, without read noise and converters.

    E w' = limit (sum_d f_d E g_d + offset), Var w' = limit^2 sum_d f_d^2 Var g_d over the weight's devices d, whose
    errors are independent; f_d is the device's sign times the factor of its bank (`WeightMapping.factors`). `table` is
    the `moment_table` of the crossbar's device, to be shared between layers.
    """
    exact = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    limit = crossbar.weights.weight_limit(exact, layer=layer)
    table = table or moment_table(crossbar.device.cell, **crossbar.device.state_options(time_s))
    (low, high), mapping = crossbar.device.programming_window, crossbar.weights.mapping
    u = relative_weights(exact, limit)
    factors, offset = crossbar.factors
    stuck = stuck_states(crossbar.device, crossbar.weights, exact, layer)
    mean, variance = torch.full_like(exact, offset), torch.zeros_like(exact)
    per_bank = len(mapping.signs) // mapping.banks
    for device, g in enumerate(mapping.to_states(u, low / high, crossbar.weights.cell_bits)):
        factor = mapping.signs[device] * factors[device // per_bank] / high
        state = table.at(g.mul_(high))
        if stuck is not None:
            works = stuck[device].isnan()
            state = Moments(torch.where(works, state.mean, stuck[device]), state.variance * works)
        mean.add_(state.mean, alpha=factor)
        variance.add_(state.variance, alpha=factor**2)
    return Moments(mean.mul_(limit), variance.mul_(limit.square()))


def noise_moments(noise: WeightNoise, name: str, weight: Tensor, *, axes: Axes, draws: int = SAMPLED_DRAWS) -> Moments:
    """Compute mean and variance of a weight under a weight noise.

    Gaussian and Laplace noise have a closed form. For any other noise the moments are unbiased estimates from draws;
    the mean of K draws has the variance divided by K.
    """
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    match noise:
        case Gaussian():
            std = weight_scale(weight, noise.scale, layer=name) * noise.sigma
        case Laplace():
            std = weight_scale(weight, noise.scale, layer=name) * (noise.b * (1.0 if noise.matched_std else 2.0**0.5))
        case _:
            return _sampled_moments(noise, name, weight, axes, draws)
    return Moments(weight.clone(), std.square().expand_as(weight).clone())


def _sampled_moments(noise: WeightNoise, name: str, weight: Tensor, axes: Axes, draws: int) -> Moments:
    require_whole("draws (of a noise without closed form)", draws, low=2)
    mean, squares = torch.zeros_like(weight), torch.zeros_like(weight)
    for k in range(draws):  # Welford's algorithm: no draw is kept, and no cancellation
        deviation = perturb_checked(noise, name, weight, own_source(noise, axes.at(layer=name, draw=k))).sub_(mean)
        mean.add_(deviation, alpha=1.0 / (k + 1))
        squares.addcmul_(deviation, deviation, value=k / (k + 1))
    return Moments(mean, squares.div_(draws - 1))


@torch.no_grad()
def model_moments(
    model: nn.Module,
    condition: WeightNoise | None,
    *,
    time_s: float = 0.0,
    chip_seed: int = 0,
    draws: int = SAMPLED_DRAWS,
) -> dict[str, Moments]:
    """Compute mean and variance over chips of all weights that a condition affects, by parameter name, in its layout.

    A crossbar with bias rows also affects biases. Read noise, IR drop, converters and compensations are not
    included. Half precision is computed in float32.

    Args:
        model: For a crossbar the result of `prepare`, with BatchNorm folded; otherwise the model itself.
        condition: Crossbar, placement or weight noise; None affects nothing.
        time_s: Time since programming [s]; 0 without a crossbar.
        chip_seed: Root seed of the draws of a noise without closed form.
        draws: Number of draws of a noise without closed form.

    Raises:
        InputError: if a time is given without a crossbar, or the model cannot be programmed.
    """
    check_condition(condition)
    if not isinstance(condition, Hardware):
        if time_s:
            raise InputError(f"time_s belongs to a crossbar, got time_s={time_s:g} without a crossbar.")
        if condition is None:
            return {}
        check_model(model)
        condition.check_model(model)
        axes = Axes(chip_seed).at(use="moments")
        return {
            name: _noise_moments_of(condition, weight, axes, draws) for name, weight in analog_weights(model).items()
        }
    check_program(model, condition, time_s)
    tables = [
        (crossbar, moment_table(crossbar.device.cell, **crossbar.device.state_options(time_s)))
        for crossbar in condition.crossbars
    ]
    moments: dict[str, Moments] = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for name, weight in analog_weights(model).items():
        crossbar = condition.crossbar_of(weight.layer)
        if crossbar is None:
            continue
        table = next(table for other, table in tables if other == crossbar)
        with crossbar.naming_layer(weight.layer):
            matrix = weight_moments(crossbar, with_bias_rows(crossbar, weight), layer=weight.layer, table=table)
        filters = weight.filters_first()
        inputs = filters[0].numel()
        moments[name] = Moments(
            *(weight.to_parameter_layout(values[:, :inputs].reshape(filters.shape)) for values in matrix)
        )
        if weight.bias is not None and matrix.mean.shape[1] > inputs:
            parameter, part = weight.bias_source()
            bias_moments = moments.setdefault(names[id(parameter)], _deterministic_moments(parameter))
            for target, values in zip(bias_moments, matrix, strict=True):
                target[part].copy_(values[:, inputs:].sum(dim=1))
    return moments


def _noise_moments_of(noise: WeightNoise, weight: AnalogWeight, axes: Axes, draws: int) -> Moments:
    moments = noise_moments(noise, weight.layer, weight.filters_first(), axes=axes, draws=draws)
    return Moments(*(weight.to_parameter_layout(values) for values in moments))


def _deterministic_moments(parameter: nn.Parameter) -> Moments:
    mean = parameter.detach().to(torch.promote_types(parameter.dtype, torch.float32), copy=True)
    return Moments(mean, torch.zeros_like(mean))
