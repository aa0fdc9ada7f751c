"""The files of a results folder: their names, what the JSON files hold, and the lock of the folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NotRequired

import pydantic
from filelock import FileLock, Timeout  # the operating system frees the lock when the process dies
from typing_extensions import TypedDict

from aimc_robust.errors import AimcError, ResultsError
from aimc_robust.io.atomic import RECOMPUTE, read_json

SPEC, QUESTION, ENVIRONMENT, COVERAGE = "spec.toml", "question.json", "environment.json", "coverage.json"
NOTES = "notes.json"  # of an evaluation
# Of each run:
EVALUATIONS, HISTORY, FAILURE, RANGES = "evaluations.jsonl", "history.jsonl", "failed.json", "ranges.json"
ORIGIN = "origin.json"
LANDSCAPE, ANALYSIS = "landscape.jsonl", "analysis.jsonl"
LOCK = ".lock"

STRICT = pydantic.with_config(pydantic.ConfigDict(strict=True, extra="allow"))


def object_with(**keys: Any) -> Any:
    """Return the type of a JSON object with these keys, and perhaps others."""
    return STRICT(TypedDict("object_with", keys))  # type: ignore[operator]


RERUN = "delete it and run `compare` or `evaluate` with the same spec again, which writes it."
MAPPED_LAYER = object_with(
    layer=str,
    shares=list[str],
    rows=int,
    columns=int,
    arrays=int,
    utilization=float,
    devices=int,
    activity=dict[str, int] | None,
)
MAPPING = object_with(
    network=str,
    targets=list[str],
    inputs=list[list[int]],
    layers=list[MAPPED_LAYER],  # type: ignore[valid-type]
    total=dict[str, Any],
)
LAYER_RANGES = object_with(inputs=list[float], outputs=list[list[float]])
MODEL_RANGES = object_with(layers=dict[str, LAYER_RANGES], found_with=dict[str, Any] | None)  # type: ignore[valid-type]
JSON_FILES: dict[str, tuple[Any, str]] = {
    QUESTION: (dict[str, Any], RERUN),
    ENVIRONMENT: (
        list[dict[str, Any]],
        "delete it; it cannot be computed again, and reports then say that the environment is not recorded.",
    ),
    COVERAGE: (object_with(line=str, mappings=NotRequired[list[MAPPING]]), RERUN),  # type: ignore[valid-type]
    NOTES: (list[str], RERUN),
    FAILURE: (object_with(reason=str), "delete it; `compare` then runs the model again."),
    ORIGIN: (
        object_with(spec=str | None, weights=dict[str, str]),  # digests, see `origin`
        "restore it, or delete its folder and run the command again, which computes the model again.",
    ),
    RANGES: (dict[str, MODEL_RANGES], RECOMPUTE),  # type: ignore[valid-type]  # by target
}
"""Name -> what a file holds, and what to do if it is damaged."""


def read_file(path: Path) -> Any:
    """Return the content of one of JSON_FILES, or None if there is no such file.

    Raises:
        ResultsError: if it is damaged or holds something else.
    """
    shape, advice = JSON_FILES[path.name]
    return read_json(path, shape, advice=advice)


def has_runs(folder: Path) -> bool:
    """Return whether a folder holds runs, also if question.json is missing."""
    return any(folder.glob(f"runs/*/{ORIGIN}"))


def is_locked(folder: Path) -> bool:
    """Return whether another process works on a folder."""
    path = folder / LOCK
    try:
        with FileLock(path, timeout=0) if path.exists() else nullcontext():
            return False
    except Timeout:
        return True
    except OSError:  # a folder that is only read
        return False


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create `folder` and keep other processes out of it until the block or the process ends.

    Raises:
        ResultsError: if the folder is not writable, holds other files, or is locked by another process.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_known = (folder / QUESTION).exists() or has_runs(folder)
        if not is_known and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise ResultsError(f"{folder} holds other files; give --out an empty or new folder.")
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout:
        raise ResultsError(f"another process works on {folder}; wait for it, or give --out another folder.") from None
    except OSError as error:
        if isinstance(error, AimcError):
            raise
        raise ResultsError(
            f"{error.filename or folder} cannot be written ({error.strerror}); correct the cause and run the command "
            "again, or give --out another folder. Finished work is kept."
        ) from None
