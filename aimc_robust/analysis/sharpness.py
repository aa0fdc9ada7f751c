"""Sharpness: the increase of a loss at perturbed weights (Incorruptible paper, Sec. 3, Sharpness Measures).

All of them are means over minibatches B of size m (m-sharpness) of L_B(w + eps) - L_B(w). They differ in eps:

- ascent direction: eps = rho g / ||g||_2 with g = grad L_B(w), the single ascent step that approximates the maximum of
  Eq. 1 (Foret et al., ICLR 2021, Eq. 2);
- average direction: eps is drawn at random, as in the expectation of Eq. 2;
- gradient sharpness: eps is the perturbation at which a training method takes its gradient. It is ascent-direction
  sharpness for SAM and average-direction sharpness for RWP.

The model's weights and buffers are unchanged bit for bit, and it runs in its current mode: call `model.eval()` first
for a trained model, so that BatchNorm uses its running statistics. The values do not depend on the size of the batches
if m is given.
"""

from collections.abc import Iterable

import torch
from torch import nn

from aimc_robust.analysis.update_gradients import clean_and_perturbed, update_batches, with_fixed_strength
from aimc_robust.data.joining import minibatches
from aimc_robust.errors import DataError, InputError, require_type, require_whole
from aimc_robust.float32_convolutions import float32_convolutions
from aimc_robust.noise.analog_weights import Scope, unwrap_model
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.model_kinds import check_model
from aimc_robust.noise.perturbation import frozen_buffers, perturbed
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.gradient_passes import LossFunction, LossPasses, scalar_loss
from aimc_robust.training.methods.sam import SAM


@float32_convolutions()
def average_sharpness(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Iterable[Batch],
    noise: WeightNoise,
    *,
    draws: int = 5,
    m: int | None = None,
    scope: Scope = "weights",
    seed: int = 0,
) -> float:
    """Return the average-direction sharpness: the mean over draws and minibatches of L_B(w + eps) - L_B(w).

    The paper's eps (Eq. 2) is `ar.Gaussian(sigma)`, of scale `filter_max`.

    Args:
        model: The model.
        loss_fn: Function (output, target) -> scalar loss.
        batches: (input, target) pairs.
        noise: Weight noise that eps is drawn from.
        draws: Draws per minibatch.
        m: Size of the minibatches that the data are regrouped into; None: the batches as they are.
        scope: Parameters that are perturbed, see `noise.analog_weights`.
        seed: Root seed of the draws.

    Raises:
        DataError: If there is no minibatch.
        InputError: If an argument is invalid.
    """
    require_whole("draws", draws, low=1)
    check_model(model)
    increases = []
    with frozen_buffers(model), torch.no_grad():
        for number, batch in enumerate(minibatches(batches, m)):
            clean = scalar_loss(model, loss_fn, batch)
            for draw in range(draws):
                axes = Axes(seed).at(use="sharpness", batch=number, draw=draw)
                with perturbed(model, noise, scope=scope, generator=axes):
                    increases.append(float(scalar_loss(model, loss_fn, batch) - clean))
    return _mean(increases)


@float32_convolutions()
def ascent_sharpness(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Iterable[Batch],
    *,
    rho: float,
    m: int | None = None,
    scope: Scope = "weights",
) -> float:
    """Return the ascent-direction sharpness: the mean over minibatches of L_B(w + rho g / ||g||_2) - L_B(w).

    Here g = grad L_B(w), over the parameters in scope.

    Args:
        model: The model.
        loss_fn: Function (output, target) -> scalar loss.
        batches: (input, target) pairs.
        rho: Radius, in the units of the weights.
        m: Size of the minibatches that the data are regrouped into; None: the batches as they are.
        scope: Parameters that are perturbed, see `noise.analog_weights`; the paper's ball (Eq. 1) is over `all`.

    Raises:
        DataError: If there is no minibatch.
        InputError: If an argument is invalid.
    """
    check_model(model)
    method = SAM(rho=rho, scope=scope, per_worker=True)  # without communication: other processes may not call this
    increases = []
    with frozen_buffers(model):
        for batch in minibatches(batches, m):
            clean = scalar_loss(model, loss_fn, batch).detach()
            with method.perturbation(model, LossPasses(model, loss_fn, [batch]), step=1), torch.no_grad():
                increases.append(float(scalar_loss(model, loss_fn, batch) - clean))
    return _mean(increases)


@float32_convolutions()
def gradient_sharpness(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Iterable[Batch],
    method: Method,
    *,
    step: int | None = None,
    m: int | None = None,
    seed: int = 0,
) -> float:
    """Return the gradient sharpness: the mean over minibatches of L_B(w + eps) - L_B(w), with the method's own eps.

    A method that perturbs with another batch than that of its perturbed pass uses the minibatch before it.

    Args:
        model: The model.
        loss_fn: Function (output, target) -> scalar loss.
        batches: (input, target) pairs.
        method: A training method that perturbs weights, such as `ar.SAM(rho=0.1)`.
        step: Update whose strength of the method's ramp counts; None: full strength.
        m: Size of the minibatches that the data are regrouped into; None: the batches as they are.
        seed: Root seed of the method's draws, in place of its own.

    Raises:
        DataError: If there is no minibatch.
        InputError: If an argument is invalid, or the method perturbs no weights.
    """
    check_model(model)
    require_type("method", method, Method, example="a training method such as SAM(rho=0.1)")
    if step is not None:
        require_whole("step", step, low=1)
    if method.gradient_weights[1] == 0:
        raise InputError(f"expected a method that perturbs weights, such as SAM(rho=0.1), got {method!r}.")
    model, factor = unwrap_model(model), 1.0 if step is None else method.ramp.factor(step)
    increases, whole = [], list(minibatches(batches, m))
    for number in range(len(whole)):
        axes = Axes(seed).at(use="sharpness", batch=number)
        fixed = with_fixed_strength(method, factor, seed=axes.seed())
        clean, shifted = clean_and_perturbed(model, fixed, loss_fn, update_batches(fixed, whole, number), axes)
        increases.append(float(shifted.loss - clean.loss))
    return _mean(increases)


def _mean(increases: list[float]) -> float:
    if not increases:
        raise DataError("expected at least one batch of images and labels, got none.")
    return sum(increases) / len(increases)
