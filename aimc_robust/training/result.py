"""The result of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from aimc_robust.io.atomic import Row

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class TrainingResult:
    """Result of `train`.

    Attributes:
        model: The model with the selected weights, in evaluation mode. For early stopping with several sigmas these are
            the weights of the first; `load_selection` loads the others.
        epoch: Epoch that the weights come from.
        history: One row per epoch.
    """

    model: nn.Module
    epoch: int
    history: list[Row]
