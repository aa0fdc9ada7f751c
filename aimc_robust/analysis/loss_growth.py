"""Whether the perturbed loss E[L(w + eps)] grows with sigma, as Lemma A.1 of the Incorruptible paper states.

The lemma is the second-order expansion E[L(w + eps)] ~ L(w) + sigma^2 / 2 tr H for small sigma, so that the loss grows
if tr H > 0. Without the expansion, d E[L(w + eps)] / d(sigma^2) = 1/2 E[tr H(w + eps)] for a twice differentiable loss:
it grows wherever the mean curvature around w is positive, and at every sigma for a convex loss.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from torch import Tensor, nn

from aimc_robust.analysis.hutchinson import contract_hessian
from aimc_robust.analysis.perturbed_loss import ExampleLoss, LossName, example_loss, perturbed_losses
from aimc_robust.data.batches import Batches, as_reiterable
from aimc_robust.errors import InputError, require_finite, require_whole, short_repr
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.noise.analog_weights import Scope, analog_weights, unwrap_model, weights_in_scope
from aimc_robust.noise.scales import NoiseScale, check_scale, weight_scale
from aimc_robust.noise.weight_shift import derived_weights
from aimc_robust.statistics.multiple_testing import holm
from aimc_robust.statistics.t_interval import LEVEL, mean_error, t_interval
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.calling import main_output


@float32_convolutions()
def loss_growth(
    model: nn.Module,
    batches: Batches,
    sigmas: Sequence[float],
    *,
    loss: LossName | ExampleLoss = "cross-entropy",
    scale: NoiseScale = "absolute",
    scope: Scope = "all",
    draws: int = 20,
    probes: int = 4,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure the perturbed loss over a grid of sigma, and test where it grows.

    Args:
        model: The trained model, on the device of the batches; run in evaluation mode and left unchanged.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        sigmas: Strengths of Gaussian weight noise, each above 0; 0 is added in front.
        loss: `error` (1 for a wrong prediction, else 0), `cross-entropy` in nats, or a function (outputs, labels) ->
            one loss per example.
        scale: Unit of sigma, see `weight_scale`. The lemma has `absolute`.
        scope: Perturbed parameters, see `weights_in_scope`. The lemma has `all`.
        draws: Independent perturbations, at least 2, each in both directions. Draw j has the same ones at every sigma.
        probes: Probes per batch of Hutchinson's estimate of the curvature; 0 leaves it out.
        seed: Root seed of draws and probes.

    Returns:
        One row per sigma, in increasing order from 0: `sigma`; `loss`, the mean over draws, with its 95 % interval
        `low` to `high`; `growth`, the increase from the row before, with its paired 95 % interval `growth_low` to
        `growth_high`; `verdict`: `grows` or `falls` if that increase differs from 0 after Holm's correction over the
        grid, else `not settled`, and empty at 0; `second_order`, the lemma's expansion, and its standard error
        `second_order_se`. These two are NaN without a curvature: `probes=0`, the step function `error`, or computed
        weights (weight_norm, pruning).

    Raises:
        DataError: If there is no example, or labels do not suit the loss.
        DivergenceError: If a loss is not finite.
        InputError: If an argument is invalid.

    References:
        Incorruptible paper, Lemma A.1 and App. C.
    """
    require_whole("draws", draws, low=2)
    require_whole("probes", probes, low=0)
    check_scale(scale)
    grid, function, data = [0.0, *increasing("sigmas", sigmas)], example_loss(loss), as_reiterable(batches)
    losses, _ = perturbed_losses(model, data, grid, function, scale=scale, scope=scope, draws=draws, seed=seed)
    steps = np.diff(losses, axis=0)
    p_values = holm([mean_error(step).p_value(float(step.mean())) for step in steps])
    slope, slope_error = math.nan, math.nan
    if probes and loss != "error":
        slope, slope_error = _half_curvature(model, data, function, scale, scope, probes, seed)
    rows = []
    for number, (sigma, values) in enumerate(zip(grid, losses, strict=True)):
        step = steps[number - 1] if number else np.full(draws, math.nan)
        (low, high), (growth_low, growth_high) = t_interval(values), t_interval(step)
        is_settled = bool(number) and p_values[number - 1] < LEVEL
        direction = "grows" if step.mean() > 0 else "falls"
        rows.append(
            {
                "sigma": sigma,
                "loss": float(values.mean()),
                "low": low,
                "high": high,
                "growth": float(step.mean()),
                "growth_low": growth_low,
                "growth_high": growth_high,
                "verdict": "" if not number else direction if is_settled else "not settled",
                "second_order": float(losses[0, 0]) + sigma**2 * slope,
                "second_order_se": sigma**2 * slope_error,
            }
        )
    return pd.DataFrame(rows)


def increasing(name: str, sigmas: Sequence[float]) -> list[float]:
    """Return sigmas in increasing order; raise InputError unless each is finite, above 0, and there once."""
    if isinstance(sigmas, str) or not isinstance(sigmas, Sequence | np.ndarray) or len(sigmas) == 0:
        raise InputError(f"{name} must be a list of numbers above 0 such as [0.01, 0.02], got {short_repr(sigmas)}.")
    for sigma in sigmas:
        require_finite(f"each of {name}", sigma)
    values = sorted(float(sigma) for sigma in sigmas)
    if values[0] == 0.0 or len(set(values)) < len(values):
        raise InputError(f"{name} must be above 0 and each given once, got {values}.")
    return values


def _half_curvature(
    model: nn.Module,
    batches: Iterable[Batch],
    loss: ExampleLoss,
    scale: NoiseScale,
    scope: Scope,
    probes: int,
    seed: int,
) -> tuple[float, float]:
    """Return 1/2 sum_i s_i^2 H_ii and its standard error, where s is the scale of each weight; NaN if it has none."""
    inner = unwrap_model(model)
    if scope == "weights" and derived_weights(inner):
        return math.nan, math.nan

    def mean_loss(outputs: object, labels: object) -> Tensor:
        return loss(main_output(outputs), labels).mean()

    matrices = {id(matrix.parameter): matrix for matrix in analog_weights(inner).values()}
    variances = {}
    for name, weight in weights_in_scope(inner, scope).items():
        matrix = matrices.get(id(weight))
        values = weight.detach() if matrix is None else matrix.filters_first()
        variance = weight_scale(values, scale).square().expand_as(values)
        variances[name] = variance if matrix is None else matrix.to_parameter_layout(variance)
    hessian = contract_hessian(inner, batches, [variances], loss_fn=mean_loss, seed=seed, probes=probes)
    return 0.5 * float(hessian.total[0]), 0.5 * float(hessian.standard_error()[0])
