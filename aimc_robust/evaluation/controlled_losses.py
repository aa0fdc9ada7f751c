"""Losses of simulated chips with a control variate: the same mean over chips, with far less spread.

    L(w'_k) - g . (w'_k - m)

w'_k are the weights of chip k, m = E w' in closed form, and g is the gradient of the loss at m. What is subtracted is
0 on average. At small errors it is most of what differs between chips, and hides the rise of their mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aimc_robust.analysis.expected_rise import mean_gradient
from aimc_robust.errors import DivergenceError
from aimc_robust.evaluation.monte_carlo import ChipEvaluation
from aimc_robust.hardware.programming.moments import has_closed_form, model_moments
from aimc_robust.parallel.process_pool import ordered_map
from aimc_robust.statistics.t_interval import mean_error

DETECTED = 4.0  # standard errors from 0 at which chips contradict the closed form of their mean


def controlled_losses(evaluation: ChipEvaluation, chips: Sequence[int], *, jobs: int | None = None) -> np.ndarray:
    """Return the loss of each chip, less its control variate, (chips,); NaN for a chip that diverges.

    The chips' plain losses are returned where m has no closed form, where chips compute more than with programmed
    weights (read noise, converters), or where the chips' mean weights are not m.
    """
    means, gradient = _control(evaluation)
    found = np.array(list(ordered_map(_LossAndControl(evaluation, means, gradient), chips, jobs=jobs)), dtype=float)
    losses, controls = found.reshape(len(chips), 2).T
    if not np.isfinite(controls).all():
        return losses
    error = mean_error(controls).variance ** 0.5
    return losses if abs(controls.mean()) > DETECTED * error else losses - controls


def _control(evaluation: ChipEvaluation) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return m and g by parameter name; nothing without a closed form or where the loss at m diverges."""
    condition = evaluation.condition
    if condition is None or not has_closed_form(condition):
        return {}, {}
    moments = model_moments(evaluation.model, condition, time_s=evaluation.time_s, chip_seed=evaluation.chip_seed)
    means = {name: moment.mean for name, moment in moments.items()}
    gradient = mean_gradient(evaluation.model, evaluation.batches, means, loss_fn=evaluation.task)
    is_finite = all(bool(values.isfinite().all()) for values in gradient.values())
    return (means, gradient) if is_finite else ({}, {})


@dataclass(frozen=True)
class _LossAndControl:
    """Measures a chip: its loss and g . (w' - m); a class, as processes take no nested functions."""

    evaluation: ChipEvaluation
    means: Mapping[str, Tensor]
    gradient: Mapping[str, Tensor]

    def __call__(self, chip: int) -> tuple[float, float]:
        with self.evaluation.on_chip(chip) as model:
            weights = dict(model.named_parameters())
            control = sum(
                float((gradient * (weights[name].detach() - self.means[name])).sum(dtype=torch.float64))
                for name, gradient in self.gradient.items()
            )
            try:
                loss = self.evaluation.task.measure(model, self.evaluation.batches).loss
            except DivergenceError:
                return np.nan, control
        assert loss is not None  # `predict_loss` refuses a task without one
        return loss, control
