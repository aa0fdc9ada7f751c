"""Sharpness-aware minimization."""

from dataclasses import dataclass

from torch import Tensor

from aimc_robust.training.methods.ascent import NORM_EPSILON, Ascent, global_norm


@dataclass(frozen=True, kw_only=True)
class SAM(Ascent):
    """Sharpness-aware minimization: g = grad L_B(w + rho grad L_B(w) / ||grad L_B(w)||_2).

    One norm is taken over all perturbed parameters. rho has the units of the weights. See `Ascent` for the arguments.

    References:
        Foret et al., ICLR 2021; Incorruptible paper, Eq. 1.
    """

    def ascend(self, weights: list[Tensor], gradients: list[Tensor], rho: float) -> None:
        """Add rho g / ||g||_2 to the weights in place."""
        scale = rho / (global_norm(gradients) + NORM_EPSILON)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.add_(gradient * scale)
