"""Base class of all training methods: which passes an update runs, at which weights, and which state they leave."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn

from aimc_robust.errors import InputError, require_known, require_type, require_whole
from aimc_robust.hardware.config.placement import Hardware
from aimc_robust.hardware.conversion.norm_gains import norm_gains
from aimc_robust.hardware.programming.known_faults import check_faults, faulty
from aimc_robust.noise.analog_weights import Scope, check_scope, unwrap_model
from aimc_robust.noise.perturbation import frozen_buffers
from aimc_robust.seeding import Axes
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.distillation import Distillation
from aimc_robust.tasks.task import Task
from aimc_robust.training.methods.distributed import DataShard, share_buffers, share_tensors, without_sync, world
from aimc_robust.training.methods.gradient_passes import LossFunction, LossPasses, Passes
from aimc_robust.training.methods.ramp import CONSTANT_RAMP, Ramp
from aimc_robust.training.methods.sharded import check_shards

PassName = Literal["clean", "perturbed"]
BatchChoice = Literal["same", "different"]  # batches of the passes of one update


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """Base class of training methods, which compute the gradient of one update from a clean and a perturbed pass.

    The gradient is `clean_weight * grad L_B1(w) + perturbed_weight * grad L_B2(w + eps)`. This class runs the passes,
    restores the weights bit for bit and selects the pass whose BatchNorm statistics are kept. A subclass defines
    `gradient_weights` and `perturbation`. Optimizer, scheduler, clipping and autocast belong to the caller.

    Args:
        ramp: Schedule of the perturbation strength over the updates.
        scope: Parameters that are perturbed, see `noise.analog_weights`.
        bn_stats: Pass that updates the model's buffers (BatchNorm statistics): by default `clean`, if there is one.
        seed: Root seed. The random numbers of layer l at update t depend on (seed, t, l) only.
        faults: A crossbar with the known stuck devices of one chip, `Crossbar(..., stuck=FaultMap(...))`. Every pass,
            clean or perturbed, then computes with the weights that this chip represents: its stuck devices as they are,
            all others without error. Gradients pass straight through to the weights. None: no faults. A crossbar that
            the method itself programs (`noise`, `crossbar`) has its fault map in itself.
        fold: With faults, whether weights are programmed with the gain of the BatchNorm behind them, as where it is
            folded; as in the `Deployment` that the model is trained for.
        per_worker: In data-parallel training, draw a separate perturbation on every worker (as the published codes do)
            instead of the one perturbation that a single process would use.
    """

    ramp: Ramp = CONSTANT_RAMP
    scope: Scope = "weights"
    bn_stats: PassName = "clean"
    seed: int = 0
    per_worker: bool = False
    faults: Hardware | None = None
    fold: bool = True

    ascent_pass: ClassVar[bool] = False  # True if the perturbation itself needs a clean gradient

    def __post_init__(self) -> None:
        check_scope(self.scope)
        require_type("ramp", self.ramp, Ramp, example="a Ramp such as Ramp(shape='quadratic', updates=1000)")
        require_type("per_worker", self.per_worker, bool, example="true or false")
        require_type("fold", self.fold, bool, example="true or false")
        check_faults(self.faults, programs_weights=self.programs_weights)
        require_whole("seed", self.seed, low=0)
        require_known("bn_stats", self.bn_stats, get_args(PassName))
        if self.bn_stats not in self.passes:
            raise InputError(
                f"{type(self).__name__} runs no {self.bn_stats} pass with these settings, so BatchNorm statistics "
                f"would never be updated; set bn_stats to {' or '.join(map(repr, self.passes))}."
            )

    @property
    def draws(self) -> int:
        """Perturbed passes per update, each with its own perturbation."""
        return 1

    @property
    def batches_per_update(self) -> int:
        """Batches that `backward` takes."""
        return 1

    @property
    @abstractmethod
    def gradient_weights(self) -> tuple[float, float]:
        """(clean_weight, perturbed_weight) of the two gradients; a pass of weight 0 is not run."""

    @property
    def worker_gradient_weights(self) -> tuple[float, float]:
        """`gradient_weights` of this process."""
        return self.gradient_weights

    @property
    def passes_per_update(self) -> int:
        """Forward-backward passes of one update, summed over all workers.

        SGD and RWP need 1, SAM and m-RWP 2 (m-RWP paper, Table 1). Workers that split an update (parallel m-RWP) reduce
        its time, not its passes. The micro-batches of m-sharpness together count as one pass.
        """
        clean_weight, perturbed_weight = self.gradient_weights
        per_draw = 1 + self.ascent_pass if perturbed_weight else 0
        return (1 if clean_weight else 0) + self.draws * per_draw

    @property
    def passes(self) -> tuple[PassName, ...]:
        """Kinds of passes that an update runs."""
        clean_weight, perturbed_weight = self.gradient_weights
        clean: tuple[PassName, ...] = ("clean",) if clean_weight or self.ascent_pass else ()
        return (*clean, "perturbed") if perturbed_weight else clean

    @abstractmethod
    def perturbation(
        self, model: nn.Module, passes: Passes, *, step: int, draw: int = 0
    ) -> AbstractContextManager[nn.Module]:
        """Return a context in which `model` has the perturbed weights of draw `draw` of update `step`."""

    @property
    @abstractmethod
    def full_strength(self) -> float | None:
        """Perturbation strength (sigma or rho) at the end of the ramp, or None if the method has none."""

    @property
    def whole_model_reason(self) -> str:
        """Why every process must hold the whole model, without FSDP2; empty if it need not."""
        if self.faulty_crossbar is not None and self.fold:
            return "a fault map with fold=True traces a copy of the model"
        return "per_worker=True gives each process weights of its own" if self.per_worker else ""

    @property
    def programs_weights(self) -> bool:
        """Whether `perturbation` itself programs the weights onto a crossbar, with its stuck devices."""
        return False

    @property
    def faulty_crossbar(self) -> Hardware | None:
        """The crossbar whose known stuck devices all passes see, or None."""
        return self.faults

    def with_faults(self, model: nn.Module) -> AbstractContextManager[nn.Module]:
        """Return a context in which `model` has the weights that the chip with the known stuck devices represents."""
        if self.faulty_crossbar is None:
            return nullcontext(model)
        return faulty(model, self.faulty_crossbar, gains=self.gains(unwrap_model(model)))

    def gains(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the gains of the BatchNorms that are folded; those of the first worker, for one chip of all."""
        gains = norm_gains(model) if self.fold else {}
        if gains and not self.per_worker:
            share_tensors(list(gains.values()), source=self.statistics_rank)
        return gains

    def strength(self, step: int) -> float | None:
        """Return the perturbation strength (sigma or rho) at update `step`, or None if the method has none."""
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
        """Add the gradient of this update to `p.grad`; the weights are unchanged afterwards.

        Args:
            model: Model to train.
            loss_fn: Function (output, target) -> scalar loss, a `Task`, or a `Distillation`.
            batches: `batches_per_update` labelled batches: pairs (input, target), or see `tasks.batches.Batch`.
            step: Number of this update, from 1.
            scaler: `GradScaler` of a float16 loop. `p.grad` is then scaled; unscale it as usual.

        Returns:
            The detached loss that the gradient belongs to.
        """
        require_whole("step", step, low=1)
        require_type("model", model, nn.Module, example="a torch.nn.Module")
        require_type("loss_fn", loss_fn, (Callable, Task, Distillation), example="cross_entropy, or a Task")
        if not isinstance(batches, Sequence) or len(batches) != self.batches_per_update:
            got = len(batches) if isinstance(batches, Sequence) else f"a {type(batches).__name__}"
            raise InputError(
                f"{type(self).__name__} takes {self.batches_per_update} batch(es) per update, each an (input, target) "
                f"pair in a list; got {got}."
            )
        micro_batches = self.micro_batches(batches)
        losses = []
        for index, (weight, micro_batch) in enumerate(micro_batches):
            passes = LossPasses(model, loss_fn, micro_batch, scaler)
            is_last = index == len(micro_batches) - 1
            losses.append(self.gradient(model, passes, step=step, weight=weight, is_last=is_last))
        return sum(losses[1:], losses[0])

    def gradient(
        self, model: nn.Module, passes: Passes, *, step: int, weight: float = 1.0, is_last: bool = True
    ) -> Tensor:
        """Run the passes of `backward` for any source of gradients; return the detached loss times `weight`.

        `weight` also scales the gradient. In the update's last call data-parallel workers average their gradients.
        """
        check_shards(model, type(self).__name__, self.whole_model_reason)
        clean_weight, perturbed_weight = (weight * own for own in self.worker_gradient_weights)
        draws = self.draws if perturbed_weight else 0
        losses = []
        if clean_weight:
            sync = without_sync(model, unless=is_last and not draws)
            with self.with_faults(model), self._buffer_guard(model, "clean"), sync:
                losses.append(passes.accumulate(0, clean_weight))
        for draw in range(draws):
            # BatchNorm statistics are updated once per update, by the first draw.
            guard = self._buffer_guard(model, "perturbed") if draw == 0 else frozen_buffers(model)
            sync = without_sync(model, unless=is_last and draw == draws - 1)
            faults = nullcontext() if self.programs_weights else self.with_faults(model)
            with faults, self.perturbation(model, passes, step=step, draw=draw), guard, sync:
                losses.append(passes.accumulate(-1, perturbed_weight / draws))
        if is_last and self.worker_gradient_weights != self.gradient_weights:
            share_buffers(model, source=self.statistics_rank)  # only some workers ran the pass named by `bn_stats`
        return sum(losses[1:], losses[0])

    def axes(self, step: int, draw: int = 0) -> Axes:
        """Return the seeding axes of the random numbers of draw `draw` of update `step`; the first adds no axis."""
        rank = world()[0] if self.per_worker else 0
        others = {name: value for name, value in (("draw", draw), ("worker", rank)) if value}
        return Axes(self.seed).at(use="training", step=step, **others)

    def micro_batches(self, batches: Sequence[Batch]) -> list[tuple[float, Sequence[Batch]]]:
        """Split the batches of an update into (weight, batches) that are processed one after the other."""
        return [(1.0, batches)]

    def shard(self, rank: int, size: int) -> DataShard:
        """Return the part of the training data that worker `rank` of `size` reads."""
        return DataShard(list(range(self.batches_per_update)), rank, size)

    @property
    def statistics_rank(self) -> int:
        """Rank of the worker whose BatchNorm statistics all workers use."""
        return 0

    def for_run(self, total_updates: int) -> Self:
        """Return this method with its ramp length in updates, for a run of `total_updates`; see `Ramp.for_run`."""
        return replace(self, ramp=self.ramp.for_run(total_updates))

    def _buffer_guard(self, model: nn.Module, pass_name: PassName) -> AbstractContextManager[None]:
        """Freeze the model's buffers unless `bn_stats` names this pass."""
        return nullcontext() if pass_name == self.bn_stats else frozen_buffers(model)
