"""What sharpness-aware methods share: a perturbation along the gradient of the loss."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_finite, require_known, require_whole
from aimc_robust.noise.analog_weights import weights_in_scope
from aimc_robust.noise.perturbation import restored
from aimc_robust.noise.unwrap import unwrapped
from aimc_robust.training.methods.base import Method, frozen_buffers
from aimc_robust.training.methods.distributed import mean_over_workers, without_sync
from aimc_robust.training.methods.gradient_passes import Batch, Passes
from aimc_robust.training.methods.mixed_rwp import BATCHES

TINY = 1e-12  # keeps a zero gradient from dividing by zero, as in the published code


@dataclass(frozen=True, kw_only=True)
class Ascent(Method):
    """g = grad L_B2(w + step(grad L_B1(w))), where the step has length rho in a norm that the subclass defines.

    rho: radius, 0 or more. batches: the `same` one for both gradients (SAM proper), or two `different` ones.
    m: m-sharpness: the batch is cut into parts of m, each ascends along its own gradient, and the update is their mean;
        None takes the whole batch. BatchNorm then sees m images at a time, and each part moves its statistics.
    Source of `batches`: m-RWP paper, Table A1; of m: Foret et al., ICLR 2021, Sec. 4.1.
    """

    rho: float
    batches: str = "same"
    m: int | None = None

    ascent_pass: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_finite("rho", self.rho)
        require_known("batches", self.batches, BATCHES)
        if self.m is not None:
            require_whole("m", self.m, low=1)

    @abstractmethod
    def ascend(self, weights: list[Tensor], gradients: list[Tensor], rho: float) -> None:
        """Move the weights in place, each along its gradient, by rho over all of them."""

    @property
    def batches_per_update(self) -> int:
        """Batches of an update."""
        return 2 if self.batches == "different" else 1

    @property
    def gradient_weights(self) -> tuple[float, float]:
        return 0.0, 1.0

    @property
    def full_strength(self) -> float:
        return self.rho

    def micro_batches(self, batches: Sequence[Batch]) -> list[tuple[float, Sequence[Batch]]]:
        if self.m is None:
            return super().micro_batches(batches)
        sizes = {len(values) for batch in batches for values in batch if isinstance(values, Tensor)}
        if len(sizes) != 1 or not all(isinstance(values, Tensor) for batch in batches for values in batch):
            raise InputError(
                f"m = {self.m} cuts each batch along its images: expected tensors of one length for inputs and "
                f"targets, got lengths {sorted(sizes)}; give such tensors, or m=None."
            )
        (images,) = sizes
        cut = [list(zip(inputs.split(self.m), targets.split(self.m), strict=True)) for inputs, targets in batches]
        return [(len(part[0][1]) / max(images, 1), part) for part in zip(*cut, strict=True)]

    @contextmanager
    def perturbation(self, model: nn.Module, passes: Passes, *, step: int, draw: int = 0) -> Iterator[nn.Module]:
        weights = {n: p for n, p in weights_in_scope(unwrapped(model), self.scope).items() if p.requires_grad}
        if not weights:
            raise InputError(
                f"{type(self).__name__} ascends along the weights in scope, and all of them are frozen; unfreeze some."
            )
        with self._buffers(model, "clean"), without_sync(model):
            gradients = passes.gradients(list(weights.values()), 0)
        if not self.per_worker and self.m is None:  # m-sharpness is about m images, whoever has them
            gradients = mean_over_workers(gradients, list(weights.values()))
        # An unused weight has no gradient and stays.
        moved = [(w, g) for w, g in zip(weights.values(), gradients, strict=True) if g is not None]
        if not moved:
            raise InputError(f"{type(self).__name__} found no gradient to ascend: the loss uses no weight in scope.")
        # A float16 gradient that overflows moves the weights to nan, whereupon the GradScaler skips the update; it
        # cannot mend the statistics that the pass leaves.
        statistics = frozen_buffers(model, broken_only=True) if self.bn_stats == "perturbed" else nullcontext()
        with restored(model, self.scope), statistics:
            with torch.no_grad():
                self.ascend([weight for weight, _ in moved], [gradient for _, gradient in moved], self.strength(step))
            torch.clear_autocast_cache()  # see noise.perturb
            yield model


def global_norm(tensors: list[Tensor]) -> Tensor:
    """One L2 norm over all of them, a scalar tensor that stays on its device."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
