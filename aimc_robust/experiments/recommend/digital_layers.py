"""Which layers of a trained model to keep digital, on validation data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from aimc_robust.data.dataset import DataSet
from aimc_robust.evaluation.keep_digital import keep_digital
from aimc_robust.evaluation.layer_ranking import RANKING_CHIPS
from aimc_robust.experiments.recommend.measurement import BATCH_SIZE, calibrated_deployment
from aimc_robust.io.atomic import atomic_write, read_json
from aimc_robust.targets.target import CrossbarTarget
from aimc_robust.tasks.task import Task
from aimc_robust.training.config import Precision

KEPT = "digital_layers.json"
CHIPS = 20  # of each set of layers, and as many others of the confirmation


def digital_layers(
    folder: Path,
    question: dict[str, Any],
    get_model: Callable[[], nn.Module],
    data: DataSet,
    device: CrossbarTarget,
    task: Task,
    *,
    required: float,
    chip_seed: int,
    jobs: int | None,
    on_status: Callable[[str], None],
    forward_precision: Precision = "32-true",
) -> dict[str, Any]:
    """Return `KeptDigital.to_json` for a required value, from the folder if it answers the same question.

    `question` is everything that a measurement of the model depends on. `get_model` is called only if needed.
    """
    question = question | {"required": required, "chips": CHIPS, "ranking_chips": RANKING_CHIPS}
    stored = read_json(folder / KEPT)
    if stored is not None and stored["question"] == question:
        found: dict[str, Any] = stored["answer"]
        return found
    model = get_model()

    def status(kept: int, layers: int) -> None:
        on_status(f"measuring with {kept} of {layers} layers digital")

    kept = keep_digital(
        model,
        data.batches("validation", BATCH_SIZE, next(model.parameters()).device),
        device.condition,
        required=required,
        chips=CHIPS,
        ranking_chips=RANKING_CHIPS,
        chip_seed=chip_seed,
        time_s=device.time_s,
        deployment=calibrated_deployment(model, data, device, task),
        jobs=jobs,
        task=task,
        on_set=status,
        forward_precision=forward_precision,
    )
    answer = kept.to_json()
    atomic_write(folder / KEPT, json.dumps({"question": question, "answer": answer}, indent=1, allow_nan=False))
    return answer
