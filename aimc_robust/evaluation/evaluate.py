"""The accuracy of trained models under conditions: devices, times, noises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from torch import nn

from aimc_robust.data.batches import as_reiterable
from aimc_robust.errors import InputError, require_finite, require_whole
from aimc_robust.evaluation.monte_carlo import Condition, Deployment, evaluate_chips
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.metrics import Batch, Measurement, Metric
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.two_stage import PILOT, chips_needed

Key = str | float | tuple[str, float]


def evaluate(
    model: nn.Module | Sequence[nn.Module],
    batches: Iterable[Batch],
    condition: Condition | Mapping[str, Condition],
    *,
    chips: int = 25,
    seed: int = 0,
    time_s: float | Sequence[float] = 0.0,
    backend: str = "native",
    compensation: tuple[str, ...] = (),
    data: Iterable[Any] = (),
    jobs: int | None = None,
    precision: float | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> AccuracyEstimate | dict[Key, AccuracyEstimate]:
    """The accuracy of a model under a condition, with its interval.

    model: one, or several trained by the same recipe: the interval is then over models.
    batches: (inputs, labels) pairs, such as a list or a DataLoader.
    condition: a Crossbar, a weight noise, or None for digital weights (1 chip); or name -> condition for several.
    chips: how many, from number 0; with `precision` at most so many.
    time_s: seconds since programming, or several times, of a crossbar. backend, compensation, data: see `Deployment`.
    jobs: processes of one thread each; any number gives the same results. None: this process with torch's threads.
    precision: half-width of the 95 % interval over one model's chips [points] at which to stop (`stopping`).
    metrics: name -> function of (outputs, labels) of all images; further columns of the table, see `estimate.of`.
    Returns one estimate for one condition and time; else a dict by name, by time, or by (name, time).
    Raises InputError or DataError for arguments that cannot be.
    """
    require_whole("chips", chips, low=1)
    check_precision(precision, chips)
    models = [model] if isinstance(model, nn.Module) else list(model)
    if not models:
        raise InputError("expected a model or several, got none.")
    batches, data = as_reiterable(batches), list(data)
    many, times = isinstance(condition, Mapping), isinstance(time_s, Sequence)
    conditions = condition if isinstance(condition, Mapping) else {"": condition}
    moments = time_s if isinstance(time_s, Sequence) else [time_s]
    if not conditions or not moments:
        raise InputError("expected a condition and a time, or several, got none.")

    def estimate(one: Condition, how: Deployment) -> AccuracyEstimate:
        rows = [
            {"seed": number, "chip": chip, **measured.row()}
            for number, trained in enumerate(models)
            for chip, measured in until_precise(
                trained, batches, one, chips, precision, seed=seed, deployment=how, jobs=jobs, metrics=metrics
            )
        ]
        return AccuracyEstimate(pd.DataFrame(rows), pilot=None if precision is None else PILOT)

    found: dict[Key, AccuracyEstimate] = {}
    for name, one in conditions.items():
        if many and not isinstance(one, Crossbar):  # time, backend and compensation belong to the crossbars beside it
            of_times = [estimate(one, Deployment())] * len(moments)
        else:
            deployments = [Deployment(time_s=t, backend=backend, compensation=compensation, data=data) for t in moments]
            of_times = [estimate(one, how) for how in deployments]
        for moment, result in zip(moments, of_times, strict=True):
            found[(name, moment) if many and times else name if many else moment] = result
    return found if many or times else next(iter(found.values()))


def check_precision(precision: float | None, chips: int) -> None:
    """Raise InputError for a half-width that cannot be wished for, or too few chips to tell."""
    if precision is None:
        return
    require_finite("precision (half-width in points)", precision)
    if precision == 0.0 or chips < 2:
        raise InputError(f"precision needs a half-width above 0 and at least 2 chips, got {precision:g} and {chips}.")


def until_precise(
    model: nn.Module,
    batches: Iterable[Batch],
    condition: Condition,
    chips: int,
    precision: float | None,
    *,
    known: Mapping[int, float] | None = None,
    **options: Any,
) -> Iterator[tuple[int, Measurement]]:
    """`evaluate_chips` of as many chips as the wished half-width asks for, at most `chips`.

    known: chip -> accuracy of chips that are done already; they are left out. options: of `evaluate_chips`.
    """
    check_precision(precision, chips)
    accuracies = dict(known or {})
    pilot = chips if precision is None or condition is None else min(PILOT, chips)
    wanted = pilot
    for last in (False, True):
        missing = [chip for chip in range(wanted) if chip not in accuracies]
        for chip, measured in evaluate_chips(model, batches, condition, chips=missing, **options) if missing else ():
            accuracies[chip] = measured.accuracy
            yield chip, measured
        if last or precision is None or condition is None:
            return
        wanted = min(chips, chips_needed([accuracies[chip] for chip in range(pilot)], precision))
