"""Whether a device asks for training through its arrays, and the settings of that method."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from aimc_robust.data.dataset import DataSet
from aimc_robust.errors import AimcError
from aimc_robust.targets.entries import CrossbarTable, TargetTable
from aimc_robust.targets.target import CrossbarTarget
from aimc_robust.tasks.task import Task
from aimc_robust.training.methods.array_aware import ArrayAware

IMAGES = 8
OF_TARGETS = {*CrossbarTable.__annotations__, *TargetTable.model_fields} - {"layers", "preset"}


def array_settings(
    target: Any, device: CrossbarTarget, model: nn.Module, data: DataSet, task: Task
) -> dict[str, Any] | None:
    """Return `bits`, the lowest resolution of a converter (0: none), and `method`, the table of `ArrayAware`.

    None: products of the device are exact, or the layers of the model cannot be trained in its arrays.
    """
    hardware = device.condition
    if not hardware.computes_in_arrays:
        return None
    learns = any(crossbar.periphery.calibrates_inputs for crossbar in hardware.crossbars)
    compensates = "drift" in device.deployment.compensation and device.time_s > 0
    method = ArrayAware(
        hardware, time_s=device.time_s, drift_compensation=compensates, ranges="learned" if learns else None
    )
    batch = next(iter(data.batches("training", IMAGES, next(model.parameters()).device)))
    try:
        method.backward(copy.deepcopy(model).train(), task, [batch], step=1)
    except AimcError:
        return None
    kept = {key: value for key, value in target.items() if key not in OF_TARGETS} if isinstance(target, Mapping) else {}
    table: dict[str, Any] = {"kind": "array-aware", "crossbar": kept or target}
    if device.time_s:
        table["time_s"] = device.time_s
    if compensates:
        table["drift_compensation"] = True
    if learns:
        table["ranges"] = "learned"
    converters = [part for crossbar in hardware.crossbars for part in (crossbar.periphery.dac, crossbar.periphery.adc)]
    bits = [converter.bits for converter in converters if converter is not None and converter.bits]
    return {"bits": min(bits, default=0), "method": table}
