"""Mean and variance of a model's weights over chips: of programmed weights, and of weights under a plain noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aimc_robust.devices.moment_table import MomentTable, moment_table
from aimc_robust.devices.moments import Moments
from aimc_robust.errors import InputError, require_whole
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.program import check_program
from aimc_robust.hardware.programming.programmed_matrix import with_bias_rows
from aimc_robust.hardware.programming.weights_to_states import matrix_limit
from aimc_robust.noise.analog_weights import AnalogWeight, analog_weights
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.laplace import Laplace
from aimc_robust.noise.scales import weight_scale
from aimc_robust.seeding import Axes


def crossbar_table(crossbar: Crossbar, *, time_s: float = 0.0) -> MomentTable:
    """The moments of the crossbar's devices over its window, `time_s` seconds after programming."""
    return moment_table(
        crossbar.card,
        time_s=time_s,
        window=crossbar.programming_window,
        error_scale=crossbar.error_scale,
        stuck=crossbar.stuck,
        programming=crossbar.programming,
        drift=crossbar.drift,
    )


def weight_moments(
    crossbar: Crossbar, matrix: Tensor, *, time_s: float = 0.0, layer: str = "", table: MomentTable | None = None
) -> Moments:
    """Mean and variance over chips of the weights that are read back, without read noise and converters.

    E w' = limit (sum_d f_d E g_d + offset), Var w' = limit^2 sum_d f_d^2 Var g_d over the weight's devices d, which
    err independently; f_d is the device's sign times the factor of its bank (`Mapping.factors`).
    matrix: (outputs, inputs) in units of the weight. table: from `crossbar_table`, to make it once for many layers.
    Returns (outputs, inputs), in units of the weight and its square. Raises as `program_matrix`.
    """
    exact = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    limit = matrix_limit(crossbar, exact, layer=layer)
    table = table or crossbar_table(crossbar, time_s=time_s)
    (low, high), mapped = crossbar.programming_window, crossbar.mapping_object
    u = (exact / limit.clamp(min=torch.finfo(exact.dtype).tiny)).clamp_(-1.0, 1.0)
    factors, offset = crossbar.factors
    mean, variance = torch.full_like(exact, offset), torch.zeros_like(exact)
    per_bank = len(mapped.signs) // mapped.banks
    for device, g in enumerate(mapped.to_states(u, low / high, crossbar.cell_bits)):
        factor = mapped.signs[device] * factors[device // per_bank] / high
        state = table.at(g.mul_(high))
        mean.add_(state.mean, alpha=factor)
        variance.add_(state.variance, alpha=factor**2)
    return Moments(mean.mul_(limit), variance.mul_(limit.square()))


def noise_moments(noise: WeightNoise, name: str, weight: Tensor, *, axes: Axes, draws: int = 64) -> Moments:
    """Mean and variance of a weight (filters along dimension 0) under a plain noise.

    Gaussian and Laplace: closed form. Any other: from `draws` draws, without bias; the mean of K draws scatters by the
    variance over K. axes: of the draws, which add the name and their number.
    """
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    match noise:
        case Gaussian():
            std = weight_scale(weight, noise.scale) * noise.sigma
        case Laplace():
            std = weight_scale(weight, noise.scale) * (noise.b * (1.0 if noise.matched_std else 2.0**0.5))
        case _:
            return _drawn(noise, name, weight, axes, draws)
    return Moments(weight.clone(), std.square().expand_as(weight).clone())


def _drawn(noise: WeightNoise, name: str, weight: Tensor, axes: Axes, draws: int) -> Moments:
    require_whole("draws (of a noise without closed form)", draws, low=2)
    mean, squares = torch.zeros_like(weight), torch.zeros_like(weight)
    for k in range(draws):  # Welford: no draw is kept, nothing cancels
        apart = noise.perturb(name, weight, axes.at(layer=name, draw=k).generator()).sub_(mean)
        mean.add_(apart, alpha=1.0 / (k + 1))
        squares.addcmul_(apart, apart, value=k / (k + 1))
    return Moments(mean, squares.div_(draws - 1))


@torch.no_grad()
def model_moments(
    model: nn.Module, condition: WeightNoise | None, *, time_s: float = 0.0, seed: int = 0, draws: int = 64
) -> dict[str, Moments]:
    """Parameter name -> mean and variance over chips, in the parameter's own layout, for all that a condition touches.

    model: for a crossbar what `prepare` made, with BatchNorm folded; else the model itself. None touches nothing.
    A crossbar with bias rows touches biases too; read noise, converters and compensations are no errors of weights and
    have no part in it. seed, draws: of a noise without closed form. Half precision is computed in float32.
    Raises InputError for a time without crossbar, and what programming refuses.
    """
    if condition is None or not isinstance(condition, Crossbar):
        if time_s:
            raise InputError("a time belongs to a crossbar; there is none here.")
        axes = Axes(seed).at(use="moments")
        found = {} if condition is None else analog_weights(model)
        return {name: _under_noise(condition, weight, axes, draws) for name, weight in found.items()}
    check_program(model, condition, time_s, stacklevel=3)
    table, moments = crossbar_table(condition, time_s=time_s), {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for name, weight in analog_weights(model).items():
        both = weight_moments(condition, with_bias_rows(condition, weight), layer=weight.layer, table=table)
        first = weight.filters_first()
        inputs = first[0].numel()
        moments[name] = Moments(*(weight.to_parameter_layout(part[:, :inputs].reshape(first.shape)) for part in both))
        if both.mean.shape[1] > inputs:
            owner = _owner(weight)
            whole = moments.setdefault(names[id(owner)], _certain(owner))
            for part, values in zip(whole, both, strict=True):
                _view_of_bias(part, owner, weight).copy_(values[:, inputs:].sum(dim=1))
    return moments


def _under_noise(noise: WeightNoise, weight: AnalogWeight, axes: Axes, draws: int) -> Moments:
    found = noise_moments(noise, weight.layer, weight.filters_first(), axes=axes, draws=draws)
    return Moments(*(weight.to_parameter_layout(part) for part in found))


def _owner(weight: AnalogWeight) -> nn.Parameter:
    """The parameter that the bias is a view of; attention's holds those of three matrices."""
    same = (p for p in weight.module._parameters.values() if p is not None and p.ndim == 1)
    return next(p for p in same if p.untyped_storage().data_ptr() == weight.bias.untyped_storage().data_ptr())


def _certain(parameter: nn.Parameter) -> Moments:
    mean = parameter.detach().to(torch.promote_types(parameter.dtype, torch.float32), copy=True)
    return Moments(mean, torch.zeros_like(mean))


def _view_of_bias(values: Tensor, owner: nn.Parameter, weight: AnalogWeight) -> Tensor:
    first = weight.bias.storage_offset() - owner.storage_offset()
    return values[first : first + len(weight.bias)]
