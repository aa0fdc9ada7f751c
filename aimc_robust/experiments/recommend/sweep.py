"""The spec of the sweep that judges a recommendation, and what its measurement depends on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aimc_robust.data.dataset import DataSet
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.files import with_file_digests
from aimc_robust.experiments.spec.loading import spec_from_dict
from aimc_robust.models.pretrained import PretrainedWeights


def sweep_spec(
    spec: ComparisonSpec,
    target: Any,
    methods: dict[str, dict[str, Any]],
    *,
    seeds: int | None,
    epochs: int | None,
    chips: int | None,
) -> ComparisonSpec:
    """Return a spec that compares `methods` on a device and with digital weights; all else is that of `spec`.

    Its seeds are the spec's first ones, then further ones.
    """
    values = spec.model_dump(mode="json", exclude_none=True)
    if seeds is not None:
        known = spec.train_seeds
        further = [seed for seed in range(seeds + max(known) + 1) if seed not in known]
        values["train_seeds"] = [*known, *further][:seeds]
    if epochs is not None:
        values["training"] = {**values["training"], "epochs": epochs}
    values |= {
        "name": f"{spec.name[:60]}-advice",
        "question": "Does the proposed training lose least on this device?",
        "chips": chips or spec.chips,
        "targets": ["digital"] if target == "digital" else ["digital", target],
        "methods": methods,
    }
    values.pop("diagnostics", None)
    return spec_from_dict(values)


def measurement_identity(
    spec: ComparisonSpec,
    target: Any,
    data: DataSet,
    folder: Path,
    epochs: int | None,
    weights: PretrainedWeights | None,
) -> dict[str, Any]:
    """Return everything that the measurement depends on, as plain values: contents of cards, files and code too."""
    keys = ("data_seed", "chip_seed", "task", "data", "model", "training", "targets", "code_digests")
    trained = sweep_spec(spec, target, {"sgd": {}}, seeds=1, epochs=epochs, chips=None)
    identity = with_file_digests(trained, folder).identity()
    values = {key: identity[key] for key in keys} | {
        "content": data.id,
        "network": spec.model.source_digest,
        "weights": None if weights is None else weights.id,
        "first": spec.train_seeds[0] if weights is None else None,
    }
    return json.loads(json.dumps(values))
