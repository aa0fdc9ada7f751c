"""Diagonal of the loss's Hessian by Hutchinson's estimator: d = v * (H v) with random signs v, so that E d = diag(H).

The model is unchanged bit for bit afterwards.

References:
    M. F. Hutchinson, Commun. Stat. Simul. Comput. 19, 433, 1990; C. Bekas et al., Appl. Numer. Math. 57, 1214.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.analysis.hessian_products import (
    differentiable_gradient,
    hessian_vector_product,
    twice_differentiable,
)
from aimc_robust.errors import DataError, require_whole
from aimc_robust.noise.analog_weights import layer_name
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch
from aimc_robust.training.methods.gradient_passes import LossFunction, loss_and_items


@dataclass(frozen=True)
class Contraction:
    """Sums sum_i a_i d_i over the entries i of each parameter, for several weightings a of one estimated diagonal d.

    Attributes:
        names: Names of the parameters.
        values: (weightings, parameters, batches, probes) sums.
        images: (batches,) number of images, or of the task's items, of each batch: its weight in every mean.
    """

    names: tuple[str, ...]
    values: Tensor
    images: Tensor

    @property
    def batch_fractions(self) -> Tensor:
        """(batches,): fraction of the images in each batch."""
        return self.images / self.images.sum()

    @property
    def per_parameter(self) -> Tensor:
        """(weightings, parameters): sum_i a_i H_ii within each parameter."""
        return self.values.mean(dim=-1) @ self.batch_fractions

    @property
    def total(self) -> Tensor:
        """(weightings,): sum_i a_i H_ii over all parameters."""
        return self.per_parameter.sum(dim=1)

    def standard_error(self, *, sampled_fraction: float = 1.0) -> Tensor:
        """Return the standard error of `total` (weightings,), for a sampled fraction (0 to 1) of all images.

        It is estimated from the spread of probes within each batch and, for a fraction below 1, from the spread of the
        batches' images. A single probe cannot separate the two: its spread over batches then contains both, whatever
        the fraction, which overestimates the error. NaN for one probe of one batch.
        """
        draws, fractions = self.values.sum(dim=1), self.batch_fractions
        probes, squares = draws.shape[-1], fractions.square()
        means = draws.mean(dim=-1)
        spread = (means - self.total.unsqueeze(1)).square() @ fractions / (1.0 - squares.sum())  # NaN for one batch
        if probes == 1:
            return (spread * squares.sum()).sqrt()
        within = draws.var(dim=-1) / probes
        image_variance = (spread - within @ fractions).clamp(min=0.0) * squares.sum()
        return (within @ squares + (image_variance * (1.0 - sampled_fraction) if sampled_fraction < 1 else 0.0)).sqrt()


def contract_hessian(
    model: nn.Module,
    batches: Iterable[Batch],
    weightings: Sequence[Mapping[str, Tensor]],
    *,
    loss_fn: LossFunction = F.cross_entropy,
    seed: int = 0,
    probes: int = 1,
) -> Contraction:
    """Estimate sum_i a_i H_ii for each weighting a, with H the Hessian of the mean loss in evaluation mode.

    A weighting maps names of parameters to a; missing parameters have weight 0. One pass over the batches serves all
    weightings; only one batch's diagonal is in memory at a time. The random signs derive from (seed, batch, probe,
    parameter), so that those of a layer do not depend on other layers.

    Raises:
        DataError: If there is no batch.
        InputError: If the loss cannot be differentiated twice.
    """
    names = tuple(dict.fromkeys(name for weighting in weightings for name in weighting))
    rows, images = [], []
    with twice_differentiable(model, names) as weights:
        for draw in probe_diagonals(model, batches, weights, loss_fn, seed, probes):
            if draw.probe == 0:
                images.append(draw.images)
            rows.append([[_dot(weighting, name, draw.diagonal) for name in names] for weighting in weightings])
    values = torch.tensor(rows, dtype=torch.float64).reshape(len(images), probes, len(weightings), len(names))
    return Contraction(names, values.permute(2, 3, 0, 1), torch.tensor(images, dtype=torch.float64))


def _dot(weighting: Mapping[str, Tensor], name: str, diagonal: Mapping[str, Tensor]) -> float:
    if name not in weighting:
        return 0.0
    return float((diagonal[name] * weighting[name].to(diagonal[name])).sum(dtype=torch.float64))


class ProbeEstimate(NamedTuple):
    """Estimate v * (H_b v) of the diagonal by one probe on one batch."""

    probe: int
    images: int
    diagonal: dict[str, Tensor]


def probe_diagonals(
    model: nn.Module,
    batches: Iterable[Batch],
    weights: Mapping[str, nn.Parameter],
    loss_fn: LossFunction,
    seed: int,
    probes: int,
) -> Iterator[ProbeEstimate]:
    """Yield the estimates of all probes on all batches."""
    require_whole("probes", probes, low=1)
    axes, index = Axes(seed).at(use="hutchinson"), -1
    for index, batch in enumerate(batches):
        loss, items = loss_and_items(model, loss_fn, batch)
        gradient = differentiable_gradient(loss, weights)
        for probe in range(probes):
            signs = {
                name: _signs(weight, axes.at(layer=layer_name(name), batch=index, probe=probe))
                for name, weight in weights.items()
            }
            products = hessian_vector_product(gradient, weights, signs, retain_graph=probe + 1 < probes)
            diagonal = {name: sign.mul_(products[name]) for name, sign in signs.items()}
            yield ProbeEstimate(probe, items, diagonal)
    if index < 0:
        raise DataError("expected at least one batch of images and labels, got none.")


def _signs(weight: Tensor, axes: Axes) -> Tensor:
    """Draw +1 or -1 with equal probability, on the CPU whatever the weight's device."""
    bits = torch.empty(weight.shape, dtype=torch.float32).bernoulli_(0.5, generator=axes.generator())
    return bits.mul_(2.0).sub_(1.0).to(device=weight.device, dtype=weight.dtype)
