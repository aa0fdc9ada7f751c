"""What the rows of a run belong to: the spec that they answer, and the weights that they were measured on."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aimc_robust.errors import ResultsError
from aimc_robust.experiments.results.files import EVALUATIONS, LANDSCAPE, ORIGIN, QUESTION, RANGES, read_file
from aimc_robust.experiments.spec.base import ExperimentSpec
from aimc_robust.io.atomic import atomic_write
from aimc_robust.training.recipe import fingerprint


def record_spec(run_folder: Path, spec: ExperimentSpec) -> None:
    """Note in a run folder which spec the run belongs to, unless it is noted."""
    origin = _read(run_folder)
    if origin["spec"] is None:
        _write(run_folder, origin | {"spec": fingerprint(spec.run_identity())})


def bind_weights(run_folder: Path, name: str, weights: str, *, has_rows: bool) -> None:
    """Note the digest of the weights that are measured under a target. Converter ranges of other weights are deleted.

    Raises:
        ResultsError: if there are rows of the target, measured on other weights.
    """
    origin = _read(run_folder)
    known = origin["weights"].get(name)
    if known == weights:
        return
    if has_rows:
        which = "other weights than these" if known else f"weights that no {ORIGIN} names"
        raise ResultsError(
            f"{run_folder} holds rows of {name} that were measured on {which}; restore the weights or the file, or "
            "delete the folder to compute it again."
        )
    ranges = read_file(run_folder / RANGES) or {}
    if ranges.pop(name, None) is not None:
        atomic_write(run_folder / RANGES, json.dumps(ranges, indent=1))
    _write(run_folder, origin | {"weights": origin["weights"] | {name: weights}})


def merge_origins(run_folders: Sequence[Path], out: Path) -> None:
    """Write the origin of merged rows into `out`; of several weights of a target those of the first folder."""
    origins = [_read(folder) for folder in reversed(run_folders)]
    merged = {
        "spec": next((origin["spec"] for origin in reversed(origins) if origin["spec"]), None),
        "weights": {name: weights for origin in origins for name, weights in origin["weights"].items()},
    }
    if merged != _read(out):
        _write(out, merged)


def differing_weights(first: Path, second: Path) -> str | None:
    """Return a target that two run folders measured on different weights, or None."""
    weights, others = _read(first)["weights"], _read(second)["weights"]
    return next((name for name in weights if others.get(name, weights[name]) != weights[name]), None)


def check_runs(folder: Path, spec: ExperimentSpec, *, is_recorded: bool) -> None:
    """Check that all runs in a folder are of a spec's models, and, unless question.json records it, rows of the spec.

    A training needs no check here: its checkpoint names its own recipe.

    Raises:
        ResultsError: if a model has a training seed that the spec does not name, or rows belong to another spec, or do
            not say to which.
    """
    names = {str(trial) for trial in spec.trials}
    of_any_seed = re.compile(rf"(?:{'|'.join(map(re.escape, spec.labels))})-seed(\d+)")
    for run_folder in sorted((folder / "runs").glob("*")):
        if run_folder.name not in names and (seed := of_any_seed.fullmatch(run_folder.name)):
            raise ResultsError(
                f"{folder} holds a model of training seed {seed[1]} ({run_folder.name}), which the spec does not name; "
                "add the seed to train_seeds, or give --out another folder."
            )
        has_rows = any((run_folder / name).exists() for name in (EVALUATIONS, LANDSCAPE))
        if not is_recorded and has_rows and _read(run_folder)["spec"] != fingerprint(spec.run_identity()):
            raise ResultsError(
                f"{folder} has no {QUESTION}, and {run_folder} holds rows of another spec or of an unknown one; "
                "restore the file, or give --out another folder."
            )


def _read(run_folder: Path) -> dict[str, Any]:
    return {"spec": None, "weights": {}} | (read_file(run_folder / ORIGIN) or {})


def _write(run_folder: Path, origin: dict[str, Any]) -> None:
    run_folder.mkdir(parents=True, exist_ok=True)
    atomic_write(run_folder / ORIGIN, json.dumps(origin, indent=1))
