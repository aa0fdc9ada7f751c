"""Models that command line arguments name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aimc_robust.data.dataset import DataSet
from aimc_robust.errors import CheckpointError, InputError
from aimc_robust.experiments.results.files import ORIGIN
from aimc_robust.experiments.spec.evaluation import TrainedModel, parse_models, split_argument
from aimc_robust.models.checkpoint import read_checkpoint
from aimc_robust.models.pretrained import PretrainedWeights, load_weights, read_weights
from aimc_robust.models.registry import ModelSpec, build_model, construct
from aimc_robust.models.weight_selection import WeightSelection
from aimc_robust.seeding import Axes, global_seed
from aimc_robust.tasks.batches import Batch
from aimc_robust.tasks.calling import call_model
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


@dataclass(frozen=True)
class _Shape:
    """Properties of data that only have a shape, see `DataInfo`."""

    shape: tuple[int, ...]
    classes: int | None

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        if self.classes is None:
            raise InputError("this network needs a number of outputs; give --classes.")
        return self.classes

    @property
    def example_batch(self) -> Batch:
        """A random input; there are no labels."""
        generator = torch.Generator().manual_seed(0)
        return torch.rand(1, *self.shape, generator=generator), torch.zeros(1, dtype=torch.long)


def random_network(
    spec: ModelSpec, data: DataSet | None, sizes: str | None, classes: int | None
) -> tuple[nn.Module, Any]:
    """Build an untrained network in evaluation mode; return it and inputs of it: those of data, or of a shape."""
    info: DataSet | _Shape
    if data is None:
        if re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", sizes or "") is None:
            raise InputError(f"expected the shape of one input, such as --input 3,224,224, got {sizes!r}.")
        info = _Shape(tuple(int(size) for size in str(sizes).split(",")), classes)
    else:
        info = data
    with global_seed(Axes(0).at(use="init").seed()):
        network = construct(spec, info).eval()
    if data is None:
        try:
            call_model(network, info.example_batch[0])
        except InputError as error:
            raise InputError(
                f"{error} --input gives random numbers; for tokens, or several inputs, use --data and --task, such as "
                "--task language-modelling."
            ) from None
    return network, info.example if isinstance(info, DataSet) else info.example_batch[0]
