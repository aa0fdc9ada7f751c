"""Images and labels of torchvision's data sets, such as CIFAR-100: read into memory, or listed as files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from aimc_robust.data.decoding import resize_and_center_crop, to_array
from aimc_robust.data.image_files import read_into_memory
from aimc_robust.data.sources.folders import Files
from aimc_robust.data.sources.npz import Arrays
from aimc_robust.data.sources.torchvision_catalog import DATASETS, image_files_of, open_split
from aimc_robust.errors import DataError, require_known


def torchvision_images(
    name: str, root: Path, size: int | None, resize: int | None, *, training: bool, download: bool | None = None
) -> tuple[Arrays, Arrays | None]:
    """Read a data set of torchvision into memory.

    Args:
        name: One of DATASETS.
        root: Folder of the files.
        size: Side of the square that each image is cropped to [pixels]; None keeps the images unchanged.
        resize: Length that the shorter side is first scaled to [pixels].
        training: Whether to read the training split too.
        download: Download missing files; see `open_split`.

    Returns:
        (test, training) images and labels; training is None unless requested.

    Raises:
        DataError: If files are missing or damaged, or images have different sizes.
        UnknownNameError: If the name is unknown.
    """
    require_known("torchvision data set", name, DATASETS)
    splits: list[Arrays] = []
    for split in DATASETS[name][: 1 + training]:
        dataset = open_split(name, root, split, download=download)
        files = image_files_of(dataset, root, size, resize)
        if files is not None:
            splits.append(read_into_memory(files))
        elif size is None and (arrays := _stored_arrays(dataset)):
            splits.append(arrays)
        else:
            splits.append(_stack(_iterate(dataset), size, resize, name))
    return splits[0], splits[1] if training else None


def torchvision_files(
    name: str, root: Path, size: int | None, resize: int | None, *, download: bool | None = None
) -> tuple[Files, Files]:
    """List the (test, training) image files of a data set of torchvision; see `torchvision_images` for the arguments.

    Raises:
        DataError: If files are missing, or the data set does not consist of image files.
        UnknownNameError: If the name is unknown.
    """
    require_known("torchvision data set", name, DATASETS)
    splits: list[Files] = []
    for split in DATASETS[name]:
        files = image_files_of(open_split(name, root, split, download=download), root, size, resize)
        if files is None:
            raise DataError(f"the data set {name} has no image files; set stream = false to read it into memory.")
        splits.append(files)
    return splits[0], splits[1]


def _stored_arrays(dataset: Any) -> Arrays | None:
    """Return images and labels that torchvision stores as uint8 arrays, much faster than image by image."""
    images, labels = (np.asarray(getattr(dataset, name, None)) for name in ("data", "targets"))
    is_gray, is_rgb = images.ndim == 3, images.ndim == 4 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (is_gray or is_rgb) or labels.shape != images.shape[:1]:
        return None  # SVHN has its channels first, QMNIST several labels, others no arrays
    return images[..., None] if is_gray else images, labels.astype(np.int64)


def _iterate(dataset: Any) -> Iterable[tuple[Any, int]]:
    for i in range(len(dataset)):
        try:
            yield dataset[i]
        except OSError as error:
            raise DataError(f"image {i} cannot be read as an image: {error}; repair or remove it.") from None


def _stack(items: Iterable[tuple[Any, int]], size: int | None, resize: int | None, source: str) -> Arrays:
    images, labels = [], []
    for image, label in items:
        images.append(to_array(image if size is None else resize_and_center_crop(image, size, resize)))
        labels.append(label)
        if images[0].shape != images[-1].shape:
            raise DataError(
                f"{source} holds images of different sizes ({images[0].shape} and {images[-1].shape}); set --size N "
                "(in a spec: size = N) to scale and crop all images."
            )
    if not images:
        raise DataError(f"{source} holds no images; expected at least one.")
    try:
        return np.stack(images), np.asarray(labels, dtype=np.int64)
    except (TypeError, ValueError):
        raise DataError(f"{source} has images whose label is not a class number; it is not supported.") from None
