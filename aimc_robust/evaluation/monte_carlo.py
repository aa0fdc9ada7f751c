"""Monte Carlo over chips: the same model on chip 0, 1, 2, ..."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from aimc_robust.data.batches import as_reiterable
from aimc_robust.devices.limits import require_time
from aimc_robust.errors import InputError, require_known, require_whole
from aimc_robust.hardware.calibration.batchnorm import recalibrate_batchnorm
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import BACKENDS, check_program, chip_axes, program_prepared
from aimc_robust.hardware.programming.programmed_matrix import Chip
from aimc_robust.metrics import Batch, Measurement, Metric, check_metrics, measure
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.perturbation import perturbed
from aimc_robust.parallel.process_pool import ordered_map

Condition = WeightNoise | None
"""What a model is evaluated under: a crossbar, another weight noise, or None for exact digital weights."""

COMPENSATIONS = ("drift", "batchnorm")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """How a crossbar is evaluated, beyond the crossbar itself.

    time_s: seconds since programming. backend: `native` or `crosssim`. compensation: names among COMPENSATIONS, off by
    default: `drift` multiplies each matrix's output by one factor (`hardware.matrix.Chip`), `batchnorm` estimates
    BatchNorm statistics anew on each chip (`recalibrate_batchnorm`). data: unlabelled input batches for `batchnorm`.
    """

    time_s: float = 0.0
    backend: str = "native"
    compensation: tuple[str, ...] = ()
    data: Iterable[Any] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        require_time(self.time_s)
        require_known("backend", self.backend, BACKENDS)
        if isinstance(self.compensation, str):
            raise InputError(f"compensation is a tuple of names, such as ({self.compensation!r},).")
        for name in self.compensation:
            require_known("compensation", name, COMPENSATIONS)
        object.__setattr__(self, "data", list(self.data))


@dataclass(frozen=True)
class ChipWork:
    """Measures one model under one condition on any chip. model: prepared (`hardware.prepare`) for a crossbar."""

    model: nn.Module
    batches: Iterable[Batch]
    condition: Condition
    seed: int
    how: Deployment
    metrics: Mapping[str, Metric] | None = None
    layers: frozenset[str] | None = None  # of a crossbar: those that are programmed; None: all

    def __call__(self, number: int) -> Measurement:
        axes = chip_axes(self.seed, number)
        if self.condition is None:
            return measure(self.model, self.batches, self.metrics)
        if not isinstance(self.condition, Crossbar):
            with perturbed(self.model, self.condition, generator=axes):
                return measure(self.model, self.batches, self.metrics)
        how = self.how
        chip = Chip(axes=axes, time_s=how.time_s, drift_compensation="drift" in how.compensation, layers=self.layers)
        analog = program_prepared(copy.deepcopy(self.model), self.condition, chip, backend=how.backend)
        if "batchnorm" in how.compensation:
            recalibrate_batchnorm(analog, how.data)
        return measure(analog, self.batches, self.metrics)


def evaluate_chips(
    model: nn.Module,
    batches: Iterable[Batch],
    condition: Condition,
    *,
    chips: Iterable[int],
    seed: int = 0,
    deployment: Deployment | None = None,
    jobs: int | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Iterator[tuple[int, Measurement]]:
    """(chip, its measurement) for each chip number, in their order, as they are done; `model` is left as it was.

    A crossbar is programmed with the weights after BatchNorm folding; any other noise perturbs the weights as they
    stand. Digital weights are the same on every chip: only the first is measured. A chip's errors derive from
    (seed, chip, layer) alone, so that two models, two methods and any two orders of work meet the same chips.

    batches: (inputs, labels) pairs; a DataLoader is gone through once per chip, an iterator is kept as a list.
    deployment: of a crossbar: time, backend, compensation.
    jobs: processes of one thread each, with the same numbers for any of them; None: this process, torch's threads.
    metrics: name -> function of all (outputs, labels), see `metrics.measure`.
    """
    work = chip_work(model, batches, condition, seed=seed, deployment=deployment, metrics=metrics, stacklevel=4)
    check_jobs(work.model, jobs)
    numbers = list(chips)[:1] if condition is None else list(chips)
    jobs = jobs and min(jobs, max(len(numbers), 1))
    yield from zip(numbers, ordered_map(work, numbers, jobs=jobs), strict=True)


def chip_work(
    model: nn.Module,
    batches: Iterable[Batch],
    condition: Condition,
    *,
    seed: int = 0,
    deployment: Deployment | None = None,
    metrics: Mapping[str, Metric] | None = None,
    stacklevel: int = 3,
) -> ChipWork:
    """The work of one chip, with everything checked and prepared that all chips share."""
    batches = as_reiterable(batches)
    check_metrics(metrics)
    if condition is not None and not isinstance(condition, WeightNoise):
        raise InputError(f"expected a Crossbar, a weight noise or None to evaluate under, got {condition!r}.")
    how = deployment or Deployment()
    if isinstance(condition, Crossbar):
        if "batchnorm" in how.compensation and not how.data:
            raise InputError("the compensation 'batchnorm' needs unlabelled batches: pass data=[inputs, ...].")
        ready, _ = prepare(model)
        check_program(ready, condition, how.time_s, backend=how.backend, stacklevel=stacklevel)
    elif how.time_s or how.compensation or how.backend != "native":
        raise InputError("a time, a backend and compensations belong to a crossbar; there is none to evaluate under.")
    else:
        ready = copy.deepcopy(model).eval()
    return ChipWork(ready, batches, condition, seed, how, metrics)


def check_jobs(model: nn.Module, jobs: int | None) -> None:
    """Raise InputError for a number of processes that cannot be, or any for a model on a GPU."""
    if jobs is None:
        return
    require_whole("jobs", jobs, low=1)
    where = next((parameter.device for parameter in model.parameters()), None)
    if where is not None and where.type != "cpu":
        raise InputError(f"jobs are processes of the CPU, and this model is on {where}; leave jobs out.")
