"""The diagonal of the loss's Hessian by Hutchinson's estimator: d = v * (H v), v of random signs, E d = diag(H).

Source: M. F. Hutchinson, Commun. Stat. Simul. Comput. 19, 433, 1990; C. Bekas et al., Appl. Numer. Math. 57, 1214.
The model is left bit for bit as it was. At the kinks of ReLU and max-pooling the second derivative is that beside them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from aimc_robust.errors import DataError, InputError, require_known, require_whole
from aimc_robust.noise.analog_weights import Scope, layer_name, weights_in_scope
from aimc_robust.seeding import Axes
from aimc_robust.training.methods.base import frozen_buffers
from aimc_robust.training.methods.gradient_passes import Batch, LossFunction, scalar_loss


@dataclass(frozen=True)
class Contraction:
    """sum_i a_i d_i over the entries i of each parameter, for several weightings a of one estimated diagonal d.

    names: of the parameters. values: (weightings, parameters, batches, probes). losses: mean loss of each batch at the
    weights as they are. images: of each batch, its weight in every mean.
    """

    names: tuple[str, ...]
    values: Tensor
    losses: Tensor
    images: Tensor

    @property
    def shares(self) -> Tensor:
        """Each batch's share of the images."""
        return self.images / self.images.sum()

    @property
    def loss(self) -> float:
        """Mean loss over all images."""
        return float(self.losses @ self.shares)

    @property
    def per_parameter(self) -> Tensor:
        """(weightings, parameters): sum_i a_i H_ii within each parameter."""
        return self.values.mean(dim=-1) @ self.shares

    @property
    def total(self) -> Tensor:
        """(weightings,): sum_i a_i H_ii over all parameters."""
        return self.per_parameter.sum(dim=1)

    def standard_error(self, *, share: float = 1.0) -> Tensor:
        """(weightings,): of `total`, as an estimate for images of which these are the part `share`, from 0 to 1.

        From the spread of probes within each batch; below a share of 1 also from that of the batches' images. One
        probe cannot tell the two apart: its spread over batches is then both, whatever the share, which errs on the
        large side. NaN for one probe of one batch.
        """
        draws, shares = self.values.sum(dim=1), self.shares
        probes, squares = draws.shape[-1], shares.square()
        means = draws.mean(dim=-1)
        spread = (means - self.total.unsqueeze(1)).square() @ shares / (1.0 - squares.sum())  # NaN for one batch
        if probes == 1:
            return (spread * squares.sum()).sqrt()
        within = draws.var(dim=-1) / probes
        of_images = (spread - within @ shares).clamp(min=0.0) * squares.sum()
        return (within @ squares + (of_images * (1.0 - share) if share < 1 else 0.0)).sqrt()


def contract_hessian(
    model: nn.Module,
    batches: Iterable[Batch],
    weightings: Sequence[Mapping[str, Tensor]],
    *,
    loss_fn: LossFunction = F.cross_entropy,
    seed: int = 0,
    probes: int = 1,
) -> Contraction:
    """sum_i a_i H_ii for each weighting a, H the Hessian of the mean loss over `batches`, in evaluation mode.

    One pass serves all weightings, and one batch's diagonal is all that is held of it. Every batch and probe has signs
    of its own, named by the parameter, so that none depends on another layer.
    weightings: parameter name -> a, of the parameter's shape; a parameter that one leaves out counts nothing there.
    loss_fn: (outputs, targets) -> the batch's mean loss. probes: per batch.
    Raises UnknownNameError for a name that is no parameter, DataError without batches, and InputError for a loss that
    cannot be differentiated twice.
    """
    names = tuple(dict.fromkeys(name for weighting in weightings for name in weighting))
    rows, losses, images = [], [], []
    with _twice_differentiable(model, names) as weights:
        for draw in _diagonals(model, batches, weights, loss_fn, seed, probes):
            if draw.probe == 0:
                losses.append(draw.loss)
                images.append(draw.images)
            rows.append([[_dot(weighting, name, draw.diagonal) for name in names] for weighting in weightings])
    values = torch.tensor(rows, dtype=torch.float64).reshape(len(losses), probes, len(weightings), len(names))
    counts = torch.tensor(images, dtype=torch.float64)
    return Contraction(names, values.permute(2, 3, 0, 1), torch.tensor(losses, dtype=torch.float64), counts)


def hessian_diagonal(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    scope: Scope = "weights",
    loss_fn: LossFunction = F.cross_entropy,
    seed: int = 0,
    probes: int = 1,
) -> dict[str, Tensor]:
    """Parameter name -> the estimated diagonal of the Hessian of the mean loss, of the parameter's shape.

    scope: which parameters, see `weights_in_scope`. The rest, and what it raises: as for `contract_hessian`.
    """
    total, sums = 0, {}
    with _twice_differentiable(model, weights_in_scope(model, scope)) as weights:
        for draw in _diagonals(model, batches, weights, loss_fn, seed, probes):
            total += draw.images
            for name, diagonal in draw.diagonal.items():
                diagonal.mul_(draw.images)
                sums[name] = sums[name].add_(diagonal) if name in sums else diagonal
    return {name: found.div_(total) for name, found in sums.items()}


class _Draw(NamedTuple):
    probe: int
    images: int
    loss: float
    diagonal: dict[str, Tensor]  # v * (H_b v)


def _diagonals(
    model: nn.Module,
    batches: Iterable[Batch],
    weights: Mapping[str, nn.Parameter],
    loss_fn: LossFunction,
    seed: int,
    probes: int,
) -> Iterator[_Draw]:
    require_whole("probes", probes, low=1)
    axes, number = Axes(seed).at(use="hutchinson"), -1
    for number, batch in enumerate(batches):
        loss = scalar_loss(model, loss_fn, batch)
        gradient = _first_derivative(loss, weights)
        for probe in range(probes):
            signs = {
                name: _signs(weight, axes.at(layer=layer_name(name), batch=number, probe=probe))
                for name, weight in weights.items()
            }
            products = _products(gradient, weights, signs, keep=probe + 1 < probes)
            yield _Draw(
                probe,
                len(batch[1]),
                float(loss.detach()),
                {name: sign.mul_(products[name]) for name, sign in signs.items()},
            )
    if number < 0:
        raise DataError("expected at least one batch of images and labels, got none.")


def _signs(weight: Tensor, axes: Axes) -> Tensor:
    """+1 or -1 with equal chances, drawn on the CPU whatever the weight's device."""
    drawn = torch.empty(weight.shape, dtype=torch.float32).bernoulli_(0.5, generator=axes.generator())
    return drawn.mul_(2.0).sub_(1.0).to(device=weight.device, dtype=weight.dtype)


def _first_derivative(loss: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradient, with its graph, for each weight that it depends on a second time: elsewhere H is 0."""
    if not loss.requires_grad:
        return {}
    found = torch.autograd.grad(loss, list(weights.values()), create_graph=True, allow_unused=True)
    return {name: g for name, g in zip(weights, found, strict=True) if g is not None and g.requires_grad}


def _products(
    gradient: Mapping[str, Tensor], weights: Mapping[str, Tensor], signs: Mapping[str, Tensor], *, keep: bool
) -> dict[str, Tensor]:
    """H v for each weight."""
    if not gradient:
        return {name: torch.zeros_like(weight) for name, weight in weights.items()}
    refusal = "the model or its loss cannot be differentiated twice"
    if _is_cut(gradient.values()):
        raise InputError(f"{refusal}: a function in it is marked once_differentiable.")
    try:
        found = torch.autograd.grad(
            list(gradient.values()),
            list(weights.values()),
            [signs[name] for name in gradient],
            retain_graph=keep,
            materialize_grads=True,
        )
    except RuntimeError as error:
        if "not implemented" not in str(error):
            raise
        raise InputError(f"{refusal}: {error}.") from error
    return dict(zip(weights, found, strict=True))


def _is_cut(gradient: Iterable[Tensor]) -> bool:
    """Whether the graph of the gradient ends at a once_differentiable function: torch takes that for a constant."""
    nodes, seen = [g.grad_fn for g in gradient], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        if node.name().endswith("::Error"):
            return True
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]
    return False


def _dot(weighting: Mapping[str, Tensor], name: str, diagonal: Mapping[str, Tensor]) -> float:
    if name not in weighting:
        return 0.0
    return float((diagonal[name] * weighting[name].to(diagonal[name])).sum(dtype=torch.float64))


@contextmanager
def _twice_differentiable(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, nn.Parameter]]:
    """The named parameters, alone asking for gradients, in evaluation mode and with kernels that have a second
    derivative; on leaving all is as it was. Raises UnknownNameError for a name that is no parameter."""
    known = dict(model.named_parameters())
    for name in names:
        require_known("parameter", name, known)
    weights = {name: known[name] for name in names}
    asked = [(parameter, parameter.requires_grad) for parameter in known.values()]
    modes = [(module, module.training) for module in model.modules()]
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        stack.enter_context(frozen_buffers(model))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(module, nn.RNNBase) for module in model.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        try:
            model.eval()
            for parameter, _ in asked:
                parameter.requires_grad_(False)
            for parameter in weights.values():
                parameter.requires_grad_(True)
            yield weights
        finally:
            for parameter, flag in asked:
                parameter.requires_grad_(flag)
            for module, training in modes:
                module.training = training
