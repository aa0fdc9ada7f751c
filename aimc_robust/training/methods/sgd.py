"""Plain gradient descent."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from aimc_robust.errors import names_arguments
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.gradient_passes import Passes


@names_arguments
@dataclass(frozen=True, kw_only=True)
class SGD(Method):
    """Baseline without perturbation: g = grad L_B(w), for any base optimizer."""

    gradient_weights: ClassVar[tuple[float, float]] = (1.0, 0.0)
    full_strength: ClassVar[None] = None

    def perturbation(
        self, model: nn.Module, passes: Passes, *, step: int, draw: int = 0
    ) -> AbstractContextManager[nn.Module]:
        """Return a context in which the weights are unchanged."""
        return nullcontext(model)
