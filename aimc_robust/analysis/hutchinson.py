"""Diagonal of the loss's Hessian by Hutchinson's estimator: d = v * (H v) with random signs v, so that E d = diag(H).

The model is unchanged bit for bit afterwards. At the kinks of ReLU and max-pooling the second derivative is that of one
side.

References:
    M. F. Hutchinson, Commun. Stat. Simul. Comput. 19, 433, 1990; C. Bekas et al., Appl. Numer. Math. 57, 1214.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust.analysis.hessian_probes import probe_diagonals, twice_differentiable
from aimc_robust.training.methods.gradient_passes import Batch, LossFunction


@dataclass(frozen=True)
class Contraction:
    """Sums sum_i a_i d_i over the entries i of each parameter, for several weightings a of one estimated diagonal d.

    Attributes:
        names: Names of the parameters.
        values: (weightings, parameters, batches, probes) sums.
        losses: (batches,) mean loss of each batch at the unchanged weights.
        images: (batches,) number of images of each batch, its weight in every mean.
    """

    names: tuple[str, ...]
    values: Tensor
    losses: Tensor
    images: Tensor

    @property
    def batch_fractions(self) -> Tensor:
        """(batches,): fraction of the images in each batch."""
        return self.images / self.images.sum()

    @property
    def loss(self) -> float:
        """Mean loss over all images."""
        return float(self.losses @ self.batch_fractions)

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

    One pass over the batches serves all weightings; only one batch's diagonal is in memory at a time. The random signs
    derive from (seed, batch, probe, parameter), so that those of a layer do not depend on other layers.

    Args:
        model: The model.
        batches: (input, target) pairs.
        weightings: Mappings of parameter name -> a, of the parameter's shape; missing parameters have weight 0.
        loss_fn: Function (outputs, targets) -> mean loss of the batch.
        seed: Root seed of the signs.
        probes: Random sign vectors per batch.

    Raises:
        DataError: If there is no batch.
        InputError: If the loss cannot be differentiated twice.
    """
    names = tuple(dict.fromkeys(name for weighting in weightings for name in weighting))
    rows, losses, images = [], [], []
    with twice_differentiable(model, names) as weights:
        for draw in probe_diagonals(model, batches, weights, loss_fn, seed, probes):
            if draw.probe == 0:
                losses.append(draw.loss)
                images.append(draw.images)
            rows.append([[_dot(weighting, name, draw.diagonal) for name in names] for weighting in weightings])
    values = torch.tensor(rows, dtype=torch.float64).reshape(len(losses), probes, len(weightings), len(names))
    counts = torch.tensor(images, dtype=torch.float64)
    return Contraction(names, values.permute(2, 3, 0, 1), torch.tensor(losses, dtype=torch.float64), counts)


def _dot(weighting: Mapping[str, Tensor], name: str, diagonal: Mapping[str, Tensor]) -> float:
    if name not in weighting:
        return 0.0
    return float((diagonal[name] * weighting[name].to(diagonal[name])).sum(dtype=torch.float64))
