"""Expected rise of a loss under independent Gaussian errors z of the weights around m, and each layer's part of it.

    E L(m + z) - L(m) = int_0^1 E sum_i z_i (g_i(m + sqrt(s) z) - g_i(m - sqrt(s) z)) / (4 sqrt(s)) ds

with the loss's gradient g: L(m + z) - L(m) is the integral of z . g(m + t z) over t, its mean over z and -z the one
above with s = t^2. For a quadratic loss the integrand is the same for every s, 1/2 sum_i Var(z_i) H_ii; for others
Gauss' rule of two points in s is exact up to the eighth order in z. Gradients at a distance see the kinks of ReLU and
max pooling, to which the Hessian of automatic differentiation is blind. The sum over i splits by layer.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aimc_robust.devices.moments import Moments
from aimc_robust.errors import DataError, require_known
from aimc_robust.noise.analog_weights import layer_name
from aimc_robust.noise.perturbation import evaluation_mode, frozen_buffers
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch
from aimc_robust.training.methods.gradient_passes import LossFunction, loss_and_items

NODES = (0.5 - 0.5 / 3.0**0.5, 0.5 + 0.5 / 3.0**0.5)  # s of Gauss' two points on [0, 1], each of weight 1/2


@dataclass(frozen=True)
class ExpectedRise:
    """The rise under several errors, estimated by one draw of z for each part of the data and each node.

    Attributes:
        names: Names of the parameters.
        values: (errors, parameters, parts, nodes) estimates of each parameter's part of the rise.
        items: (parts,) number of images, or of the task's items, of each part: its weight in every mean.
    """

    names: tuple[str, ...]
    values: Tensor
    items: Tensor

    @property
    def per_parameter(self) -> Tensor:
        """(errors, parameters): each parameter's part of the rise."""
        return self.values.mean(dim=-1) @ (self.items / self.items.sum())

    @property
    def total(self) -> Tensor:
        """(errors,): the rise."""
        return self.per_parameter.sum(dim=1)

    def standard_error(self, *, sampled_fraction: float = 1.0) -> Tensor:
        """Return the standard error of `total` (errors,), for a sampled fraction (0 to 1) of all images.

        It is estimated from the difference of the nodes within each part, which have their own z (where the integrand
        depends on s, this overestimates the error), and, for a fraction below 1, from the spread of the parts' images.
        NaN for a fraction of the images in one part.
        """
        draws, fractions = self.values.sum(dim=1), self.items / self.items.sum()
        within = draws.var(dim=-1) / draws.shape[-1]
        variance = within @ fractions.square()
        if sampled_fraction < 1:
            squares = fractions.square().sum()
            spread = (draws.mean(dim=-1) - self.total.unsqueeze(1)).square() @ fractions / (1.0 - squares)
            variance += (spread - within @ fractions).clamp(min=0.0) * squares * (1.0 - sampled_fraction)
        return variance.sqrt()


def expected_rise(
    model: nn.Module,
    parts: Iterable[Sequence[Batch]],
    errors: Sequence[Mapping[str, Moments]],
    *,
    loss_fn: LossFunction,
    seed: int = 0,
) -> ExpectedRise:
    """Estimate the rise of the mean loss in evaluation mode, see the head of this file.

    Args:
        model: The model; unchanged bit for bit afterwards.
        parts: The data in parts of one or more batches. How a part is cut into batches does not matter.
        errors: For each of the errors, parameter name -> mean weights m and variances of z; other parameters have no
            error. Standard normal numbers are derived from (seed, part, node, layer): all errors share them.
        loss_fn: The loss.
        seed: Root seed of the random numbers.

    Raises:
        UnknownNameError: for a name that is not a parameter.
        DataError: if there is no part.
    """
    names = tuple(dict.fromkeys(name for moments in errors for name in moments))
    axes, rows, items = Axes(seed).at(use="expected rise"), [], []
    with differentiable(model, names) as weights:
        trained = {name: weight.detach().clone() for name, weight in weights.items()}
        for number, part in enumerate(parts):
            for node, s in enumerate(NODES):
                normal = {
                    n: _normal(w, axes.at(part=number, node=node, layer=layer_name(n))) for n, w in weights.items()
                }
                for moments in errors:
                    slope, count = _slope(model, part, loss_fn, weights, trained, moments, normal, s)
                    rows.append(slope)
            items.append(count)
    if not items:
        raise DataError("expected at least one batch of images and labels, got none.")
    values = torch.stack(rows).reshape(len(items), len(NODES), len(errors), len(names))
    return ExpectedRise(names, values.permute(2, 3, 0, 1), torch.tensor(items, dtype=torch.float64))


def mean_gradient(
    model: nn.Module, batches: Iterable[Batch], weights: Mapping[str, Tensor], *, loss_fn: LossFunction
) -> dict[str, Tensor]:
    """Return the gradient of the mean loss in evaluation mode at these weights; the model is unchanged afterwards."""
    with differentiable(model, weights) as parameters:
        _set(parameters, weights)
        sums, items = _gradient_sums(model, batches, loss_fn, parameters)
    return {name: total / items for name, total in sums.items()}


def _normal(weight: Tensor, axes: Axes) -> Tensor:
    """Draw standard normal numbers, on the CPU whatever the weight's device."""
    dtype = torch.promote_types(weight.dtype, torch.float32)
    return torch.randn(weight.shape, generator=axes.generator(), dtype=dtype).to(weight.device)


def _slope(
    model: nn.Module,
    part: Sequence[Batch],
    loss_fn: LossFunction,
    weights: Mapping[str, nn.Parameter],
    trained: Mapping[str, Tensor],
    moments: Mapping[str, Moments],
    normal: Mapping[str, Tensor],
    s: float,
) -> tuple[Tensor, int]:
    """Return each parameter's part of the integrand at `s`, (parameters,), from one draw of z; and the part's items."""
    z = {name: moment.variance.sqrt() * normal[name].to(moment.variance.dtype) for name, moment in moments.items()}
    sums = dict.fromkeys(weights, 0.0)
    for sign in (1.0, -1.0):
        shifted = {name: moment.mean + sign * s**0.5 * z[name] for name, moment in moments.items()}
        _set(weights, {**trained, **shifted})
        gradients, items = _gradient_sums(model, part, loss_fn, {name: weights[name] for name in moments})
        for name, gradient in gradients.items():
            sums[name] += sign * float((z[name] * gradient).sum(dtype=torch.float64))
    return torch.tensor(list(sums.values()), dtype=torch.float64) / (4.0 * s**0.5 * max(items, 1)), items


def _gradient_sums(
    model: nn.Module, batches: Iterable[Batch], loss_fn: LossFunction, weights: Mapping[str, nn.Parameter]
) -> tuple[dict[str, Tensor], int]:
    """Return the gradient of the loss's sum over items, 0 where it depends on no weight, and their number."""
    sums = {
        name: torch.zeros(weight.shape, dtype=torch.promote_types(weight.dtype, torch.float32), device=weight.device)
        for name, weight in weights.items()
    }
    count = 0
    for batch in batches:
        loss, items = loss_and_items(model, loss_fn, batch)
        count += items
        if items == 0 or not weights or not loss.requires_grad:  # the mean over no items is not finite
            continue
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        for total, gradient in zip(sums.values(), gradients, strict=True):
            if gradient is not None:
                total.add_(gradient, alpha=items)
    return sums, count


@torch.no_grad()
def _set(weights: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        weight.copy_(values[name])
    torch.clear_autocast_cache()  # which does not notice a change in place


@contextmanager
def differentiable(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, nn.Parameter]]:
    """Yield the named parameters in evaluation mode, the only ones that require gradients; restore all on exit.

    Raises UnknownNameError for a name that is not a parameter.
    """
    known = dict(model.named_parameters())
    for name in names:
        require_known("parameter", name, known)
    weights = {name: known[name] for name in names}
    values = {name: weight.detach().clone() for name, weight in weights.items()}
    requires_grad = [(parameter, parameter.requires_grad) for parameter in known.values()]
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        stack.enter_context(frozen_buffers(model))
        stack.enter_context(evaluation_mode(model))
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            # cuDNN differentiates recurrent layers in training mode only.
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        try:
            for parameter, _ in requires_grad:
                parameter.requires_grad_(False)
            for weight in weights.values():
                weight.requires_grad_(True)
            yield weights
        finally:
            _set(weights, values)
            for parameter, flag in requires_grad:
                parameter.requires_grad_(flag)
