"""Random weight perturbation (RWP) and mixed RWP (m-RWP): perturbations that are draws of a weight noise."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import ClassVar, get_args

from torch import nn

from aimc_robust.errors import (
    InputError,
    names_arguments,
    require_finite,
    require_known,
    require_type,
    require_whole,
    warn,
)
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.programming.known_faults import faulty
from aimc_robust.hardware.programming.known_states import has_fault_maps
from aimc_robust.noise.analog_weights import unwrap_model
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.distributions import Gaussian
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.noise.scales import NoiseScale, check_scale
from aimc_robust.training.methods.base import BatchChoice, Method, PassName
from aimc_robust.training.methods.distributed import DataShard, world
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
        else:
            require_type("noise", self.noise, WeightNoise, example="a WeightNoise such as Gaussian or Crossbar")
            if self.scale is not None:
                raise InputError(
                    "scale applies to sigma only; a noise has its own, as in Laplace(0.1, scale='layer_max')."
                )
        if self.scope != "weights" and self.faulty_crossbar is self.noise is not None:
            raise InputError("a crossbar with a fault map holds all its weights: leave scope at 'weights'.")
        has_wires = any(crossbar.wires is not None for crossbar in getattr(self.noise, "crossbars", ()))
        if getattr(self.noise, "computes_in_arrays", False) or has_wires:
            warn(
                "training uses only the programming errors of this crossbar: its converters and noise act on "
                "products, and IR drop on whole arrays. ArrayAware trains through them; remove them (read_noise=False, "
                "parasitics=None) to silence this warning.",
            )
        require_whole("draws", self.draws, low=1)

    @property
    def programs_weights(self) -> bool:
        """Whether the noise is a crossbar."""
        return isinstance(self.noise, Hardware)

    @property
    def faulty_crossbar(self) -> Hardware | None:
        """The crossbar of `noise` if it has a fault map, or that of `faults`."""
        if isinstance(self.noise, Hardware) and has_fault_maps(self.noise):
            return self.noise
        return self.faults

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
        axes = self.axes(step, draw)
        if isinstance(noise, Hardware) and has_fault_maps(noise):
            gains = self.gains(unwrap_model(model))
            return faulty(model, noise, gains=gains, generator=axes, strength=strength)
        return perturbed(model, noise, generator=axes, scope=self.scope, strength=strength, draw_on_device=True)


@names_arguments
@dataclass(frozen=True, kw_only=True)
class RWP(RandomPerturbation):
    """Random weight perturbation: g = grad L_B(w + eps), with one eps per update, or the mean over several `draws`.

    All passes are perturbed, so BatchNorm statistics are those of perturbed weights (of the first draw). See
    `RandomPerturbation` for the arguments.

    References:
        Incorruptible paper, Eq. 2 and Algorithm 1.
    """

    bn_stats: PassName = "perturbed"

    gradient_weights: ClassVar[tuple[float, float]] = (0.0, 1.0)


@names_arguments
@dataclass(frozen=True, kw_only=True)
class MixedRWP(RandomPerturbation):
    """Mixed random weight perturbation: g = (1 - lam) grad L_B1(w) + lam grad L_B2(w + eps).

    See `RandomPerturbation` for the other arguments.

    Args:
        lam: Weight of the perturbed gradient, from 0 to 1.
        batches: `different` uses two batches per update, `same` one batch for both passes.
        parallel: Split the two passes over an even number of data-parallel workers: even ranks run the clean pass, odd
            ranks the perturbed one, and averaging the gradients mixes them. An update then takes the time of a single
            pass. Each worker passes one batch to `backward`; `shard` says which (`train` follows it).

    References:
        m-RWP paper, Eq. 8 (its Algorithm 2 prints lam on the clean gradient; both agree at the default 0.5), Table A1
        for `batches`, Algorithm 2 for `parallel`.
    """

    lam: float = 0.5
    batches: BatchChoice = "different"
    parallel: bool = False

    def __post_init__(self) -> None:
        require_finite("lam", self.lam, high=1.0)
        require_known("batches", self.batches, get_args(BatchChoice))
        require_type("parallel", self.parallel, bool, example="true or false")
        super().__post_init__()
        if self.parallel and self.lam in (0.0, 1.0):
            raise InputError(f"lam {self.lam:g} gives one of the two passes weight 0; a parallel update needs both.")

    @property
    def batches_per_update(self) -> int:
        """Batches that `backward` takes on one process."""
        return 2 if self.batches == "different" and not self.parallel else 1

    @property
    def gradient_weights(self) -> tuple[float, float]:
        """(1 - lam, lam)."""
        return 1.0 - self.lam, self.lam

    @property
    def whole_model_reason(self) -> str:
        """Why every process must hold the whole model, without FSDP2; empty if it need not."""
        return (
            "parallel=True has clean weights in one half of the processes"
            if self.parallel
            else super().whole_model_reason
        )

    @property
    def worker_gradient_weights(self) -> tuple[float, float]:
        """`gradient_weights` of this process: in a parallel update twice that of its pass, which averaging halves."""
        if not self.parallel:
            return self.gradient_weights
        rank, size = world()
        _require_even(size)
        clean_weight, perturbed_weight = self.gradient_weights
        return (0.0, 2.0 * perturbed_weight) if rank % 2 else (2.0 * clean_weight, 0.0)

    def shard(self, rank: int, size: int) -> DataShard:
        """Return the part of the training data that worker `rank` of `size` reads."""
        if not self.parallel:
            return super().shard(rank, size)
        _require_even(size)
        return DataShard([rank % 2 if self.batches == "different" else 0], rank // 2, size // 2)

    @property
    def statistics_rank(self) -> int:
        """Rank of the first worker that runs the pass named by `bn_stats`."""
        return int(self.parallel and self.bn_stats == "perturbed")


def _require_even(size: int) -> None:
    if size % 2:
        raise InputError(
            f"parallel m-RWP needs an even number of processes, got {size}; start it with `--devices 2`, with "
            "torchrun, or set parallel to false."
        )
