"""Attribute what a device costs to error sources, and predict it without Monte Carlo, for evaluated models."""

from __future__ import annotations

import timeit
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pandas as pd

from aimc_robust.evaluation.accuracy_prediction import predict_accuracy
from aimc_robust.evaluation.attribution import attribute
from aimc_robust.evaluation.error_sources import active_sources
from aimc_robust.evaluation.loss_prediction import predict_loss
from aimc_robust.evaluation.monte_carlo import ChipOptions, evaluate_chips
from aimc_robust.evaluation.prediction_check import check_prediction
from aimc_robust.experiments.callbacks.progress import ExperimentProgress
from aimc_robust.experiments.execution.target_runner import TargetRunner
from aimc_robust.experiments.results.evaluation import group_by_device
from aimc_robust.experiments.spec.evaluation import EvaluationSpec
from aimc_robust.io.atomic import Row
from aimc_robust.parallel.process_pool import use_threads
from aimc_robust.targets.target import CrossbarTarget, DeployableTarget, DigitalTarget


def attribute_models(runners: Sequence[TargetRunner], chips: int, progress: ExperimentProgress) -> list[str]:
    """Attribute the loss of each model on each device, at its last time; rows are stored as `attribution`.

    Returns:
        Remarks on devices that are left out.
    """
    devices, remarks = _attributable_devices(runners[0].results.spec)
    for runner in runners:
        for target in devices:
            if not _is_explained(runner, "attribution", chips, target.name):
                _attribute_target(runner, target, chips, progress)
    return remarks


def _is_explained(runner: TargetRunner, name: str, chips: int, target: str | None = None) -> bool:
    """Return whether rows of an explanation with this number of chips are stored."""
    wanted = vars(runner.trial) | {"chips": chips} | ({} if target is None else {"target": target})
    rows = runner.results.explanation(name).to_dict("records")
    return any(wanted.items() <= row.items() for row in rows)


def _attributable_devices(spec: EvaluationSpec) -> tuple[list[CrossbarTarget], list[str]]:
    """Return the devices whose loss can be attributed, and remarks on the others."""
    plain = [target for target in _predictable(spec) if isinstance(target, CrossbarTarget)]
    crossbars = [group[-1] for group in group_by_device(plain)]  # each device at its last time
    exact = [target.name for target in crossbars if not active_sources(target.condition, time_s=target.time_s)]
    devices = [target for target in crossbars if target.name not in exact]
    remarks = [f"{name} has no error source to attribute the loss to." for name in exact]
    remarks += [
        f"{built.name} is not attributed: error sources are switched off one by one on the native backend, without "
        "compensation, with folded BatchNorms."
        for built in spec.build_targets()
        if isinstance(built, CrossbarTarget) and not built.is_plain
    ]
    return devices, remarks


def _attribute_target(runner: TargetRunner, target: CrossbarTarget, chips: int, progress: ExperimentProgress) -> None:
    description = f"{runner.trial} on {target.name}: error attribution"
    attribution = attribute(
        runner.model,
        runner.batches(target),
        target.condition,
        chips=chips,
        chip_seed=runner.results.spec.chip_seed,
        time_s=target.time_s,
        deployment=runner.deployment(target),
        jobs=runner.jobs,
        task=runner.results.task,
        on_chip=lambda done, total: progress.explaining(description, done=done, total=total),
    )
    table = attribution.table.astype({"weights": object}).where(attribution.table.notna(), None)
    accuracies = {"exact": attribution.ideal, "whole": attribution.crossbar}
    _store(runner, "attribution", table, {"target": target.name, "chips": chips} | accuracies)


def predict_models(runners: Sequence[TargetRunner], chips: int, progress: ExperimentProgress) -> list[str]:
    """Predict loss and primary metric of each model under each target, and compare some losses with Monte Carlo.

    Rows are stored as the explanations `prediction` (each target), `prediction_layers`, and `validity` (each device at
    its last time, and the noises, beside Monte Carlo at several strengths of the error).

    Returns:
        A remark if there is nothing to predict.
    """
    targets = _predictable(runners[0].results.spec)
    if not targets:
        return [
            "No loss is predicted: this needs a noise, or a device on the native backend without compensation, with "
            "folded BatchNorms."
        ]
    for runner in runners:
        if not _is_explained(runner, "validity", chips):
            _predict_model(runner, targets, chips, progress)
    return []


def _predict_model(
    runner: TargetRunner, targets: list[DeployableTarget], chips: int, progress: ExperimentProgress
) -> None:
    seed, batches = runner.results.spec.chip_seed, runner.batches(targets[0])
    progress.explaining(f"{runner.trial}: prediction without Monte Carlo", done=0, total=2)
    conditions = {target.name: target.condition for target in targets}
    times_s = {target.name: target.time_s for target in targets}
    with use_threads(1) if runner.jobs else nullcontext():
        options: dict[str, Any] = {"chip_seed": seed, "task": runner.results.task}
        prediction = predict_loss(runner.model, batches, conditions, time_s=times_s, **options)
        deployments = {target.name: deployment for target in targets if (deployment := runner.deployment(target))}
        accuracy = predict_accuracy(
            runner.model, batches, conditions, time_s=times_s, deployment=deployments, **options
        )
    progress.explaining(f"{runner.trial}: Monte Carlo beside the prediction", done=1, total=2)
    names = [group[-1].name for group in group_by_device(targets)]
    check = check_prediction(
        runner.model,
        batches,
        {name: conditions[name] for name in names},
        time_s={name: times_s[name] for name in names},
        chips=chips,
        jobs=runner.jobs,
        **options,
    )
    left_out = [", ".join(prediction.left_out[name]) for name in prediction.table["condition"]]
    values = accuracy.table[["predicted", "low", "high"]].add_prefix("metric_")
    cost = {"cost": prediction.seconds / _chip_s(runner, targets[0])}
    _store(runner, "prediction_layers", prediction.layers)
    _store(runner, "prediction", prediction.table.assign(left_out=left_out, **values), cost)
    _store(runner, "validity", check.table)


def _chip_s(runner: TargetRunner, target: DeployableTarget) -> float:
    """Return the time of one chip [s] with the threads of the prediction: the shorter of two measurements."""
    model, batches, deployment = runner.model, runner.batches(target), runner.deployment(target)

    options: ChipOptions = {"time_s": target.time_s, "deployment": deployment, "task": runner.results.task}

    def evaluate_chip() -> None:
        list(evaluate_chips(model, batches, target.condition, chips=[0], **options))

    with use_threads(1) if runner.jobs else nullcontext():
        return min(timeit.repeat(evaluate_chip, repeat=2, number=1))


def _store(runner: TargetRunner, name: str, table: pd.DataFrame, columns: Row | None = None) -> None:
    """Store a table as an explanation, with further columns first; its column `condition` becomes `target`."""
    common = vars(runner.trial) | (columns or {})
    rows = table.rename(columns={"condition": "target"}).to_dict("records")
    runner.results.add_explanation(name, [common | row for row in rows])


def _predictable(spec: EvaluationSpec) -> list[DeployableTarget]:
    """Return noises, and devices on the native backend without compensation, with folded BatchNorms."""
    targets = [target for target in spec.build_targets() if not isinstance(target, DigitalTarget)]
    return [target for target in targets if not isinstance(target, CrossbarTarget) or target.is_plain]
