"""Load the test split that a trained model is evaluated on, without or with the data that it was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aimc_robust.data.dataset import CALIBRATION_IMAGES, DataSet
from aimc_robust.data.image_files import read_into_memory
from aimc_robust.data.in_memory import MAX_FLOAT_BYTES
from aimc_robust.data.lazy import LazyImages
from aimc_robust.data.loading import DATA_NAMES, load_data
from aimc_robust.data.loading_examples import load_test_examples
from aimc_robust.data.normalization import normalize_array, resolve_normalization, scale_bytes
from aimc_robust.data.selection import permutation, select_examples
from aimc_robust.data.sources.folders import labelled_files
from aimc_robust.data.sources.npz import Arrays, has_training_split, npz_images
from aimc_robust.data.sources.torchvision import torchvision_images
from aimc_robust.data.spec import TABLES, DataSpec, data_source
from aimc_robust.errors import InputError, unknown_name
from aimc_robust.io.toml import parse
from aimc_robust.tasks.registry import TaskLike, as_task
from aimc_robust.tasks.task import Task


def load_evaluation_images(
    name: str,
    *,
    normalize: str | None = None,
    size: int | None = None,
    resize: int | None = None,
    images: int | None = None,
    classes: int | None = None,
    root: Path = Path("data"),
    data_seed: int = 0,
    task: TaskLike = None,
    settings: Mapping[str, Any] | None = None,
) -> DataSet:
    """Load the test split of a data set.

    Args:
        name: One of DATA_NAMES, such as `digits`, `torchvision:CIFAR10` or `csv:FILE`.
        normalize: `training`, by the training images that `compare` trains on (the default where there are some);
            `none`; `imagenet`; or MEAN/STD, such as 0.5/0.25 or 0.49,0.48,0.45/0.25,0.24,0.26, for pixels in 0 to 1.
        size: Side of the square that is cropped from the center [pixels], for folders and torchvision.
        resize: Length that the shorter side is first scaled to [pixels]; None means `size`.
        images: Size of a random subset; None uses all images.
        classes: Number of classes of the model, if it has more than the data.
        root: Folder of torchvision's data sets.
        data_seed: Root seed of the split and of the subset.
        task: What the data are for; None: classification.
        settings: Further keys of a `DataSpec`, of a table, a function or data that are normalized by their training
            images, such as `{"classes": 10}`.
    """
    task = as_task(task)
    loaded = _load(name, task, normalize, size, resize, root, data_seed, settings or {})
    if images is not None:
        loaded = _subsample(loaded, images, data_seed)
    return replace(loaded, outputs=classes or loaded.outputs)


def _load(
    name: str,
    task: Task,
    normalize: str | None,
    size: int | None,
    resize: int | None,
    root: Path,
    data_seed: int,
    settings: Mapping[str, Any],
) -> DataSet:
    source, location = data_source(name), name.partition(":")[2]
    if source is None:
        raise unknown_name("data", name, DATA_NAMES)
    if size and source not in ("folder", "torchvision"):
        raise InputError(f"--size and --resize apply to folders and torchvision's data sets, not to {name}.")
    if resize and not size:
        raise InputError(f"--resize {resize} needs --size, the size that is cropped after scaling.")
    if source in (*TABLES, "function"):
        spec = parse({"name": name, **settings}, DataSpec, source="data")
        return load_test_examples(spec, task, data_seed=data_seed, normalize=normalize)
    if source == "digits" and normalize not in (None, "training"):
        raise InputError("digits are normalized by their training split; remove --normalize.")
    by_training = normalize in (None, "training")
    if by_training and (source != "npz" or has_training_split(Path(location))) and source != "folder":
        given = {"size": size, "resize": resize, "root": str(root)} if source == "torchvision" else {}
        spec = parse({"name": name, **given, **settings}, DataSpec, source="data")
        return load_data(spec, data_seed=data_seed, folder=Path(), task=task)
    if settings:
        raise InputError(
            f"--set data.{next(iter(settings))} is for digits, .npz files and torchvision's sets that are normalized "
            f"by their training images, tables and functions, not for {name}."
        )
    if source == "torchvision":
        test, _ = torchvision_images(location, root, size, resize, training=False)
        return _from_arrays(name, test, normalize, task)
    if source == "npz":
        return _from_arrays(name, npz_images(Path(location)), normalize, task)
    files = labelled_files(Path(location), size, resize)
    return _from_arrays(name, read_into_memory(files), normalize, task)


def _from_arrays(name: str, test: Arrays, normalize: str | None, task: Task) -> DataSet:
    pixels, labels = test
    mean, std, description = resolve_normalization(name, pixels, normalize)
    stored = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 1)))
    digest = hashlib.blake2b(digest_size=16)
    for part in (stored.numpy(), labels, mean, std):
        digest.update(np.ascontiguousarray(part).data)
    if pixels.dtype != np.uint8 or 4 * pixels.size <= MAX_FLOAT_BYTES:
        images: Tensor | LazyImages = normalize_array(scale_bytes(pixels), mean, std)
    else:
        images = LazyImages(stored, mean=mean, std=std)
    # Evenly spaced, so that images sorted by class (of a folder) give every class.
    indices = np.linspace(0, len(pixels) - 1, min(len(pixels), CALIBRATION_IMAGES)).astype(int)
    return DataSet(
        name=name,
        test=(images, torch.from_numpy(labels)),
        outputs=task.outputs(torch.from_numpy(labels)),
        id=digest.hexdigest(),
        calibration_inputs=normalize_array(scale_bytes(pixels[indices]), mean, std),
        calibration_source="test images, without their labels",
        normalization=description,
    )


def _subsample(data: DataSet, count: int, seed: int) -> DataSet:
    """Return a random subset of `count` test images in their original order."""
    if isinstance(data.test, list):
        raise InputError(f"--images {count}: the batches of {data.name} are scored as they are; leave it out.")
    if not 0 < count <= data.count:
        raise InputError(f"--images must be from 1 to the {data.count} test images of {data.name}, got {count}.")
    indices = torch.from_numpy(np.sort(permutation(seed, "evaluation images", data.count)[:count]))
    return replace(data, test=select_examples(data.test, indices), id=f"{data.id}-{count}-{seed}")
