"""Monte Carlo over chips: the same model on chip 0, 1, 2, ..."""

import copy
from collections.abc import Iterable, Iterator

import pandas as pd
from torch import nn

from aimc_robust.errors import InputError, require_whole
from aimc_robust.evaluation.estimate import AccuracyEstimate
from aimc_robust.hardware.crossbar import Crossbar
from aimc_robust.hardware.program import chip_axes, prepare
from aimc_robust.metrics import Batch, Measurement, measure
from aimc_robust.noise.perturb import perturbed
from aimc_robust.noise.protocol import WeightNoise

Condition = WeightNoise | None
"""What a model is evaluated under: a crossbar, another weight noise, or None for exact digital weights."""


def evaluate_chips(
    model: nn.Module, batches: Iterable[Batch], condition: Condition, *, chips: Iterable[int], seed: int = 0
) -> Iterator[tuple[int, Measurement]]:
    """(chip, its measurement) for each chip number, as they are done; `model` is left as it was.

    A crossbar is programmed with the weights after BatchNorm folding; any other noise perturbs the weights as they
    stand. Digital weights are the same on every chip: only the first is measured. A chip's errors derive from
    (seed, chip, layer) alone, so that two models, two methods and any two orders of work meet the same chips.
    """
    batches = batches if isinstance(batches, list) else list(batches)
    if condition is not None and not isinstance(condition, WeightNoise):
        raise InputError(f"expected a Crossbar, a weight noise or None to evaluate under, got {condition!r}.")
    ready = prepare(model)[0] if isinstance(condition, Crossbar) else copy.deepcopy(model).eval()
    for chip in chips:
        if condition is None:
            yield chip, measure(ready, batches)
            return
        else:
            with perturbed(ready, condition, generator=chip_axes(seed, chip)):
                yield chip, measure(ready, batches)


def evaluate(
    model: nn.Module, batches: Iterable[Batch], condition: Condition, *, chips: int = 25, seed: int = 0
) -> AccuracyEstimate:
    """The accuracy of one model under a condition, with its interval over chips.

    batches: (inputs, labels) pairs. condition: a Crossbar, a weight noise, or None for digital weights (1 chip).
    chips: how many, from number 0. Raises InputError or DataError for arguments that cannot be.
    """
    require_whole("chips", chips, low=1)
    rows = [
        {"seed": 0, "chip": chip, **measured._asdict()}
        for chip, measured in evaluate_chips(model, batches, condition, chips=range(chips), seed=seed)
    ]
    return AccuracyEstimate(pd.DataFrame(rows))
