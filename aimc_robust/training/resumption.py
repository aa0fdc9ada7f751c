"""What a training leaves on disk, and how it goes on from there."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from inspect import isfunction
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aimc_robust.data.augmentation import Augmentation
from aimc_robust.errors import CheckpointError
from aimc_robust.io.atomic import Row, atomic_write, read_rows
from aimc_robust.models.checkpoint import (
    Tensors,
    check_fits,
    load_model_tensors,
    load_momentum_tensors,
    model_tensors,
    momentum_tensors,
    read_checkpoint,
    write_checkpoint,
)
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.methods.base import Method

FINISHED = "checkpoint.safetensors"
UNFINISHED = "unfinished.safetensors"
HISTORY = "history.jsonl"


@dataclass(frozen=True)
class Kept:
    """The weights that a selection holds on to, the epoch they come from and what it scored."""

    epoch: int
    score: float
    tensors: Tensors


@dataclass
class Progress:
    """Where a training stands: what a resume needs beside the weights and the optimizer's state."""

    epoch: int = 0
    kept: list[Kept] = field(default_factory=list)  # one of each of the recipe's selections


def recipe_of(
    model: nn.Module, method: Method, config: TrainingConfig, seed: int, data_id: str, augmentation: Augmentation
) -> str:
    """A fingerprint of all that decides the result.

    Settings at their defaults are left out, so that a new setting does not disown what was trained before it came.
    """
    tensors = {name: [*value.shape, str(value.dtype)] for name, value in model.state_dict().items()}
    settings = [[type(part).__name__, _chosen(part)] for part in (method, config, augmentation)]
    content = [tensors, settings, seed, data_id]
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()


def _chosen(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, in a form that is the same in every process."""
    values = {field.name: (getattr(settings, field.name), field.default) for field in fields(settings)}
    return {name: _plain(value) for name, (value, default) in values.items() if value != default}


def _plain(value: Any) -> Any:
    """A setting as text; a function by its name alone, an object of a class by its attributes."""
    if is_dataclass(value):
        return [type(value).__name__, _chosen(value)]
    if type(value).__repr__ is object.__repr__ and not isfunction(value):  # it would show an address
        return [f"{type(value).__module__}.{type(value).__qualname__}", {k: _plain(v) for k, v in vars(value).items()}]
    return f"{value.__module__}.{value.__qualname__}" if isfunction(value) else repr(value)


def _check_recipe(path: Path, found: str | None, expected: str) -> None:
    if found != expected:
        raise CheckpointError(
            f"{path} was made by another recipe (method, settings, seed, model or data); write to another folder, or "
            "delete it to train again."
        )


def selection_file(selections: Sequence[float | None], number: int) -> str:
    """The checkpoint of a selection: the first is the checkpoint, the others are named by their sigma."""
    return FINISHED if number == 0 else f"checkpoint-{selections[number]:g}.safetensors"


def load_finished(folder: Path, model: nn.Module, recipe: str) -> int:
    """Put a finished training's weights into `model`; returns the epoch they come from."""
    epoch = _load(folder / FINISHED, model, recipe)
    (folder / UNFINISHED).unlink(missing_ok=True)  # a kill may have come between the two files
    return epoch


def load_selection(folder: Path, model: nn.Module, selections: Sequence[float | None], number: int) -> int:
    """Put the weights of one of a finished training's selections into `model`; returns the epoch they come from.

    Raises CheckpointError when the file is missing, damaged, or of another training than the folder's first.
    """
    path = folder / selection_file(selections, number)
    if not path.exists():
        raise CheckpointError(f"{path} is missing; delete {folder / FINISHED} to train again.")
    return _load(path, model, read_checkpoint(folder / FINISHED)[1]["recipe"])


def _load(path: Path, model: nn.Module, recipe: str) -> int:
    tensors, notes = read_checkpoint(path)
    check_fits(model, tensors, source=str(path))
    _check_recipe(path, notes.get("recipe"), recipe)
    load_model_tensors(model, tensors, source=str(path))
    return notes["epoch"]


def save_finished(folder: Path, progress: Progress, recipe: str, selections: Sequence[float | None]) -> None:
    """Write the selected weights, then let go of the unfinished state. The first selection's file says: finished."""
    for number in reversed(range(len(selections))):
        kept = progress.kept[number]
        write_checkpoint(
            folder / selection_file(selections, number), kept.tensors, {"recipe": recipe, "epoch": kept.epoch}
        )
    (folder / UNFINISHED).unlink(missing_ok=True)


def load_progress(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, recipe: str) -> Progress:
    """Put an unfinished training's state into model and optimizer; a fresh Progress when there is none."""
    path = folder / UNFINISHED
    if not path.exists():
        return Progress()
    tensors, notes = read_checkpoint(path)
    model_part = _part(tensors, "model")
    check_fits(model, model_part, source=str(path))
    _check_recipe(path, notes.get("recipe"), recipe)
    load_model_tensors(model, model_part, source=str(path))
    load_momentum_tensors(optimizer, _part(tensors, "optimizer"))
    if "kept" not in notes:
        raise CheckpointError(f"{path} was written by an older version of aimc-robust; delete it to train again.")
    kept = [
        Kept(epoch, -math.inf if score is None else score, _part(tensors, f"epoch{epoch}"))
        for epoch, score in notes["kept"]
    ]
    return Progress(notes["epoch"], kept)


def save_progress(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, recipe: str
) -> None:
    """Write all that `load_progress` needs."""
    parts = {"model": model_tensors(model), "optimizer": momentum_tensors(optimizer)}
    parts |= {f"epoch{kept.epoch}": kept.tensors for kept in progress.kept}  # once where selections share an epoch
    tensors = {f"{part}/{name}": value for part, content in parts.items() for name, value in content.items()}
    kept = [[kept.epoch, kept.score if math.isfinite(kept.score) else None] for kept in progress.kept]
    write_checkpoint(folder / UNFINISHED, tensors, {"recipe": recipe, "epoch": progress.epoch, "kept": kept})


def _part(tensors: Tensors, part: str) -> Tensors:
    return {name.removeprefix(f"{part}/"): t for name, t in tensors.items() if name.startswith(f"{part}/")}


def load_history(folder: Path, epoch: int, *, mend: bool) -> list[Row]:
    """The rows up to the checkpoint; a row that a kill left ahead of its checkpoint is dropped, to be made again.

    mend: drop it from the file too, which one process alone may do.
    """
    path = folder / HISTORY
    rows = [row for row in read_rows(path) if row["epoch"] <= epoch]
    if mend:
        atomic_write(path, "".join(json.dumps(row) + "\n" for row in rows))
    return rows
