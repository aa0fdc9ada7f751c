"""Files of a training: finished and unfinished checkpoints, the history, and how a training resumes from them."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pydantic
import torch
from torch import nn

from aimc_robust.errors import CheckpointError, exact_text, warn
from aimc_robust.io.atomic import Row, atomic_write, read_rows
from aimc_robust.models.checkpoint import (
    Tensors,
    check_fits,
    load_optimizer_tensors,
    model_tensors,
    optimizer_tensors,
    read_checkpoint,
    read_metadata,
    tensor_digest,
    write_checkpoint,
)
from aimc_robust.training.methods.range_state import RANGES, set_range_state, state_from_json, state_to_json

FINISHED = "checkpoint.safetensors"
UNFINISHED = "unfinished.safetensors"
HISTORY = "history.jsonl"  # rows for readers; the checkpoints hold them too
MACHINE_DEPENDENT = ("seconds", "probe_seconds")  # columns in which two runs of one training may differ


def _with_epoch(row: Row) -> Row:
    if not isinstance(row.get("epoch"), int):
        raise ValueError("the key `epoch` must be a whole number")
    return row


HistoryRow = Annotated[
    dict[str, pydantic.StrictInt | pydantic.StrictFloat | None],
    pydantic.AfterValidator(_with_epoch),
    pydantic.Strict(),
]
"""The columns of an epoch, see `train`: numbers, or None for one that is not finite."""


@dataclass(frozen=True)
class Origin:
    """What the checkpoints of a training belong to: its recipe, and a digest of the weights that it started from."""

    recipe: str
    start: str


@dataclass(frozen=True)
class SelectedWeights:
    """Weights of the epoch that a selection has chosen so far."""

    epoch: int
    score: float  # metric under the selection's noise, negative if lower is better; minus infinity for the last epoch
    tensors: Tensors
    ranges: dict[str, Any] | None = None  # learned with them, see `range_state.state_to_json`

    def load_into(self, model: nn.Module) -> None:
        """Give `model` these weights and ranges."""
        model.load_state_dict(self.tensors)
        set_range_state(model, state_from_json(self.ranges))


@dataclass
class Progress:
    """State of a training beside the weights and the optimizer's state."""

    history: list[Row] = field(default_factory=list)  # a row for each epoch that is done
    selected: list[SelectedWeights] = field(default_factory=list)  # one for each of the config's `selections`

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)


def selection_file(selections: Sequence[float | None], index: int) -> str:
    """Return the checkpoint name of selection `index`: `checkpoint` for the first, the others with their sigma."""
    sigma = selections[index]
    return FINISHED if index == 0 or sigma is None else f"checkpoint-{exact_text(sigma)}.safetensors"


def load_finished(folder: Path, model: nn.Module, origin: Origin) -> int:
    """Load the weights of a finished training into `model`; return the epoch that they come from."""
    epoch = _load(folder / FINISHED, model, origin)[1]["epoch"]
    (folder / UNFINISHED).unlink(missing_ok=True)  # left if the process was killed between writing and deleting
    return epoch


def load_selection(folder: Path, model: nn.Module, selections: Sequence[float | None], index: int) -> int:
    """Load the weights of selection `index` of a finished training into `model`; return the epoch they come from."""
    path = folder / selection_file(selections, index)
    if not path.exists():
        raise CheckpointError(f"{path} is missing; delete {folder / FINISHED} to train again.")
    finished = read_checkpoint(folder / FINISHED)[1]
    return _load(path, model, Origin(finished["recipe"], finished.get("start", "")))[1]["epoch"]


def _load(path: Path, model: nn.Module, origin: Origin, prefix: str = "") -> tuple[Tensors, dict[str, Any]]:
    """Load the tensors of a checkpoint whose names start with `prefix` into `model`; return its content.

    Raises:
        CheckpointError: If the checkpoint is damaged, or belongs to another model, recipe or start.
    """
    tensors, metadata = read_checkpoint(path)
    state = _with_prefix(tensors, prefix)
    check_fits(model, state, source=str(path))
    if metadata.get("recipe") != origin.recipe:
        raise CheckpointError(
            f"{path} was made with another recipe (method, settings, seed, model or data); use another folder, or "
            "delete it to train again."
        )
    # A model that holds what is loaded anyway has been trained here: it is the same call, made again.
    if origin.start not in (metadata.get("start", origin.start), tensor_digest(state)):
        raise CheckpointError(
            f"{path} was trained from other initial weights; give another folder, or the model as it was when this "
            "training started."
        )
    model.load_state_dict(state)
    set_range_state(model, state_from_json(metadata.get(RANGES)))
    return tensors, metadata


def save_finished(folder: Path, progress: Progress, origin: Origin, selections: Sequence[float | None]) -> None:
    """Write the selected weights, then delete the unfinished state.

    The first selection's file is written last, because its presence marks the training as finished. Equal trainings
    give equal files: columns that depend on the machine are left out of the history in them.
    """
    history = [{key: row[key] for key in row if key not in MACHINE_DEPENDENT} for row in progress.history]
    for index in reversed(range(len(selections))):
        selected = progress.selected[index]
        metadata = {**asdict(origin), "epoch": selected.epoch, "history": history, **_with_ranges(selected.ranges)}
        write_checkpoint(folder / selection_file(selections, index), selected.tensors, metadata)
    (folder / UNFINISHED).unlink(missing_ok=True)


def load_progress(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, origin: Origin) -> Progress:
    """Load the state of an unfinished training into model and optimizer; return an empty Progress if there is none."""
    path = folder / UNFINISHED
    if not path.exists():
        return Progress()
    tensors, metadata = _load(path, model, origin, "model/")
    load_optimizer_tensors(optimizer, _with_prefix(tensors, "optimizer/"))
    selected = [
        SelectedWeights(epoch, -math.inf if score is None else score, _with_prefix(tensors, f"epoch{epoch}/"), *ranges)
        for epoch, score, *ranges in metadata["kept"]
    ]
    return Progress(metadata["history"], selected)


def save_progress(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, origin: Origin
) -> None:
    """Write everything that `load_progress` needs."""
    groups = {"model": model_tensors(model), "optimizer": optimizer_tensors(optimizer)}
    groups |= {f"epoch{s.epoch}": s.tensors for s in progress.selected}  # once where selections share an epoch
    tensors = {f"{prefix}/{name}": value for prefix, group in groups.items() for name, value in group.items()}
    scores = [
        [s.epoch, s.score if math.isfinite(s.score) else None, *([s.ranges] if s.ranges else [])]
        for s in progress.selected
    ]
    metadata = {
        **asdict(origin),
        "history": progress.history,
        "kept": scores,
        **_with_ranges(state_to_json(model)),
    }
    write_checkpoint(folder / UNFINISHED, tensors, metadata)


def _with_ranges(ranges: dict[str, Any] | None) -> dict[str, Any]:
    return {} if ranges is None else {RANGES: ranges}


def _with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors whose name starts with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def read_history(folder: Path) -> list[Row]:
    """Return the rows of a training, one per epoch.

    Rows that are missing in a finished training's history.jsonl come from its checkpoint, without the times that they
    took. Of several rows of an epoch the last counts. A damaged checkpoint gives a warning: rows can be read without.
    """
    checkpoint = folder / FINISHED
    stored: list[Row] = []
    try:
        stored = read_metadata(checkpoint)["history"] if checkpoint.exists() else []
    except CheckpointError as error:
        warn(str(error))
    rows = {row["epoch"]: row for row in [*stored, *read_rows(folder / HISTORY, HistoryRow)]}
    return [rows[epoch] for epoch in sorted(rows)]


def restore_history(folder: Path, rows: list[Row]) -> None:
    """Write history.jsonl again if it does not hold exactly these rows. Only one process may do this.

    A row may be one too many, written by a process that was killed before its checkpoint; that epoch is trained again.
    """
    path = folder / HISTORY
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if not path.exists() or path.read_bytes() != text:
        atomic_write(path, text)
