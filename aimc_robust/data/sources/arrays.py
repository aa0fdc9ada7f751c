"""Labelled images as arrays: an .npz, a folder per class, a torchvision data set. Bytes stay bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from aimc_robust.data.decoding import as_bytes, centre_cut
from aimc_robust.data.sources.folders import Files, labelled_files
from aimc_robust.data.sources.npz import ARRAYS, Arrays, labelled, npz_arrays
from aimc_robust.data.sources.torchvision import DATASETS, files_of, open_split
from aimc_robust.errors import DataError, require_known

TEST_ARRAYS = (("x_test", "y_test"), ("x", "y"), ("images", "labels"))
IN_MEMORY_AT_MOST = 2**33  # bytes of pixels of one split


def has_training(path: Path) -> bool:
    """Whether an .npz brings a training split."""
    return set(npz_arrays(path, ARRAYS, *TEST_ARRAYS)) == set(ARRAYS)


def npz_images(path: Path) -> Arrays:
    """The test images of an .npz: bytes as they are (N, H, W, C), other numbers as float32."""
    arrays = npz_arrays(path, *TEST_ARRAYS)
    images, labels = arrays
    return labelled(arrays, images, labels, path, keep_bytes=True)


def folder_images(path: Path, size: int | None, resize: int | None) -> Arrays:
    """PATH/class/image files; classes are numbered in the order of their sorted names. Images as bytes, RGB."""
    return in_memory(labelled_files(path, size, resize))


def torchvision_images(
    name: str, root: Path, size: int | None, resize: int | None, *, training: bool, download: bool | None = None
) -> tuple[Arrays, Arrays | None]:
    """(test, training) images of one of DATASETS, in `root`; training is None where it is not asked for."""
    require_known("torchvision data set", name, DATASETS)
    parts: list[Arrays] = []
    for split in DATASETS[name][: 1 + training]:
        dataset = open_split(name, root, split, download=download)
        found = files_of(dataset, root, size, resize)
        if found is not None:
            parts.append(in_memory((found[0], np.asarray(found[1], dtype=np.int64))))
        elif size is None and (arrays := _whole(dataset)):
            parts.append(arrays)
        else:
            parts.append(_stacked(_read(dataset), size, resize, name))
    return parts[0], parts[1] if training else None


def torchvision_files(
    name: str, root: Path, size: int | None, resize: int | None, *, download: bool | None = None
) -> tuple[Files, Files]:
    """(test, training) picture files of one of DATASETS. Raises DataError for a set that is not one of files."""
    require_known("torchvision data set", name, DATASETS)
    parts: list[Files] = []
    for split in DATASETS[name]:
        found = files_of(open_split(name, root, split, download=download), root, size, resize)
        if found is None:
            raise DataError(f"the data set {name} is no set of image files; set stream = false to have it in memory.")
        parts.append((found[0], np.asarray(found[1], dtype=np.int64)))
    return parts[0], parts[1]


def in_memory(part: Files) -> Arrays:
    """The pictures of files as bytes (N, H, W, C). Raises DataError when they would take too much memory."""
    files, labels = part
    size = math.prod(files.shape)
    if size > IN_MEMORY_AT_MOST:
        raise DataError(
            f"{len(files)} images of {files.root} take {size / 2**30:.0f} GiB in memory; set stream = true (or a "
            "smaller size) to read them when they are needed."
        )
    return np.moveaxis(files[:].numpy(), 1, -1), labels


def _whole(dataset: Any) -> Arrays | None:
    """The images and labels of a set that torchvision keeps as arrays of bytes, much faster than one by one."""
    images, labels = (np.asarray(getattr(dataset, name, None)) for name in ("data", "targets"))
    grey, colour = images.ndim == 3, images.ndim == 4 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (grey or colour) or labels.shape != images.shape[:1]:
        return None  # SVHN has its channels first, QMNIST several labels, others no arrays
    return images[..., None] if grey else images, labels.astype(np.int64)


def _read(dataset: Any) -> Iterable[tuple[Any, int]]:
    for i in range(len(dataset)):
        try:
            yield dataset[i]
        except OSError as error:
            raise DataError(f"image {i} cannot be read as an image: {error}; mend or remove it.") from None


def _stacked(items: Iterable[tuple[Any, int]], size: int | None, resize: int | None, source: str) -> Arrays:
    images, labels = [], []
    for picture, label in items:
        images.append(as_bytes(picture if size is None else centre_cut(picture, size, resize)))
        labels.append(label)
        if images[0].shape != images[-1].shape:
            raise DataError(
                f"{source} holds images of different sizes ({images[0].shape} and {images[-1].shape}); give --size N "
                "(in a spec: size = N), to which each is scaled and cut."
            )
    if not images:
        raise DataError(f"{source} holds no images; expected at least one.")
    try:
        return np.stack(images), np.asarray(labels, dtype=np.int64)
    except (TypeError, ValueError):
        raise DataError(f"{source} has images without a class number as their label; it is not supported.") from None
