"""Monte Carlo over simulated chips: the same model on chip 0, 1, 2, ..."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import NoneType
from typing import Any, TypedDict, Unpack

from torch import Tensor, nn

from aimc_robust.data.batches import Batches, as_reiterable
from aimc_robust.devices.limits import require_time
from aimc_robust.errors import DivergenceError, InputError, require_type, require_whole, short_repr
from aimc_robust.evaluation.forward_precision import check_forward_precision, forward_in
from aimc_robust.evaluation.image_format import FastestFormat
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Hardware, Layers, check_condition, place
from aimc_robust.hardware.conversion.prepare import plain_copy, prepare
from aimc_robust.hardware.program import check_program, chip_axes, folds
from aimc_robust.hardware.program_chips import chips_at_once, program_chips
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.perturbation import frozen_buffers, perturbed
from aimc_robust.parallel.process_pool import check_jobs, ordered_map
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.classification import Classification
from aimc_robust.tasks.measurement import Measurement
from aimc_robust.tasks.metrics import Metric, Metrics, as_metrics
from aimc_robust.tasks.registry import TaskLike, as_task
from aimc_robust.tasks.task import Task
from aimc_robust.training.config import Precision

MAX_CHIPS = 1_000_000
Condition = WeightNoise | None
"""What a model is evaluated under: a crossbar or a placement, another weight noise, or None for digital weights."""


class ChipOptions(TypedDict, total=False):
    """Keyword arguments of `chip_evaluation`, for functions that pass them on; see `ChipEvaluation`."""

    chip_seed: int
    time_s: float
    deployment: Deployment | None
    metrics: Metrics
    strict: bool | None
    task: TaskLike
    layers: Layers | None
    forward_precision: Precision


@dataclass(frozen=True, kw_only=True)
class ChipEvaluation:
    """Measures one model under one condition on any chip; a function of the chip's number.

    Attributes:
        model: The model; for a crossbar, from `prepare`.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        condition: What the model is evaluated under.
        chip_seed: Root seed of all chips.
        time_s: Seconds since programming of a crossbar.
        deployment: Converter ranges, backend and compensation of a crossbar.
        metrics: Name -> function of the outputs and labels of all images, see `Task.measure`.
        task: What is measured.
        programmed: Names of a crossbar's arrays that are programmed; None: all.
        forward_precision: `32-true`, or `bf16-mixed`: forward passes under autocast; chips stay float32.
    """

    model: nn.Module
    batches: Iterable[Batch]
    condition: Condition
    chip_seed: int = 0
    time_s: float = 0.0
    deployment: Deployment = field(default_factory=Deployment)
    metrics: Mapping[str, Metric] | None = None
    task: Task = field(default_factory=Classification)
    programmed: frozenset[str] | None = None
    forward_precision: Precision = "32-true"

    def __call__(self, chip: int) -> Measurement:
        """Measure the model on one chip. Raise DivergenceError, which names the chip, if its outputs are NaN."""
        return self.measure([chip])[0]

    def measure(self, chips: Sequence[int]) -> list[Measurement]:
        """Measure the model on each chip; see `__call__`."""
        return list(self.each(chips))

    def each(self, chips: Sequence[int]) -> Iterator[Measurement]:
        """Yield the measurement of each chip; see `__call__`."""
        with closing(self._on_chips(chips)) as models:
            for chip, model in zip(chips, models, strict=True):
                yield self._measure(chip, model)

    def many(self, chips: Sequence[int], jobs: int | None) -> Iterator[Measurement]:
        """Yield the measurement of each chip, several of them programmed at once; `jobs` as for `evaluate_chips`."""
        jobs = jobs and min(jobs, max(len(chips), 1))
        size = min(self.chips_at_once, -(-len(chips) // (jobs or 1)) or 1)
        parts = [chips[start : start + size] for start in range(0, len(chips), size)]
        # In this process each chip as soon as it is measured.
        for measured in map(self.each, parts) if jobs is None else ordered_map(self.measure, parts, jobs=jobs):
            yield from measured

    @cached_property
    def chips_at_once(self) -> int:
        """How many chips `measure` had better get at a time."""
        if not isinstance(self.condition, Hardware):
            return 1
        return chips_at_once(self.model, self.condition, self.deployment)

    @cached_property
    def _batches(self) -> Iterable[Batch]:
        """The batches in the format in which the model is fastest."""
        is_native = self.deployment.backend == "native" and not self.task.takes_any_batches
        return FastestFormat(self.batches, self.model) if is_native else self.batches

    @cached_property
    def _memory(self) -> dict[str, Tensor]:
        """Memory of the parameters of the present chip, see `copy_for_chip`."""
        return {}

    def _place(self, chip: int) -> str:
        if self.condition is None:
            return "digital weights"
        if not isinstance(self.condition, Hardware):
            return f"chip {chip} of {short_repr(self.condition)}"
        devices = " and ".join(dict.fromkeys(crossbar.device.cell.name for crossbar in self.condition.crossbars))
        return f"chip {chip} of {devices}, {self.time_s:g} s after programming"

    def _measure(self, chip: int, model: nn.Module) -> Measurement:
        try:
            with forward_in(model, self.forward_precision):
                return self.task.measure(model, self._batches, self.metrics)
        except DivergenceError as error:
            raise DivergenceError(f"{self._place(chip)}: {error}") from None

    @contextmanager
    def on_chip(self, chip: int) -> Iterator[nn.Module]:
        """Yield the model on one chip; it becomes invalid on exit, and with the next chip."""
        with closing(self._on_chips([chip])) as models:
            yield next(models)

    def _on_chips(self, chips: Sequence[int]) -> Generator[nn.Module]:
        """Yield the model on one chip after another."""
        axes = [chip_axes(self.chip_seed, chip) for chip in chips]
        if isinstance(self.condition, Hardware):
            options: dict[str, Any] = {"time_s": self.time_s, "deployment": self.deployment, "layers": self.programmed}
            yield from program_chips(self.model, self.condition, axes, self._memory, **options)
            return
        for of_chip in axes:
            with ExitStack() as stack:
                if self.condition is not None:
                    stack.enter_context(perturbed(self.model, self.condition, generator=of_chip))
                stack.enter_context(frozen_buffers(self.model))
                yield self.model


def evaluate_chips(
    model: nn.Module,
    batches: Batches,
    condition: Condition,
    *,
    chips: Iterable[int],
    jobs: int | None = None,
    **options: Unpack[ChipOptions],
) -> Iterator[tuple[int, Measurement]]:
    """Measure a model on chips, one after another: (number of the chip, its measurement), in the order of `chips`.

    A crossbar is programmed with the weights after BatchNorm folding; any other noise perturbs the weights as they are.
    Digital weights are the same on every chip: only the first is measured. The errors of a chip depend on (chip_seed,
    chip, layer) only, so that two models, two methods and any two orders of work meet the same chips.

    Args:
        model: The trained model; not modified.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        condition: What the model is evaluated under.
        chips: Numbers of the chips.
        jobs: Number of processes with one thread each, with the same results for any number; None: this process with
            torch's number of threads.
        **options: See `ChipEvaluation`.

    Raises:
        InputError: if an argument is invalid.
        DataError: if there are no images, labels do not match the outputs, or a pass over the batches gives others.
        DivergenceError: if outputs are NaN or +infinity; it names the chip.
    """
    evaluation = chip_evaluation(model, batches, condition, **options)
    check_jobs(evaluation.model, jobs)
    numbers = list(chips)[:1] if condition is None else list(chips)
    yield from zip(numbers, evaluation.many(numbers, jobs), strict=True)


def chip_evaluation(
    model: nn.Module,
    batches: Batches,
    condition: Condition,
    *,
    chip_seed: int = 0,
    time_s: float = 0.0,
    deployment: Deployment | None = None,
    metrics: Metrics = None,
    strict: bool | None = None,
    task: TaskLike = None,
    layers: Layers | None = None,
    forward_precision: Precision = "32-true",
) -> ChipEvaluation:
    """Check the arguments of `evaluate_chips` and prepare what all chips share.

    `strict`: what weights do that stay digital although a crossbar could store them, see `program`; so for `layers`.
    """
    task = as_task(task)
    batches = as_reiterable(batches, task)
    metrics = as_metrics(metrics)
    require_whole("chip_seed", chip_seed, low=0)
    require_type("model", model, nn.Module, example="a torch.nn.Module")
    require_type("deployment", deployment, (Deployment, NoneType), example="a Deployment or None")
    require_time(time_s)
    check_condition(condition)
    if isinstance(condition, Hardware):
        condition = place(condition, layers)
        check_forward_precision(forward_precision, condition, deployment)
        get_example = partial(task.example, batches)
        prepared, _ = prepare(model, get_example, hardware=condition, fold=folds(deployment), strict=strict)
        check_program(prepared, condition, time_s, deployment=deployment)
    elif time_s or layers is not None or (deployment is not None and deployment != Deployment()):
        raise InputError("time_s, layers and deployment belong to a crossbar; there is none to evaluate under.")
    else:
        check_forward_precision(forward_precision, condition)
        prepared = plain_copy(model)
    return ChipEvaluation(
        model=prepared,
        batches=batches,
        condition=condition,
        chip_seed=chip_seed,
        time_s=time_s,
        deployment=deployment or Deployment(),
        metrics=metrics,
        task=task,
        forward_precision=forward_precision,
    )
