"""The comparisons of a recommendation: the baseline that errors are measured on, and the sweep that judges."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import tomli_w

from aimc_robust.experiments.results.comparison import ComparisonResults
from aimc_robust.experiments.results.trial import Trial
from aimc_robust.experiments.spec.comparison import ComparisonSpec
from aimc_robust.experiments.spec.loading import spec_from_dict
from aimc_robust.training.resumption import FINISHED

BASELINE = "sgd"


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

    Args:
        spec: Source of everything else.
        target: The device, as in a spec's targets.
        methods: Label -> table of a method.
        seeds: Number of training seeds: the spec's first ones, then further ones; None: the spec's.
        epochs: Epochs of each training; None: the spec's.
        chips: Chips per model; None: the spec's.
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
        "question": "Does the proposed training keep the most accuracy on this device?",
        "chips": chips or spec.chips,
        "targets": ["digital"] if target == "digital" else ["digital", target],
        "methods": methods,
    }
    values.pop("diagnostics", None)
    return spec_from_dict(values)


def reuse_baseline(baseline_folder: Path, sweep_folder: Path, spec: ComparisonSpec) -> None:
    """Copy the trained baseline into the sweep, whose spec trains the same recipe, seed and data."""
    run = str(Trial(BASELINE, spec.train_seeds[0]))
    source, destination = baseline_folder / "runs" / run, sweep_folder / "runs" / run
    if (source / FINISHED).exists() and not destination.exists():
        destination.parent.mkdir(parents=True, exist_ok=True)
        text = tomli_w.dumps(spec.model_dump(mode="json", exclude_none=True))
        ComparisonResults.create(sweep_folder, spec).write_spec_text(text)
        copy = destination.with_name(f".{run}")
        shutil.rmtree(copy, ignore_errors=True)  # of an interrupted copy
        shutil.copytree(source, copy)
        copy.rename(destination)
