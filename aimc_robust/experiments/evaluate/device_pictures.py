"""What an evaluation's page draws of the first model on each device: counts of states, and values in ranges."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from aimc_robust.experiments.execution.target_runner import TargetRunner
from aimc_robust.experiments.results.evaluation import group_by_device
from aimc_robust.hardware.calibration.signals import converter_signals
from aimc_robust.hardware.device_states import device_states
from aimc_robust.io.atomic import Row
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.targets.target import CrossbarTarget

MAX_WEIGHTS = 15_000_000  # of a larger network the states of all devices need too much memory at once
BINS = 60


def record_device_pictures(runner: TargetRunner) -> None:
    """Store the explanations `state_counts` and `signals` of a model on each device, unless they are there.

    States are those of chip 0 at the first and at the last time, on the native backend; values are those of the first
    batch of test data, where converters have calibrated ranges.
    """
    targets = [target for target in runner.results.spec.build_targets() if isinstance(target, CrossbarTarget)]
    stored = {name: _targets_of(runner, name) for name in ("state_counts", "signals")}
    small = sum(weight.parameter.numel() for weight in analog_weights(runner.model).values()) <= MAX_WEIGHTS
    for family in group_by_device(targets):
        first = family[0]
        units = {crossbar.device.cell.unit for crossbar in first.condition.crossbars}
        plain = first.deployment.backend == "native" and len(units) == 1
        if small and plain and first.name not in stored["state_counts"]:
            runner.results.add_explanation("state_counts", _state_counts(runner, family))
        if first.name not in stored["signals"]:
            runner.results.add_explanation("signals", _signals(runner, first))


def _targets_of(runner: TargetRunner, name: str) -> set[str]:
    rows = runner.results.explanation(name)
    return set(rows["target"]) if len(rows) else set()


def _state_counts(runner: TargetRunner, family: list[CrossbarTarget]) -> list[Row]:
    """Return a row for each bin of the states of all layers: its ends, and counts of devices at both times."""
    values: dict[str, Any] = {}
    windows: set[float] = set()
    for target in family[:1] if len(family) == 1 else (family[0], family[-1]):
        states = device_states(
            runner.model,
            target.condition,
            chip_seed=runner.results.spec.chip_seed,
            time_s=target.time_s,
            fold=target.deployment.fold,
            example=runner.data.example,
        )
        for kind, tensors in (("targets", states.target), (target.name, states.programmed)):
            values[kind] = np.concatenate([tensors[name].flatten().float().cpu().numpy() for name in tensors])
        windows |= {end for window in states.windows.values() for end in window}
    ends = [end for found in values.values() for end in (found.min(), found.max())]
    edges = np.histogram_bin_edges(np.array([min(ends), max(ends)], dtype=float), BINS)
    counts = {kind: np.histogram(found, edges)[0].tolist() for kind, found in values.items()}
    first, last = counts[family[0].name], counts[family[-1].name]
    common = vars(runner.trial) | {"target": family[0].name, "unit": states.unit}
    common |= {"window_low": min(windows), "window_high": max(windows)}
    return [
        common
        | {"bin": i, "low": float(edges[i]), "high": float(edges[i + 1])}
        | {"targets": counts["targets"][i], "first": first[i], "last": last[i]}
        for i in range(len(edges) - 1)
    ]


def _signals(runner: TargetRunner, target: CrossbarTarget) -> list[Row]:
    """Return the rows of `converter_signals` on a batch of test data; none without calibrated ranges."""
    ranges = runner.results.ranges(runner.trial, target.name)
    if ranges is None:
        return []
    batches = list(islice(runner.batches(target), 1))
    fold, task = target.deployment.fold, runner.results.task
    table = converter_signals(runner.model, target.condition, batches, ranges, fold=fold, task=task)
    return [vars(runner.trial) | {"target": target.name, **row} for row in table.to_dict("records")]
