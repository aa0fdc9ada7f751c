"""Trained models that command line arguments name."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from aimc_robust.data.dataset import DataSet
from aimc_robust.errors import CheckpointError
from aimc_robust.experiments.results.files import ORIGIN
from aimc_robust.experiments.spec.evaluation import TrainedModel, parse_models, split_argument
from aimc_robust.models.checkpoint import read_checkpoint
from aimc_robust.models.pretrained import PretrainedWeights, load_weights, read_weights
from aimc_robust.models.registry import ModelSpec, build_model
from aimc_robust.models.weight_selection import WeightSelection
from aimc_robust.tasks.task import Task
from aimc_robust.training.methods.range_state import load_range_state, ranges_of


def load_models(
    arguments: Sequence[str], selection: WeightSelection, spec: ModelSpec, data: DataSet, task: Task
) -> tuple[list[TrainedModel], list[nn.Module], list[str]]:
    """Build one model for each `FILE` or `LABEL=FILE`, with the shapes of `data`, and load the selected weights.

    Returns:
        (descriptions, models in evaluation mode, notes on how the files were read).
    """
    files = [_read_weights(split_argument(argument)[2], selection) for argument in arguments]
    descriptions = parse_models(arguments, [weights.id for weights in files])
    models: list[nn.Module] = []
    notes: list[str] = []
    for description, weights in zip(descriptions, files, strict=True):
        model = build_model(spec, data, seed=0, task=task)
        file_notes = (*weights.notes, *load_weights(model, weights, source=description.file))
        load_range_state(model, Path(description.file))
        if ranges_of(model) is not None:
            file_notes += ("its learned converter ranges act on crossbars with the converters of its training",)
        notes += [f"{description.file}: {note}." for note in file_notes]
        models.append(model.eval())
    return descriptions, models, notes


def _read_weights(path: Path, selection: WeightSelection) -> PretrainedWeights:
    try:
        return read_weights(path, selection)
    except CheckpointError as error:
        if not (path.parent / ORIGIN).is_file() or _is_whole(path):
            raise
        raise CheckpointError(
            f"{error} To train it again, delete the folder {path.parent} and run the same `compare` again."
        ) from None


def _is_whole(path: Path) -> bool:
    try:
        return bool(read_checkpoint(path))
    except (OSError, CheckpointError):
        return False
