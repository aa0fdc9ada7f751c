"""Load the data set of a spec: read a source, take subsets, split, hash and normalize."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aimc_robust.data.dataset import CALIBRATION_IMAGES, DataSet
from aimc_robust.data.image_files import ImageFiles, read_into_memory
from aimc_robust.data.lazy import LazyImages, select_images
from aimc_robust.data.loading_examples import load_examples
from aimc_robust.data.normalization import channel_statistics, mean_std_text, normalize_array, training_text
from aimc_robust.data.selection import permutation
from aimc_robust.data.sources.digits import load_digits_images
from aimc_robust.data.sources.folders import folder_splits
from aimc_robust.data.sources.npz import npz_splits
from aimc_robust.data.sources.torchvision import torchvision_files, torchvision_images
from aimc_robust.data.spec import TABLES, DataSpec
from aimc_robust.errors import DataError, unknown_name
from aimc_robust.tasks.registry import TaskLike, as_task

DATA_NAMES = [
    "csv:FILE", "digits", "folder:FOLDER", "npz:FILE", "package.module:function", "parquet:FILE", "torchvision:NAME"
]  # fmt: skip
RawSplit = tuple[np.ndarray | ImageFiles, np.ndarray]
"""Images and labels (N,): an array (N, H, W, C) of floats in 0 to 1 or of bytes, or files."""


def load_data(spec: DataSpec, *, data_seed: int, folder: Path, task: TaskLike = None) -> DataSet:
    """Load the data set of a spec, whose relative paths start from `folder`; DataError names a missing or bad file."""
    task = as_task(task)
    if spec.source in (*TABLES, "function"):
        return load_examples(spec, task, data_seed=data_seed, folder=folder)
    train, test = _load_source(spec, data_seed, folder)
    if spec.classes is not None:
        train = _restrict_classes(train, spec.classes, "training")
        test = _restrict_classes(test, spec.classes, "test")
    _check_classes(train, test)
    outputs = task.outputs(torch.from_numpy(train[1]))
    train = _subsample(train, spec.train_images, "training", data_seed)
    test = _subsample(test, spec.test_images, "test", data_seed)
    return _build(train, test, outputs, spec, data_seed)


def _load_source(spec: DataSpec, seed: int, folder: Path) -> tuple[RawSplit, RawSplit]:
    """Return (training, test)."""
    kind, _, location = spec.name.partition(":")
    if spec.name == "digits":
        images, labels = load_digits_images(spec.size, spec.resize)
        order = permutation(seed, "test split", len(labels))
        test_count = max(1, round(spec.test_share * len(labels)))
        return (
            (images[order[test_count:]], labels[order[test_count:]]),
            (images[order[:test_count]], labels[order[:test_count]]),
        )
    if kind == "npz" and location:
        return npz_splits(folder / location)
    if kind == "folder" and location:
        train, test = folder_splits(folder / Path(location).expanduser(), spec.size, spec.resize)
        return (train, test) if spec.stream else (read_into_memory(train), read_into_memory(test))
    if kind == "torchvision" and location:
        root, crop = folder / Path(spec.root).expanduser(), (spec.size, spec.resize)
        if spec.stream:
            test, train = torchvision_files(location, root, *crop, download=spec.download)
            return train, test
        test_arrays, train_arrays = torchvision_images(location, root, *crop, training=True, download=spec.download)
        assert train_arrays is not None
        return train_arrays, test_arrays
    raise unknown_name("data set", spec.name, DATA_NAMES)


def _restrict_classes(split: RawSplit, classes: int, name: str) -> RawSplit:
    """Return the images whose label is below `classes`."""
    labels = split[1]
    selected = labels < classes
    if not selected.any() or (name == "training" and labels.max() + 1 < classes):
        raise DataError(
            f"classes = {classes} selects the labels 0 to {classes - 1}; the {name} images have {labels.min()} to "
            f"{labels.max()}. Choose classes within them."
        )
    return _select(split, selected.nonzero()[0])


def _check_classes(train: RawSplit, test: RawSplit) -> None:
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"training images are {train[0].shape[1:]}, test images {test[0].shape[1:]}; expected the same shape."
        )
    classes = int(train[1].max()) + 1
    if test[1].max() >= classes:
        raise DataError(
            f"the test split has the label {test[1].max()}, which no training image has (0 to {classes - 1})."
        )
    if classes > len(train[1]):
        raise DataError(f"the label {classes - 1} implies more classes than the {len(train[1])} training images.")


def _subsample(split: RawSplit, images: int | None, name: str, seed: int) -> RawSplit:
    """Return a random subset of `images` images in their original order, or all if None."""
    available = len(split[1])
    if images is None:
        return split
    if images > available:
        key = "train_images" if name == "training" else "test_images"
        raise DataError(f"{key} = {images} is more than the {available} {name} images; use at most that.")
    return _select(split, np.sort(permutation(seed, f"{name} images", available)[:images]))


def _build(train: RawSplit, test: RawSplit, outputs: int, spec: DataSpec, seed: int) -> DataSet:
    """Split validation images off, hash all splits, and normalize them."""
    n = len(train[1])
    order, validation_count, validation = permutation(seed, "validation split", n), 0, test
    if spec.validation == "split":
        validation_count = round(spec.validation_share * n)
        if not 0 < validation_count < n:
            raise DataError(f"{n} training images leave no validation split at a share of {spec.validation_share:g}.")
        validation = _select(train, order[:validation_count])
    splits = [_select(train, order[validation_count:]), validation, test]
    digest = hashlib.blake2b(digest_size=16)
    for images, labels in splits:
        digest.update(images.fingerprint() if isinstance(images, ImageFiles) else np.ascontiguousarray(images).data)
        digest.update(np.ascontiguousarray(labels).data)
    mean, std = channel_statistics(splits[0][0], spec.mean, spec.std)
    if spec.mean is not None:
        digest.update(mean.tobytes() + std.tobytes())
    training, validating, testing = (
        (_normalized(images, mean, std), torch.from_numpy(labels)) for images, labels in splits
    )
    black = torch.from_numpy((-mean / std).astype(np.float32))
    first = torch.arange(len(training[1]))[:CALIBRATION_IMAGES]  # the split is in random order
    return DataSet(
        name=spec.name,
        training=training,
        validation=validating,
        test=testing,
        outputs=outputs,
        id=digest.hexdigest(),
        calibration_inputs=select_images(training[0], first),
        normalization=_normalization(spec, splits[0][0], mean, std, n - len(splits[0][1])),
        black=black,
    )


def _normalization(
    spec: DataSpec, images: np.ndarray | ImageFiles, mean: np.ndarray, std: np.ndarray, held_out: int
) -> str:
    text = f"(pixel - mean) / std with {mean_std_text(mean, std)}"
    if spec.mean is not None:
        return text
    return f"{text}, {'ImageNet' if isinstance(images, ImageFiles) else training_text(len(images), held_out, 'images')}"


def _normalized(images: np.ndarray | ImageFiles, mean: np.ndarray, std: np.ndarray) -> Tensor | LazyImages:
    if isinstance(images, ImageFiles):
        return LazyImages(images, mean=mean, std=std)
    if images.dtype != np.uint8:
        return normalize_array(images, mean, std)
    return LazyImages(torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1))), mean=mean, std=std)


def _select(split: RawSplit, indices: np.ndarray) -> RawSplit:
    """Return the images with these indices and their labels."""
    images, labels = split
    return (images.select(indices) if isinstance(images, ImageFiles) else images[indices]), labels[indices]
