"""Load the test images that a trained model is evaluated on, without or with the data that it was trained on."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aimc_robust.data.dataset import CALIBRATION_IMAGES, DataSet
from aimc_robust.data.image_files import read_into_memory
from aimc_robust.data.in_memory import MAX_FLOAT_BYTES
from aimc_robust.data.lazy import LazyImages, select_images
from aimc_robust.data.loading import DATA_NAMES, load_data
from aimc_robust.data.normalization import normalize_array, resolve_normalization, scale_bytes
from aimc_robust.data.sources.folders import labelled_files
from aimc_robust.data.sources.npz import Arrays, has_training_split, npz_images
from aimc_robust.data.sources.torchvision import torchvision_images
from aimc_robust.data.spec import DataSpec
from aimc_robust.errors import InputError, unknown_name
from aimc_robust.seeding import Axes


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
) -> DataSet:
    """Load the test images of a data set.

    Args:
        name: One of DATA_NAMES, such as `digits` or `torchvision:CIFAR10`.
        normalize: `training`, by the training split of the data, as `compare` trains (the default where there is one);
            `none`; `imagenet`; or MEAN/STD, such as 0.5/0.25 or 0.49,0.48,0.45/0.25,0.24,0.26, for pixels in 0 to 1.
        size: Side of the square that is cropped from the center [pixels], for folders and torchvision.
        resize: Length that the shorter side is first scaled to [pixels]; None means `size`.
        images: Size of a random subset; None uses all images.
        classes: Number of classes of the model, if it has more than the data.
        root: Folder of torchvision's data sets.
        data_seed: Root seed of the split and of the subset.
    """
    kind, _, location = name.partition(":")
    if (name != "digits" and not location) or kind not in ("digits", "npz", "folder", "torchvision"):
        raise unknown_name("data", name, DATA_NAMES)
    if resize and not size:
        raise InputError(f"--resize {resize} needs --size, the size that is cropped after scaling.")
    if size and kind in ("digits", "npz"):
        raise InputError(f"--size and --resize apply to folders and torchvision's data sets, not to {name}.")
    if kind == "digits" and normalize not in (None, "training"):
        raise InputError("digits are normalized by their training split; remove --normalize.")
    by_training = normalize in (None, "training")
    if kind == "digits" or (kind == "npz" and by_training and has_training_split(Path(location))):
        loaded = load_data(DataSpec(name=name), data_seed=data_seed, folder=Path())
    elif kind == "torchvision":
        splits = torchvision_images(location, root, size, resize, training=by_training)
        loaded = _from_arrays(name, *splits, normalize)
    elif kind == "npz":
        loaded = _from_arrays(name, npz_images(Path(location)), None, normalize)
    else:
        files = labelled_files(Path(location), size, resize)
        loaded = _from_arrays(name, read_into_memory(files), None, normalize)
    if images is not None:
        loaded = _subsample(loaded, images, data_seed)
    return replace(loaded, classes=classes or loaded.classes)


def _from_arrays(name: str, test: Arrays, training: Arrays | None, normalize: str | None) -> DataSet:
    pixels, labels = test
    mean, std, description = resolve_normalization(name, pixels, training, normalize)
    stored = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 1)))
    digest = hashlib.blake2b(digest_size=16)
    for part in (stored.numpy(), labels, mean, std):
        digest.update(np.ascontiguousarray(part).data)
    if pixels.dtype != np.uint8 or 4 * pixels.size <= MAX_FLOAT_BYTES:
        images: Tensor | LazyImages = normalize_array(scale_bytes(pixels), mean, std)
    else:
        images = LazyImages(stored, mean=mean, std=std)
    source = (test if training is None else training)[0]
    # Evenly spaced, so that images sorted by class (of a folder) give every class.
    indices = np.linspace(0, len(source) - 1, min(len(source), CALIBRATION_IMAGES)).astype(int)
    return DataSet(
        name=name,
        test=(images, torch.from_numpy(labels)),
        classes=int(labels.max()) + 1,
        id=digest.hexdigest(),
        calibration_images=normalize_array(scale_bytes(source[indices]), mean, std),
        calibration_source="test images, without their labels" if training is None else "training images",
        normalization=description,
    )


def _subsample(data: DataSet, count: int, seed: int) -> DataSet:
    """Return a random subset of `count` test images in their original order."""
    images, labels = data.test
    if not 0 < count <= len(labels):
        raise InputError(f"--images must be from 1 to the {len(labels)} test images of {data.name}, got {count}.")
    order = torch.randperm(len(labels), generator=Axes(seed).at(use="evaluation images").generator())[:count]
    indices = order.sort().values
    return replace(data, test=(select_images(images, indices), labels[indices]), id=f"{data.id}-{count}-{seed}")
