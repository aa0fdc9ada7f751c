"""Measure a device's errors on a model: layer by layer, and as an equivalent Gaussian noise."""

from __future__ import annotations

import json
import math
from typing import Any

from torch import nn

from aimc_robust.data.batches import InputBatches
from aimc_robust.data.dataset import DataSet
from aimc_robust.evaluation.equivalent_noise import equivalent_sigma
from aimc_robust.evaluation.layer_errors import layer_errors
from aimc_robust.hardware.calibration.converter_ranges import calibrate_deployment
from aimc_robust.hardware.config.deployment import Deployment
from aimc_robust.targets.target import CrossbarTarget
from aimc_robust.tasks.task import Task
from aimc_robust.training.config import Precision

BATCH_SIZE = 500
CHIPS = 20  # the interval of sigma shows whether they are enough
SYSTEMATIC = 0.5  # share of the mean square error from which compensation comes before training


def calibrated_deployment(model: nn.Module, data: DataSet, device: CrossbarTarget, task: Task) -> Deployment:
    """Return how a device deploys models, with converter ranges and data for its compensation from training data."""
    first = next(iter(data.batches("training", BATCH_SIZE, next(model.parameters()).device)))
    return calibrate_deployment(model, device.condition, device.deployment, InputBatches([task.unpack(first)[0]]))


def measure_device(
    model: nn.Module,
    data: DataSet,
    device: CrossbarTarget,
    task: Task,
    *,
    chip_seed: int,
    jobs: int | None,
    forward_precision: Precision = "32-true",
) -> dict[str, Any]:
    """Measure the errors of a device on a trained model and its validation data.

    Returns:
        Plain values: the equivalent sigma (`sigma`, its interval `low` to `high`, `identified`, `reason`, `rms`),
        the primary metric with `digital` weights and on the `device`, its `forward_precision`, and `layers`, a list of
        rows of `layer_errors`.
    """
    hardware, time_s = device.condition, device.time_s
    deployment = calibrated_deployment(model, data, device, task)
    conditions: dict[str, Any] = {"chip_seed": chip_seed, "time_s": time_s, "deployment": deployment, "jobs": jobs}
    conditions["forward_precision"] = forward_precision
    batches = data.batches("validation", BATCH_SIZE, next(model.parameters()).device)
    equivalent = equivalent_sigma(model, batches, hardware, chips=CHIPS, task=task, **conditions)
    layers = layer_errors(model, hardware, time_s=time_s)
    return {
        "sigma": equivalent.sigma,
        "low": equivalent.low if math.isfinite(equivalent.low) else None,
        "high": equivalent.high if math.isfinite(equivalent.high) else None,
        "identified": equivalent.identified,
        "reason": equivalent.reason,
        "device": equivalent.device.mean,
        "digital": equivalent.digital,
        "device_interval": list(equivalent.device.ci),
        "rms": equivalent.rms,
        "forward_precision": forward_precision,
        "compensation": list(device.deployment.compensation),
        "chips": CHIPS,
        "examples": len(data.split("validation")[1]),
        "layers": json.loads(layers.to_json(orient="records")),
    }


def before_training(measured: dict[str, Any], device: CrossbarTarget) -> tuple[str, ...]:
    """Return what to consider before another training, a sentence each, from the values of `measure_device`."""
    remarks = []
    share = systematic_share(measured["layers"])
    ages = any(crossbar.device.cell.depends_on_time for crossbar in device.condition.crossbars) and device.time_s > 0
    if ages and share >= SYSTEMATIC and "drift" not in measured["compensation"]:
        remarks.append(
            f"{100 * share:.0f} % of the mean square error is systematic, as drift is, and noise in training is not: "
            'first measure the device with compensation = ["drift"].'
        )
    low, high = measured["device_interval"]
    if low <= measured["digital"] <= high:
        remarks.append(
            f"On {measured['examples']} validation examples and {measured['chips']} chips the device costs "
            "nothing that is settled: plain SGD may do."
        )
    return tuple(remarks)


def systematic_share(layers: list[dict[str, Any]]) -> float:
    """Return the systematic share of the mean square error over all weights, from rows of `layer_errors`."""
    known = [layer for layer in layers if layer["rms_layer_max"] is not None]
    whole = sum(layer["weights"] * layer["rms_layer_max"] ** 2 for layer in known)
    random = sum(layer["weights"] * layer["std_layer_max"] ** 2 for layer in known)
    return 1.0 - random / whole if whole else 0.0
