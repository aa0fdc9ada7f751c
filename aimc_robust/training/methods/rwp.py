"""Random weight perturbation."""

import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import nn

from aimc_robust.errors import InputError, require_finite, require_whole
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.noise.scales import check_scale
from aimc_robust.training.methods.base import Method
from aimc_robust.training.methods.gradient_passes import Passes


@dataclass(frozen=True, kw_only=True)
class RandomPerturbation(Method):
    """What RWP and m-RWP share: eps is a draw of a weight noise.

    sigma, scale: Gaussian noise of that strength (`noise.Gaussian`; default scale `filter_max`).
    noise: any other weight noise instead, a crossbar too, which makes training match a device: its programming errors,
        that is, as converters and read noise act on products, not on weights. sigma and scale are then left out.
    draws: perturbed passes per update, over the same batch, whose gradients are averaged.
    """

    sigma: float | None = None
    scale: str | None = None
    noise: WeightNoise | None = None
    draws: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale is not None:
            check_scale(self.scale)
        if (self.sigma is None) == (self.noise is None):
            raise InputError(f"{type(self).__name__} takes either sigma or noise, one of the two.")
        if self.noise is None:
            require_finite("sigma", self.sigma)
        elif not isinstance(self.noise, WeightNoise):
            raise InputError(f"noise must be a WeightNoise such as Gaussian or Crossbar, got {self.noise!r}.")
        elif self.scale is not None:
            raise InputError("scale belongs to sigma; give a noise its own, as in Laplace(0.1, scale='layer_max').")
        elif getattr(self.noise, "computes_in_arrays", False):
            warnings.warn(
                "training meets this crossbar's programming errors alone: its converters and read noise act on "
                "products, not on weights. Leave them out (read_noise=False) to say that this is meant.",
                stacklevel=2,
            )
        require_whole("draws", self.draws, low=1)

    @property
    def full_strength(self) -> float:
        """sigma; for another noise 1, its whole."""
        return 1.0 if self.sigma is None else self.sigma

    def perturbation(
        self, model: nn.Module, passes: Passes, *, step: int, draw: int = 0
    ) -> AbstractContextManager[nn.Module]:
        noise = self.noise or Gaussian(self.sigma, self.scale or "filter_max")
        strength = self.ramp.factor(step)
        axes = self._axes(step, draw)
        return perturbed(model, noise, generator=axes, scope=self.scope, strength=strength, on_device=True)


@dataclass(frozen=True, kw_only=True)
class RWP(RandomPerturbation):
    """g = grad L_B(w + eps), one eps per update, or the mean over several `draws`.

    There are only perturbed passes, so BatchNorm statistics are those of perturbed weights (of the first draw).
    Source: Incorruptible paper, Eq. 2 and Algorithm 1.
    """

    bn_stats: str = "perturbed"

    @property
    def gradient_weights(self) -> tuple[float, float]:
        return 0.0, 1.0
