"""Sharpness-aware minimization (SAM) and adaptive SAM: perturbations along the gradient of the loss."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, names_arguments, require_finite, require_known, require_whole
from aimc_robust.noise.analog_weights import RECURRENT, is_analog_layer, unwrap_model, weights_in_scope
from aimc_robust.noise.perturbation import frozen_buffers, restored
from aimc_robust.noise.shards import is_sharded, reshard, whole
from aimc_robust.noise.weight_shift import computes_weights
from aimc_robust.tasks.batches import Batch, examples_in, parts, select, tensors_in
from aimc_robust.training.methods.base import BatchChoice, Method
from aimc_robust.training.methods.distributed import mean_over_workers, without_sync
from aimc_robust.training.methods.gradient_passes import Passes

NORM_EPSILON = 1e-12  # avoids a division by zero for a zero gradient, as in the published code


@dataclass(frozen=True, kw_only=True)
class Ascent(Method):
    """Base class of sharpness-aware methods: g = grad L_B2(w + ascent(grad L_B1(w))).

    The ascent step has length rho in a norm that the subclass defines. See `Method` for the other arguments.

    Args:
        rho: Radius of the ascent step, at least 0.
        batches: `same` uses one batch for both gradients (SAM proper), `different` two batches per update.
        m: Micro-batch size of m-sharpness. The batch is split into micro-batches of m, each ascends along its own
            gradient, and the update is their mean, weighted by their examples (not by the tokens or pixels that a task
            scores). BatchNorm then sees m images at a time and is updated by each micro-batch. None uses the whole
            batch of a call of `backward`: with gradient accumulation each part ascends along its own gradient, as m
            examples of a part would.

    References:
        m-RWP paper, Table A1 (`batches`); Foret et al., ICLR 2021, Sec. 4.1 (`m`).
    """

    rho: float
    batches: BatchChoice = "same"
    m: int | None = None

    ascent_pass: ClassVar[bool] = True
    gradient_weights: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_finite("rho", self.rho)
        require_known("batches", self.batches, get_args(BatchChoice))
        if self.m is not None:
            require_whole("m", self.m, low=1)

    @abstractmethod
    def ascend(self, weights: list[Tensor], gradients: list[Tensor], rho: float) -> None:
        """Move the weights in place along their gradients, by a total length of rho."""

    @property
    def whole_model_reason(self) -> str:
        """Why every process must hold the whole model, without FSDP2; empty if it need not."""
        if self.m is not None:
            return "m gives each process weights of its own, along the gradient of its own micro-batch"
        return super().whole_model_reason

    @property
    def batches_per_update(self) -> int:
        """Batches that `backward` takes."""
        return 2 if self.batches == "different" else 1

    @property
    def full_strength(self) -> float:
        """Rho at the end of the ramp."""
        return self.rho

    def micro_batches(self, batches: Sequence[Batch]) -> list[tuple[float, Sequence[Batch]]]:
        """Split the batches of an update into (weight, micro-batches) of `m` images."""
        if self.m is None:
            return super().micro_batches(batches)
        sizes = {len(values) if values.ndim else 0 for values in tensors_in(list(batches))}
        if len(sizes) != 1 or not all(isinstance(values, Tensor) for batch in batches for values in parts(batch)):
            raise InputError(
                f"m = {self.m} splits each batch into micro-batches: expected tensors of one length for inputs and "
                f"targets, got lengths {sorted(sizes)}; pass such tensors, or m=None."
            )
        (images,) = sizes
        starts = range(0, max(images, 1), self.m)
        groups = [[select(batch, slice(start, start + self.m)) for batch in batches] for start in starts]
        return [(examples_in(group[0]) / max(images, 1), group) for group in groups]

    def _refuse_computed_weights(self, model: nn.Module) -> None:
        for name, module in model.named_modules():
            if computes_weights(module) and (is_analog_layer(module) or isinstance(module, RECURRENT)):
                raise InputError(
                    f"{type(self).__name__} ascends along parameters, and the layer {name!r} computes its weight from "
                    "others (weight_norm, pruning), which would be left out. Use scope='all', or make it plain."
                )

    @contextmanager
    def perturbation(self, model: nn.Module, passes: Passes, *, step: int, draw: int = 0) -> Iterator[nn.Module]:
        """Return a context in which `model` has the weights after the ascent step of update `step`."""
        inner = unwrap_model(model)
        reshard(inner)
        if self.scope == "weights":
            self._refuse_computed_weights(inner)
        weights = [p for p in weights_in_scope(inner, self.scope, shards=True).values() if p.requires_grad]
        if not weights:
            raise InputError(
                f"{type(self).__name__} ascends along the weights in scope, and all of them are frozen; unfreeze some."
            )
        with self._buffer_guard(model, "clean"), without_sync(model):
            gradients = passes.gradients(weights, 0)
        # m-sharpness is defined by m images, whichever worker has them; FSDP2 averages in every pass.
        if not self.per_worker and self.m is None and not is_sharded(inner):
            gradients = mean_over_workers(gradients, weights)
        # A weight that the loss does not use has no gradient and stays.
        pairs = [(w, g) for w, g in zip(weights, gradients, strict=True) if g is not None]
        if not pairs:
            raise InputError(f"{type(self).__name__} found no gradient to ascend: the loss uses no weight in scope.")
        # A float16 gradient that overflows moves the weights to NaN, and the GradScaler skips the update; it does not
        # restore the BatchNorm statistics of that pass.
        statistics = frozen_buffers(model, nonfinite_only=True) if self.bn_stats == "perturbed" else nullcontext()
        with restored(model, self.scope), statistics:
            with torch.no_grad():
                rho = self.full_strength * self.ramp.factor(step)
                self.ascend([weight for weight, _ in pairs], [gradient for _, gradient in pairs], rho)
            torch.clear_autocast_cache()  # see noise.perturbation
            yield model


@names_arguments
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


@names_arguments
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


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return one L2 norm over all tensors, as a scalar tensor on their device; over all shards of DTensors."""
    return whole(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors)))))
