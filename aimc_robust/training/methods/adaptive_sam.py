"""Adaptive sharpness-aware minimization (ASAM)."""

from dataclasses import dataclass

from torch import Tensor

from aimc_robust.errors import require_finite
from aimc_robust.training.methods.ascent import NORM_EPSILON, Ascent, global_norm


@dataclass(frozen=True, kw_only=True)
class AdaptiveSAM(Ascent):
    """ASAM: g = grad L_B(w + rho T^2 grad L_B(w) / ||T grad L_B(w)||_2), with T = |w| + eta elementwise.

    The radius is relative to each weight, which makes the method invariant to a rescaling of layers. Typical values of
    rho are about ten times those of SAM. See `Ascent` for the other arguments.

    Args:
        eta: Offset of at least 0 that keeps weights near 0 movable.

    References:
        Kwon et al., ICML 2021, Eq. 8 and Algorithm 1.
    """

    eta: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        require_finite("eta", self.eta)

    def ascend(self, weights: list[Tensor], gradients: list[Tensor], rho: float) -> None:
        """Add rho T^2 g / ||T g||_2 to the weights in place."""
        sizes = [weight.abs() + self.eta for weight in weights]
        scaled = [size * gradient for size, gradient in zip(sizes, gradients, strict=True)]
        scale = rho / (global_norm(scaled) + NORM_EPSILON)
        for weight, size, direction in zip(weights, sizes, scaled, strict=True):
            weight.add_(size * direction * scale)
