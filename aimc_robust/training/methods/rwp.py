"""Random weight perturbation (RWP)."""

import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import nn

from aimc_robust.errors import InputError, require_finite, require_whole
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.gaussian import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.noise.scales import NoiseScale, check_scale
from aimc_robust.training.methods.base import Method, PassName
from aimc_robust.training.methods.gradient_passes import Passes


@dataclass(frozen=True, kw_only=True)
class RandomPerturbation(Method):
    """Base class of RWP and m-RWP: the perturbation eps is a draw of a weight noise.

    Args:
        draws: Perturbed passes per update, over the same batch, whose gradients are averaged.
        sigma: Strength of Gaussian noise (`noise.Gaussian`). Give either `sigma` or `noise`.
        scale: Scale of the Gaussian noise; None means `filter_max`.
        noise: Any other weight noise. A crossbar gives device-matched training with its programming errors; its
            converters and read noise act on products, not on weights, and are left out.

    Raises:
        InputError: If an argument is invalid.
        UnknownNameError: If the scale is unknown.
    """

    draws: int = 1  # first, because recipe fingerprints hash the fields in this order
    sigma: float | None = None
    scale: NoiseScale | None = None
    noise: WeightNoise | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale is not None:
            check_scale(self.scale)
        if (self.sigma is None) == (self.noise is None):
            raise InputError(f"{type(self).__name__} takes either sigma or noise, exactly one of the two.")
        if self.sigma is not None:
            require_finite("sigma", self.sigma)
        elif not isinstance(self.noise, WeightNoise):
            raise InputError(f"noise must be a WeightNoise such as Gaussian or Crossbar, got {self.noise!r}.")
        elif self.scale is not None:
            raise InputError("scale applies to sigma only; a noise has its own, as in Laplace(0.1, scale='layer_max').")
        elif getattr(self.noise, "computes_in_arrays", False):
            warnings.warn(
                "training uses only the programming errors of this crossbar: its converters and read noise act on "
                "products, not on weights. Remove them (read_noise=False) to silence this warning.",
                stacklevel=2,
            )
        require_whole("draws", self.draws, low=1)

    @property
    def full_strength(self) -> float:
        """Sigma at the end of the ramp; 1 for another noise."""
        return 1.0 if self.sigma is None else self.sigma

    def perturbation(
        self, model: nn.Module, passes: Passes, *, step: int, draw: int = 0
    ) -> AbstractContextManager[nn.Module]:
        """Return a context in which `model` has the weights w + eps of draw `draw` of update `step`."""
        noise = self.noise or Gaussian(self.full_strength, self.scale or "filter_max")
        strength = self.ramp.factor(step)
        axes = self._axes(step, draw)
        return perturbed(model, noise, generator=axes, scope=self.scope, strength=strength, draw_on_device=True)


@dataclass(frozen=True, kw_only=True)
class RWP(RandomPerturbation):
    """Random weight perturbation: g = grad L_B(w + eps), with one eps per update, or the mean over several `draws`.

    All passes are perturbed, so BatchNorm statistics are those of perturbed weights (of the first draw). See
    `RandomPerturbation` for the arguments.

    References:
        Incorruptible paper, Eq. 2 and Algorithm 1.
    """

    bn_stats: PassName = "perturbed"

    @property
    def gradient_weights(self) -> tuple[float, float]:
        """(clean_weight, perturbed_weight) of the two gradients: the perturbed one only."""
        return 0.0, 1.0
