"""Monte Carlo over chips: the same model on chip 0, 1, 2, ..."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from torch import nn

from aimc_robust.devices.limits import require_time
from aimc_robust.errors import InputError, require_known, require_whole
from aimc_robust.evaluation.estimate import AccuracyEstimate
from aimc_robust.hardware.crossbar import Crossbar
from aimc_robust.hardware.matrix import Chip
from aimc_robust.hardware.prepare import prepare
from aimc_robust.hardware.program import BACKENDS, check_program, chip_axes, program_prepared
from aimc_robust.hardware.recalibrate import recalibrate_batchnorm
from aimc_robust.metrics import Batch, Measurement, measure
from aimc_robust.noise.perturb import perturbed
from aimc_robust.noise.protocol import WeightNoise

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


def evaluate_chips(
    model: nn.Module,
    batches: Iterable[Batch],
    condition: Condition,
    *,
    chips: Iterable[int],
    seed: int = 0,
    deployment: Deployment | None = None,
) -> Iterator[tuple[int, Measurement]]:
    """(chip, its measurement) for each chip number, as they are done; `model` is left as it was.

    A crossbar is programmed with the weights after BatchNorm folding; any other noise perturbs the weights as they
    stand. Digital weights are the same on every chip: only the first is measured. A chip's errors derive from
    (seed, chip, layer) alone, so that two models, two methods and any two orders of work meet the same chips.
    deployment: of a crossbar: time, backend, compensation.
    """
    batches = batches if isinstance(batches, list) else list(batches)
    if condition is not None and not isinstance(condition, WeightNoise):
        raise InputError(f"expected a Crossbar, a weight noise or None to evaluate under, got {condition!r}.")
    if isinstance(condition, Crossbar):
        yield from _on_crossbar(model, batches, condition, chips, seed, deployment or Deployment())
        return
    if deployment is not None and (deployment.time_s or deployment.compensation or deployment.backend != "native"):
        raise InputError("a time, a backend and compensations belong to a crossbar; there is none to evaluate under.")
    ready = copy.deepcopy(model).eval()
    for chip in chips:
        if condition is None:
            yield chip, measure(ready, batches)
            return
        with perturbed(ready, condition, generator=chip_axes(seed, chip)):
            yield chip, measure(ready, batches)


def _on_crossbar(
    model: nn.Module, batches: list[Batch], crossbar: Crossbar, chips: Iterable[int], seed: int, how: Deployment
) -> Iterator[tuple[int, Measurement]]:
    if "batchnorm" in how.compensation and not how.data:
        raise InputError("the compensation 'batchnorm' needs unlabelled batches: pass data=[inputs, ...].")
    ready, _ = prepare(model)
    check_program(ready, crossbar, how.time_s, backend=how.backend, stacklevel=4)
    for number in chips:
        chip = Chip(axes=chip_axes(seed, number), time_s=how.time_s, drift_compensation="drift" in how.compensation)
        analog = program_prepared(copy.deepcopy(ready), crossbar, chip, backend=how.backend)
        if "batchnorm" in how.compensation:
            recalibrate_batchnorm(analog, how.data)
        yield number, measure(analog, batches)


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    condition: Condition,
    *,
    chips: int = 25,
    seed: int = 0,
    time_s: float = 0.0,
    backend: str = "native",
    compensation: tuple[str, ...] = (),
    data: Iterable[Any] = (),
) -> AccuracyEstimate:
    """The accuracy of one model under a condition, with its interval over chips.

    batches: (inputs, labels) pairs. condition: a Crossbar, a weight noise, or None for digital weights (1 chip).
    chips: how many, from number 0. time_s, backend, compensation, data: see `Deployment`.
    Raises InputError or DataError for arguments that cannot be.
    """
    require_whole("chips", chips, low=1)
    deployment = Deployment(time_s=time_s, backend=backend, compensation=compensation, data=data)
    rows = [
        {"seed": 0, "chip": chip, **measured._asdict()}
        for chip, measured in evaluate_chips(
            model, batches, condition, chips=range(chips), seed=seed, deployment=deployment
        )
    ]
    return AccuracyEstimate(pd.DataFrame(rows))
