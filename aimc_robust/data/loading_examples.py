"""Load data that are no images: tables, and what a function of the user's own returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aimc_robust.data.dataset import CALIBRATION_IMAGES, DataSet
from aimc_robust.data.lazy import LabelledImages, select_images
from aimc_robust.data.normalization import training_text
from aimc_robust.data.selection import content_id, permutation, select_examples
from aimc_robust.data.sources.functions import function_batches, join_batches
from aimc_robust.data.sources.tables import SPLITS, Table, read_table
from aimc_robust.data.spec import DataSpec
from aimc_robust.errors import DataError, InputError, join_names
from aimc_robust.tasks.batches import examples_in
from aimc_robust.tasks.classification import Classification
from aimc_robust.tasks.task import Task

AS_GIVEN = "none: inputs as the function gives them"


@dataclass(frozen=True)
class _Splits:
    """The examples of each split, as they were read; None for a split that there is not."""

    training: LabelledImages
    validation: LabelledImages | None
    test: LabelledImages
    notes: tuple[str, ...] = ()


def load_examples(spec: DataSpec, task: Task, *, data_seed: int, folder: Path) -> DataSet:
    """Load a table or the data of a function, with all splits; see `loading.load_data`."""
    splits = _read(spec, task, data_seed, folder)
    training = _subsample(splits.training, spec.train_images, "train_images", data_seed)
    test = _subsample(splits.test, spec.test_images, "test_images", data_seed)
    validation = test if spec.validation == "test" else splits.validation
    if validation is None:
        n = len(training[1])
        count = round(spec.validation_share * n)
        if not 0 < count < n:
            raise DataError(f"{n} training examples leave no validation split at a share of {spec.validation_share:g}.")
        order = torch.from_numpy(permutation(data_seed, "validation split", n))
        validation, training = select_examples(training, order[:count]), select_examples(training, order[count:])
    normalization = AS_GIVEN
    if spec.source != "function":
        mean, std = _column_statistics(training[0])
        training, validation, test = ((((x - mean) / std).float(), y) for x, y in (training, validation, test))
        held_out = 0 if splits.validation is not None or spec.validation == "test" else len(validation[1])
        normalization = f"each column by {training_text(len(training[1]), held_out, 'examples')}"
    parts = [training, validation, test]
    counts = [task.outputs(labels) for _, labels in parts]
    if isinstance(task, Classification) and max(counts) > counts[0]:
        raise DataError(
            f"{spec.name}: the class {max(counts) - 1} is in the validation or test split, but no training example has "
            f"it (0 to {counts[0] - 1}); use more data, or another data_seed."
        )
    return DataSet(
        name=spec.name,
        training=training,
        validation=validation,
        test=test,
        outputs=max(counts),
        id=content_id(parts),
        calibration_inputs=_evenly_spaced(training[0]),
        calibration_source="training examples",
        normalization=normalization,
        notes=splits.notes,
    )


def load_test_examples(spec: DataSpec, task: Task, *, data_seed: int, normalize: str | None) -> DataSet:
    """Load a table or the data of a function to evaluate a trained model on.

    Args:
        spec: Where the data are; paths are relative to the working directory.
        task: What the data are for. That of a whole model's score takes the batches of a function as they are.
        data_seed: Root seed of a table's split.
        normalize: Of a table: `training` or None, by its training split, as `compare` trains; `none`: as stored, and
            without a column `split` all rows are test rows.
    """
    if spec.source == "function":
        if normalize is not None:
            raise InputError(f"--normalize is for images and tables; {spec.name} returns what the model takes.")
        return _function_test(spec, task, data_seed)
    if normalize not in (None, "training", "none"):
        raise InputError(f"--normalize {normalize} is for images; a table takes `training` or `none`.")
    if normalize != "none":
        return load_examples(spec, task, data_seed=data_seed, folder=Path())
    table = _read_table(spec, task, Path())
    inputs, labels = _tensors(table, np.ones(len(table.labels), bool) if table.split is None else table.split == "test")
    return _test_set(spec, task, (inputs.float(), labels), "none: as stored", _describe(table))


def _function_test(spec: DataSpec, task: Task, data_seed: int) -> DataSet:
    """Call the function for the test split, and for the training split to calibrate on."""
    if not task.takes_any_batches:
        test = _function_split(spec, task, "test", data_seed)
        training = _function_split(spec, task, "training", data_seed, is_optional=True)
        data = _test_set(spec, task, test, AS_GIVEN)
        if training is None:
            return data
        return replace(data, calibration_inputs=_evenly_spaced(training[0]), calibration_source="training examples")
    batches = function_batches(spec.name, "test", spec.options, data_seed)
    if batches is None:
        raise _no_batches(spec, "test")
    return DataSet(
        name=spec.name,
        test=batches,
        outputs=0,
        id=content_id(batches),
        calibration_inputs=[task.unpack(batch)[0] for batch in batches],
        calibration_source="test examples, without their labels",
        normalization=AS_GIVEN,
    )


def _function_split(spec: DataSpec, task: Task, split: str, seed: int, *, is_optional: bool = False) -> Any:
    """Return the inputs and labels of a split, joined; None if the function has none and the split is optional."""
    batches = function_batches(spec.name, split, spec.options, seed)
    if batches is None and not is_optional:
        raise _no_batches(spec, split)
    return None if batches is None else join_batches(batches, task, f"data {spec.name} for {split!r}")


def _no_batches(spec: DataSpec, split: str) -> DataError:
    return DataError(f"data {spec.name} returned None for {split!r}; expected batches.")


def _test_set(
    spec: DataSpec, task: Task, test: LabelledImages, normalization: str, notes: tuple[str, ...] = ()
) -> DataSet:
    return DataSet(
        name=spec.name,
        test=test,
        outputs=task.outputs(test[1]),
        id=content_id(test),
        calibration_inputs=_evenly_spaced(test[0]),
        calibration_source="test examples, without their labels",
        normalization=normalization,
        notes=notes,
    )


def _read(spec: DataSpec, task: Task, seed: int, folder: Path) -> _Splits:
    if spec.source == "function":
        training = _function_split(spec, task, "training", seed)
        validation = _function_split(spec, task, "validation", seed, is_optional=True)
        return _Splits(training, validation, _function_split(spec, task, "test", seed))
    table = _read_table(spec, task, folder)
    n, split = len(table.labels), table.split
    if split is None:
        test_count = max(1, round(spec.test_share * n))
        split = np.full(n, "train", dtype=object)
        split[permutation(seed, "test split", n)[:test_count]] = "test"
    training, validation, test = (_tensors(table, split == name) for name in SPLITS)
    if not len(training[1]) or not len(test[1]):
        missing = "test" if len(training[1]) else "train"
        raise DataError(
            f"{spec.name} has no row of the split {missing}; for test rows alone use `evaluate --normalize none`."
        )
    return _Splits(training, validation if len(validation[1]) else None, test, _describe(table))


def _read_table(spec: DataSpec, task: Task, folder: Path) -> Table:
    path = folder / Path(spec.name.partition(":")[2]).expanduser()
    return read_table(path, spec.labels, parquet=spec.source == "parquet", classes=isinstance(task, Classification))


def _tensors(table: Table, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the inputs (float64, not normalized) and labels of these rows."""
    return torch.from_numpy(table.features[rows]), torch.from_numpy(table.labels[rows])


def _describe(table: Table) -> tuple[str, ...]:
    """Return remarks on what the columns and classes of a table are."""
    names = [f"{number} = {name}" for number, name in enumerate(table.class_names)]
    inputs = f"inputs: the columns {join_names(table.feature_names, limit=12)}."
    return (inputs, *([f"classes: {join_names(names, limit=12)}."] if names else []))


def _column_statistics(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each column; 1 for a column of one value."""
    std = inputs.std(dim=0, correction=0)
    return inputs.mean(dim=0), torch.where(inputs.amax(dim=0) > inputs.amin(dim=0), std, 1.0)


def _subsample(data: LabelledImages, count: int | None, key: str, seed: int) -> LabelledImages:
    """Return a random subset in the original order, or all if `count` is None."""
    available = len(data[1])
    if count is None:
        return data
    if count > available:
        raise DataError(f"{key} = {count} is more than the {available} examples; use at most that.")
    order = permutation(seed, f"{'training' if key == 'train_images' else 'test'} images", available)
    return select_examples(data, torch.from_numpy(np.sort(order[:count])))


def _evenly_spaced(inputs: Any) -> Any:
    """Return some inputs to calibrate on, spread over all, so that sorted data give every class."""
    count = examples_in(inputs)
    return select_images(inputs, torch.linspace(0, count - 1, min(count, CALIBRATION_IMAGES)).long())
