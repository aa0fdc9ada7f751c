"""The accuracy of trained models under one condition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Unpack

import pandas as pd
from torch import nn

from aimc_robust.data.batches import Batches, as_reiterable
from aimc_robust.errors import InputError, require_finite, require_type, require_whole
from aimc_robust.evaluation.monte_carlo import MAX_CHIPS, ChipOptions, Condition, evaluate_chips
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.hardware.config.placement import Layers
from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.two_stage_sampling import DEFAULT_PILOT, chips_needed
from aimc_robust.tasks.measurement import Measurement
from aimc_robust.tasks.metrics import Metrics
from aimc_robust.tasks.registry import TaskLike, as_task
from aimc_robust.training.config import Precision


def evaluate(
    model: nn.Module | Sequence[nn.Module],
    batches: Batches,
    condition: Condition,
    *,
    layers: Layers | None = None,
    chips: int = 25,
    chip_seed: int = 0,
    time_s: float = 0.0,
    deployment: Deployment | None = None,
    jobs: int | None = None,
    precision: float | None = None,
    metrics: Metrics = None,
    strict: bool | None = None,
    task: TaskLike = None,
    forward_precision: Precision = "32-true",
) -> Estimate:
    """Estimate the accuracy of a model under a condition, or another metric of its task, with its interval.

    On a CPU, convolutional networks of torchvision, timm and this package, and those of torch's own layers, get images
    in channels-last format, in which they take less time; losses differ from those of other formats by rounding.

    Args:
        model: A trained model, or several that were trained with the same recipe: the interval is then over models.
        batches: Labelled data: (inputs, labels) batches such as a list or a DataLoader, one such pair, or `Images`.
        condition: A Crossbar, a `Placement`, a weight noise, or None for digital weights (1 chip).
        layers: Layers that are not on the crossbar: pattern over names -> "digital" or another crossbar, see
            `Placement`.
        chips: Number of chips, from chip 0; with `precision` the largest number.
        chip_seed: Root seed of all chips.
        time_s: Seconds since programming of a crossbar.
        deployment: Converter ranges, backend and compensation of a crossbar; None: none, on the native backend.
        jobs: Number of processes with one thread each; any number gives the same results. None: this process with
            torch's number of threads.
        precision: Half-width of the 95 % interval over one model's chips at which to stop [percentage points, or the
            unit of another primary metric], see `statistics.two_stage_sampling`; None: all chips.
        metrics: Further columns of the table: names such as `top5` or `package.module:function`, or name -> function
            of the (outputs, labels) of all images. See `Estimate.for_column`.
        strict: True raises InputError if weights stay digital that a crossbar could hold if their layer were of a
            supported type; None warns, False accepts it.
        task: What is measured: a Task or its name, such as `regression`; None is `classification`. The estimate is that
            of its primary metric.
        forward_precision: `32-true`, or `bf16-mixed`: forward passes under autocast, of digital weights and of chips
            whose weights alone have errors. Chips are programmed in float32, and outputs are scored in float32.

    Returns:
        The estimate; its table has one row per model and chip.

    Raises:
        InputError: if an argument is invalid.
        DataError: if there are no images, or labels do not match the outputs.

    Examples:
        >>> estimate = evaluate(model, batches, Crossbar("rram-wan2022"), chips=25)  # doctest: +SKIP
        >>> estimate.mean, estimate.sd_noise, estimate.ci  # doctest: +SKIP
    """
    require_whole("chips", chips, low=1, high=MAX_CHIPS)
    check_precision(precision, chips)
    models = as_models(model)
    task = as_task(task)
    batches = as_reiterable(batches, task)
    rows = [
        {"train_seed": number, "chip": chip, **measurement.row()}
        for number, trained in enumerate(models)
        for chip, measurement in evaluate_until_precise(
            trained,
            batches,
            condition,
            chips=chips,
            precision=precision,
            chip_seed=chip_seed,
            time_s=time_s,
            deployment=deployment,
            jobs=jobs,
            metrics=metrics,
            strict=strict,
            task=task,
            layers=layers,
            forward_precision=forward_precision,
        )
    ]
    return Estimate(
        pd.DataFrame(rows),
        pilot=None if precision is None else DEFAULT_PILOT,
        metric=task.primary,
        others=(*Estimate.others, *task.others),
        is_digital=condition is None,
    )


def as_models(model: nn.Module | Iterable[nn.Module]) -> list[nn.Module]:
    """Return one or several models as a list; raise InputError for none, or something else than a model."""
    if not isinstance(model, Iterable) or isinstance(model, nn.Module):
        model = [model]
    models = list(model)
    for each in models:
        require_type("model", each, nn.Module, example="a torch.nn.Module, or a list of them")
    if not models:
        raise InputError("expected at least one model, got none.")
    return models


def check_precision(precision: float | None, chips: int) -> None:
    """Raise InputError for an invalid half-width [percentage points], or too few chips for an interval."""
    if precision is None:
        return
    require_finite("precision (half-width in points)", precision)
    if precision == 0.0 or chips < 2:
        raise InputError(f"precision needs a half-width above 0 and at least 2 chips, got {precision:g} and {chips}.")


def evaluate_until_precise(
    model: nn.Module,
    batches: Batches,
    condition: Condition,
    *,
    chips: int,
    precision: float | None,
    known: Mapping[int, float] | None = None,
    jobs: int | None = None,
    **options: Unpack[ChipOptions],
) -> Iterator[tuple[int, Measurement]]:
    """Measure as many chips as a half-width [percentage points] requires, at most `chips`; None: all of them.

    `known` are chips that were measured before and their primary metric; they are not measured again. The other
    arguments and the result are those of `evaluate_chips`.
    """
    check_precision(precision, chips)
    values = dict(known or {})
    pilot = chips if precision is None or condition is None else min(DEFAULT_PILOT, chips)
    needed = pilot
    for last_stage in (False, True):
        missing = [chip for chip in range(needed) if chip not in values]
        if missing:
            for chip, measurement in evaluate_chips(model, batches, condition, chips=missing, jobs=jobs, **options):
                values[chip] = measurement.value
                yield chip, measurement
        if last_stage or precision is None or condition is None:
            return
        needed = min(chips, chips_needed([values[chip] for chip in range(pilot)], precision))
