"""Sharpness-aware minimization."""

from dataclasses import dataclass

from torch import Tensor

from aimc_robust.training.methods.ascent import TINY, Ascent, global_norm


@dataclass(frozen=True, kw_only=True)
class SAM(Ascent):
    """g = grad L_B(w + rho grad L_B(w) / ||grad L_B(w)||), the norm taken once over all perturbed parameters.

    rho in the units of the weights. Source: Foret et al., ICLR 2021; Incorruptible paper, Eq. 1.
    """

    def ascend(self, weights: list[Tensor], gradients: list[Tensor], rho: float) -> None:
        scale = rho / (global_norm(gradients) + TINY)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.add_(gradient * scale)
