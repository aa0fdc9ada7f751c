"""Attribute the loss of accuracy to error sources, and predict it without Monte Carlo, for evaluated models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pandas as pd
from torch import nn

from aimc_robust.data.evaluation_set import EvaluationImages
from aimc_robust.evaluation.attribution import attribute
from aimc_robust.evaluation.error_sources import active_sources
from aimc_robust.evaluation.loss_prediction import predict_loss
from aimc_robust.evaluation.monte_carlo import evaluate_chips
from aimc_robust.evaluation.prediction_check import check_prediction
from aimc_robust.experiments.callbacks.evaluation import EvaluationProgress
from aimc_robust.experiments.evaluate.calibrated_target import calibrate_target
from aimc_robust.experiments.results.evaluation import EvaluationResults
from aimc_robust.experiments.results.evaluation_tables import group_by_device
from aimc_robust.experiments.spec.evaluation import EvaluationSpec, TrainedModel
from aimc_robust.io.atomic import Row
from aimc_robust.parallel.process_pool import single_thread
from aimc_robust.targets.target import CrossbarTarget, DeployableTarget, DigitalTarget

Models = Sequence[tuple[TrainedModel, nn.Module]]
"""Trained models with their networks."""


def attribute_models(
    results: EvaluationResults,
    models: Models,
    images: EvaluationImages,
    chips: int,
    jobs: int | None,
    progress: EvaluationProgress,
) -> list[str]:
    """Attribute the loss of the first model of each label on each device, at its last time.

    Rows are stored as the explanation `attribution`.

    Args:
        results: The results folder.
        models: The models.
        images: The evaluation images.
        chips: Chips per variant of a crossbar.
        jobs: Processes, as for `ar.evaluate`.
        progress: Callbacks.

    Returns:
        Remarks on devices that are left out.
    """
    devices, remarks = _attributable_devices(results.spec)
    finished = results.explanation("attribution")
    for model, network in _first_of_each_label(models):
        for target in devices:
            if len(finished):
                same = (finished["model"] == str(model)) & (finished["target"] == target.name)
                if (same & (finished["chips"] == chips)).any():
                    continue
            _attribute_target(results, model, network, images, target, chips, jobs, progress)
    return remarks


def _attributable_devices(spec: EvaluationSpec) -> tuple[list[CrossbarTarget], list[str]]:
    """Return the devices whose loss can be attributed, and remarks on the others."""
    devices, remarks, compensated = [], [], []
    for target in last_crossbars(spec):
        if active_sources(target.crossbar, time_s=target.time_s):
            devices.append(target)
        else:
            remarks.append(f"{target.name} has no error source to attribute the loss to.")
    for built in spec.build_targets():
        if isinstance(built, CrossbarTarget) and not built.is_plain:
            compensated.append(
                f"{built.name} is not attributed: error sources are switched off one by one on the native backend, "
                "without compensation."
            )
    return devices, remarks + compensated


def _attribute_target(
    results: EvaluationResults,
    model: TrainedModel,
    network: nn.Module,
    images: EvaluationImages,
    target: CrossbarTarget,
    chips: int,
    jobs: int | None,
    progress: EvaluationProgress,
) -> None:
    description = f"{model} on {target.name}: error attribution"
    attribution = attribute(
        network,
        images,
        target.crossbar,
        chips=chips,
        chip_seed=results.spec.chip_seed,
        time_s=target.time_s,
        deployment=calibrate_target(results, model, network, images, target),
        jobs=jobs,
        on_chip=lambda done, total: progress.explaining(description, done=done, total=total),
    )
    common = {
        "model": str(model),
        "target": target.name,
        "chips": chips,
        "exact": attribution.ideal_accuracy,
        "whole": attribution.crossbar_accuracy,
    }
    table = attribution.table.astype({"weights": object}).where(attribution.table.notna(), None)
    results.add_explanation("attribution", [common | row for row in _rows(table)])


def predict_models(
    results: EvaluationResults,
    models: Models,
    images: EvaluationImages,
    chips: int,
    jobs: int | None,
    progress: EvaluationProgress,
) -> list[str]:
    """Predict the loss of the first model of each label under each target, and compare some with Monte Carlo.

    Rows are stored as the explanations `prediction` (each target), `prediction_layers`, and `validity` (each device at
    its last time, and the noises, beside Monte Carlo at several strengths of the error).

    Args:
        results: The results folder.
        models: The models.
        images: The evaluation images.
        chips: Chips of the Monte Carlo evaluation.
        jobs: Processes, as for `ar.evaluate`.
        progress: Callbacks.

    Returns:
        A remark if there is nothing to predict.
    """
    targets = _predictable(results.spec)
    if not targets:
        return ["No loss is predicted: this needs a noise, or a device on the native backend without compensation."]
    finished = results.explanation("validity")
    for model, network in _first_of_each_label(models):
        if len(finished) and ((finished["model"] == str(model)) & (finished["chips"] == chips)).any():
            continue
        _predict_model(results, model, network, images, targets, chips, jobs, progress)
    return []


def _predict_model(
    results: EvaluationResults,
    model: TrainedModel,
    network: nn.Module,
    images: EvaluationImages,
    targets: list[DeployableTarget],
    chips: int,
    jobs: int | None,
    progress: EvaluationProgress,
) -> None:
    seed = results.spec.chip_seed
    progress.explaining(f"{model}: prediction without Monte Carlo", done=0, total=2)
    conditions = {target.name: target.condition for target in targets}
    times_s = {target.name: target.time_s for target in targets}
    with single_thread() if jobs else nullcontext():
        prediction = predict_loss(network, images, conditions, time_s=times_s, chip_seed=seed)
    progress.explaining(f"{model}: Monte Carlo beside the prediction", done=1, total=2)
    names = [group[-1].name for group in group_by_device(targets)]
    check = check_prediction(
        network,
        images,
        {name: conditions[name] for name in names},
        time_s={name: times_s[name] for name in names},
        chips=chips,
        chip_seed=seed,
        jobs=jobs,
    )
    common = {"model": str(model)}
    cost = prediction.seconds / _chip_s(results, model, network, images, targets[0], jobs)
    results.add_explanation("prediction_layers", [common | row for row in _rows(prediction.layers)])
    results.add_explanation(
        "prediction",
        [
            common | {"cost": cost} | row | {"left_out": ", ".join(prediction.left_out[row["target"]])}
            for row in _rows(prediction.table)
        ],
    )
    results.add_explanation("validity", [common | row for row in _rows(check.table)])


def _chip_s(
    results: EvaluationResults,
    model: TrainedModel,
    network: nn.Module,
    images: EvaluationImages,
    target: DeployableTarget,
    jobs: int | None,
) -> float:
    """Return the time of one chip [s] with the threads of the prediction: the shorter of two measurements."""
    deployment = calibrate_target(results, model, network, images, target)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        with single_thread() if jobs else nullcontext():
            chip = evaluate_chips(
                network, images, target.condition, chips=[0], time_s=target.time_s, deployment=deployment
            )
            list(chip)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table; its column `condition` becomes `target`."""
    rows: list[Row] = frame.rename(columns={"condition": "target"}).to_dict("records")
    return rows


def _predictable(spec: EvaluationSpec) -> list[DeployableTarget]:
    targets = [target for target in spec.build_targets() if not isinstance(target, DigitalTarget)]
    return [target for target in targets if not isinstance(target, CrossbarTarget) or target.is_plain]


def last_crossbars(spec: EvaluationSpec) -> list[CrossbarTarget]:
    """Return each device at its last time, without targets that use compensation or another backend."""
    crossbars = [target for target in _predictable(spec) if isinstance(target, CrossbarTarget)]
    return [group[-1] for group in group_by_device(crossbars)]


def _first_of_each_label(models: Models) -> Models:
    return [(model, network) for model, network in models if model.seed == 0]
