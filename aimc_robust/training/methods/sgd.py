"""Plain gradient descent."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import nn

from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.gradient_passes import Passes


@dataclass(frozen=True, kw_only=True)
class SGD(Method):
    """Baseline without perturbation: g = grad L_B(w), for any base optimizer."""

    @property
    def gradient_weights(self) -> tuple[float, float]:
        """(clean_weight, perturbed_weight) of the two gradients: the clean one only."""
        return 1.0, 0.0

    @property
    def full_strength(self) -> None:
        """None: the method has no perturbation."""
        return None

    def perturbation(
        self, model: nn.Module, passes: Passes, *, step: int, draw: int = 0
    ) -> AbstractContextManager[nn.Module]:
        """Return a context in which the weights are unchanged."""
        return nullcontext(model)
