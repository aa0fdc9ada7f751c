"""Which epochs of a training are kept: the last one, or the best ones under the noise of early stopping."""

import math

from torch import nn

from aimc_robust.io.atomic import Row
from aimc_robust.models.checkpoint import model_tensors
from aimc_robust.statistics.primary_metric import PrimaryMetric
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.epoch import score_column
from aimc_robust.training.methods.range_state import state_to_json
from aimc_robust.training.resumption import Progress, SelectedWeights


def select_epochs(
    progress: Progress, row: Row, config: TrainingConfig, model: nn.Module, metric: PrimaryMetric
) -> None:
    """Store this epoch's weights for every selection in which it is the best so far (or the last epoch)."""
    tensors = None
    for i, sigma in enumerate(config.selections):
        column = f"perturbed_{metric.name}"
        if sigma is not None and len(config.selections) > 1:
            column = score_column(metric, sigma)
        score = -math.inf if row[column] is None else row[column] * (1 if metric.is_higher_better else -1)
        if sigma is None or i == len(progress.selected) or score > progress.selected[i].score:
            tensors = tensors or model_tensors(model)  # shared by the selections that take this epoch
            progress.selected[i : i + 1] = [SelectedWeights(row["epoch"], score, tensors, state_to_json(model))]
