"""The protocol of a training method: which passes an update makes, at which weights, and what they leave behind."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_known, require_whole
from aimc_robust.noise.analog_weights import Scope, check_scope
from aimc_robust.seeding import Axes
from aimc_robust.training.methods.distributed import share_buffers, without_sync, world
from aimc_robust.training.methods.gradient_passes import Batch, LossFunction, LossPasses, Passes
from aimc_robust.training.methods.ramp import CONSTANT, Ramp

BN_STATS = ("clean", "perturbed")


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """One update's gradient, as a mix of a clean and a perturbed pass:

        g = clean_share * grad L_B1(w) + perturbed_share * grad L_B2(w + eps)

    The base runs the passes, restores the weights bit for bit and decides whose BatchNorm statistics are kept; a
    subclass gives the shares and the perturbation. The optimizer, scheduler, clipping and autocast stay the user's.

    ramp: growth of the perturbation over the updates. scope: which parameters are perturbed (`noise.scope`).
    bn_stats: which pass updates the model's buffers (BatchNorm statistics): `clean` where the method has a clean
        pass, else `perturbed`.
    seed: root of the method's random numbers; update t of layer l draws from (seed, t, l) and nothing else.
    per_worker: in data-parallel training each worker perturbs on its own (as the papers' codes do), instead of all by
        the one perturbation that a single process would take.
    """

    ramp: Ramp = CONSTANT
    scope: Scope = "weights"
    bn_stats: str = "clean"
    seed: int = 0
    per_worker: bool = False

    draws: ClassVar[int] = 1  # perturbed passes per update, each at weights of its own
    batches_per_update: ClassVar[int] = 1
    ascent_pass: ClassVar[bool] = False  # whether the perturbation itself takes a clean pass

    def __post_init__(self) -> None:
        check_scope(self.scope)
        if not isinstance(self.ramp, Ramp):
            raise InputError(f"ramp must be a Ramp such as Ramp(shape='quadratic', updates=1000), got {self.ramp!r}.")
        if not isinstance(self.per_worker, bool):
            raise InputError(f"per_worker must be true or false, got {self.per_worker!r}.")
        require_whole("seed", self.seed, low=0)
        require_known("bn_stats", self.bn_stats, BN_STATS)
        if self.bn_stats not in self.passes:
            raise InputError(
                f"{type(self).__name__} makes no {self.bn_stats} pass here, so BatchNorm would learn nothing; set "
                f"bn_stats to {' or '.join(map(repr, self.passes))}."
            )

    @property
    @abstractmethod
    def gradient_weights(self) -> tuple[float, float]:
        """(clean_share, perturbed_share); a pass with share 0 is not run."""

    @property
    def worker_gradient_weights(self) -> tuple[float, float]:
        """The shares of this process."""
        return self.gradient_weights

    @property
    def passes_per_update(self) -> int:
        """Forward and backward passes that an update takes, whoever makes them.

        A clean pass where it has a share, and for each draw a perturbed one, before which an ascent takes one of its
        own: SGD and RWP 1, SAM and m-RWP 2, as in the m-RWP paper's Table 1. Workers that share an update (parallel
        m-RWP) save time, not computation; parts of a batch (m-sharpness) add up to one.
        """
        clean_share, perturbed_share = self.gradient_weights
        per_draw = 1 + self.ascent_pass if perturbed_share else 0
        return (1 if clean_share else 0) + self.draws * per_draw

    @property
    def passes(self) -> tuple[str, ...]:
        """Which of BN_STATS an update runs."""
        clean_share, perturbed_share = self.gradient_weights
        run = {"clean": clean_share or self.ascent_pass, "perturbed": perturbed_share}
        return tuple(name for name, share in run.items() if share)

    @abstractmethod
    def perturbation(
        self, model: nn.Module, passes: Passes, *, step: int, draw: int = 0
    ) -> AbstractContextManager[nn.Module]:
        """A context inside which `model` carries the perturbed weights of a draw of update `step`."""

    @property
    @abstractmethod
    def full_strength(self) -> float | None:
        """sigma or rho at the end of the ramp; None when the method has none."""

    def strength(self, step: int) -> float | None:
        """sigma or rho at update `step`."""
        return None if self.full_strength is None else self.full_strength * self.ramp.factor(step)

    def backward(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        batches: Sequence[Batch],
        *,
        step: int,
        scaler: torch.amp.GradScaler | None = None,
    ) -> Tensor:
        """Add this update's gradient to `p.grad` and leave the weights as they were.

        batches: `batches_per_update` pairs (input, target). loss_fn(output, target) returns a scalar.
        step: number of this update, from 1. scaler: a `GradScaler`, when the user's loop scales the loss (float16);
        p.grad is then scaled, and unscaled by the scaler as ever. Returns the loss that the gradient belongs to,
        detached. Raises InputError for a wrong number of batches or a loss that is not a scalar.
        """
        require_whole("step", step, low=1)
        if len(batches) != self.batches_per_update:
            raise InputError(
                f"{type(self).__name__} takes {self.batches_per_update} batch(es) per update, each an (input, target) "
                f"pair in a list; got {len(batches)}."
            )
        parts = self.micro_batches(batches)
        losses = []
        for number, (share, part) in enumerate(parts):
            passes = LossPasses(model, loss_fn, part, scaler)
            losses.append(self.gradient(model, passes, step=step, share=share, last=number == len(parts) - 1))
        return sum(losses[1:], losses[0])

    def gradient(self, model: nn.Module, passes: Passes, *, step: int, share: float = 1.0, last: bool = True) -> Tensor:
        """What `backward` does, for any source of gradients; returns `share` of the loss.

        last: whether the update ends with this call, and data-parallel workers then share their gradients.
        """
        clean_share, perturbed_share = (share * own for own in self.worker_gradient_weights)
        draws = self.draws if perturbed_share else 0
        losses = []
        if clean_share:
            with self._buffers(model, "clean"), _synced(model, last and not draws):
                losses.append(passes.accumulate(0, clean_share))
        for draw in range(draws):
            kept = "perturbed" if draw == 0 else "a later draw"  # statistics move once per update
            synced = _synced(model, last and draw == draws - 1)
            with self.perturbation(model, passes, step=step, draw=draw), self._buffers(model, kept), synced:
                losses.append(passes.accumulate(-1, perturbed_share / draws))
        if (
            last and self.worker_gradient_weights != self.gradient_weights
        ):  # only some workers have made the pass that `bn_stats` names
            share_buffers(model, source=self.statistics_from)
        return sum(losses[1:], losses[0])

    def micro_batches(self, batches: Sequence[Batch]) -> list[tuple[float, Sequence[Batch]]]:
        """(share, batches) that an update works through one after the other: all at once, unless a method cuts them."""
        return [(1.0, batches)]

    def shard(self, rank: int, size: int) -> tuple[list[int], int, int]:
        """What worker `rank` of `size` reads: (streams, one for each of its batches; its part; of so many parts)."""
        return list(range(self.batches_per_update)), rank, size

    @property
    def statistics_from(self) -> int:
        """The worker whose BatchNorm statistics stand for all."""
        return 0

    def for_run(self, total_updates: int) -> Self:
        """This method with its ramp in updates of a run of that length; see `Ramp.over`."""
        return replace(self, ramp=self.ramp.over(total_updates))

    def _buffers(self, model: nn.Module, pass_name: str) -> AbstractContextManager[None]:
        """Keep the model's buffers as they are unless this pass is the one that `bn_stats` names."""
        return nullcontext() if pass_name == self.bn_stats else frozen_buffers(model)

    def _axes(self, step: int, draw: int = 0) -> Axes:
        """Where the random numbers of a draw come from; the first draw and worker 0 need no axis of their own."""
        rank = world()[0] if self.per_worker else 0
        more = {name: value for name, value in (("draw", draw), ("worker", rank)) if value}
        return Axes(self.seed).at(use="training", step=step, **more)


def _synced(model: nn.Module, wanted: bool) -> AbstractContextManager[None]:
    return nullcontext() if wanted else without_sync(model)


@contextmanager
def frozen_buffers(model: nn.Module, *, broken_only: bool = False) -> Iterator[None]:
    """Put the model's buffers back on leaving. broken_only: those that are no longer finite.

    Buffers rather than BatchNorm's own switch: custom normalisation layers are covered too, also those that put a
    new tensor in a buffer's place.
    """
    saved = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in saved:
                if broken_only:
                    now = module._buffers[name]
                    value = torch.where(now.isfinite().all(), now, value)
                module._buffers[name] = buffer.copy_(value)
