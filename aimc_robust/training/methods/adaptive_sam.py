"""Adaptive sharpness-aware minimization (ASAM)."""

from dataclasses import dataclass

from torch import Tensor

from aimc_robust.errors import require_finite
from aimc_robust.training.methods.ascent import TINY, Ascent, global_norm


@dataclass(frozen=True, kw_only=True)
class AdaptiveSAM(Ascent):
    """g = grad L_B(w + rho T^2 grad L_B(w) / ||T grad L_B(w)||), T = |w| + eta elementwise.

    A radius relative to each weight, so that rescaling layers changes nothing; rho is some ten times SAM's.
    eta: keeps weights near 0 movable, 0 or more. Source: Kwon et al., ICML 2021, Eq. 8 and Algorithm 1.
    """

    eta: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        require_finite("eta", self.eta)

    def ascend(self, weights: list[Tensor], gradients: list[Tensor], rho: float) -> None:
        sizes = [weight.abs() + self.eta for weight in weights]
        scaled = [size * gradient for size, gradient in zip(sizes, gradients, strict=True)]
        scale = rho / (global_norm(scaled) + TINY)
        for weight, size, step in zip(weights, sizes, scaled, strict=True):
            weight.add_(size * step * scale)
