"""Labelled test images from files: an .npz, a folder per class, a torchvision data set. Bytes stay bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from aimc_robust.bench.data import ARRAYS, Arrays, labelled, npz_arrays
from aimc_robust.errors import DataError, InputError, MissingDependencyError, require_known

TEST_ARRAYS = (("x_test", "y_test"), ("x", "y"), ("images", "labels"))

# torchvision's data sets of one class per image: what it calls their test and their training split.
_FLAG = ({"train": False}, {"train": True})
_TEST = ({"split": "test"}, {"split": "train"})
_VALIDATION = ({"split": "val"}, {"split": "train"})  # their test labels are not public
DATASETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **dict.fromkeys(("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS"), _FLAG),
    **dict.fromkeys(("Country211", "DTD", "FER2013", "FGVCAircraft", "Flowers102", "Food101", "GTSRB"), _TEST),
    **dict.fromkeys(("LFWPeople", "PCAM", "RenderedSST2", "STL10", "SVHN", "StanfordCars"), _TEST),
    **dict.fromkeys(("CLEVRClassification", "ImageNet", "Imagenette"), _VALIDATION),
    "OxfordIIITPet": ({"split": "test"}, {"split": "trainval"}),
    "Places365": ({"split": "val"}, {"split": "train-standard"}),
}


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
    datasets = _torchvision("image folders")
    if not path.is_dir():
        raise DataError(f"there is no folder {path}; give one that holds a folder of images for each class.")
    try:
        found = datasets.ImageFolder(str(path))
    except FileNotFoundError as error:
        raise DataError(f"{path} holds no images in a folder for each class: {error}.") from None
    return _stacked(_read(found), size, resize, str(path))


def torchvision_images(
    name: str, root: Path, size: int | None, resize: int | None, *, training: bool
) -> tuple[Arrays, Arrays | None]:
    """(test, training) images of one of DATASETS, in `root`; training is None where it is not asked for."""
    datasets = _torchvision(f"the data set {name}")
    require_known("torchvision data set", name, DATASETS)
    parts: list[Arrays] = []
    for split in DATASETS[name][: 1 + training]:
        try:
            found = getattr(datasets, name)(str(root), **split)
        except Exception as error:  # torchvision raises many kinds for files that are missing or damaged
            raise DataError(
                f"the data set {name} is not complete in {root} ({error}); put its files there, or load it once with "
                f"torchvision.datasets.{name}({str(root)!r}, download=True)."
            ) from None
        parts.append(_stacked(_read(found), size, resize, name))
    return parts[0], parts[1] if training else None


def _torchvision(what: str) -> Any:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs torchvision ({error}); install it with: pip install 'aimc-robust[vision]'"
        ) from None
    return datasets


def _read(dataset: Any) -> Iterable[tuple[Any, int]]:
    for i in range(len(dataset)):
        try:
            yield dataset[i]
        except OSError as error:
            where = dataset.samples[i][0] if hasattr(dataset, "samples") else f"image {i}"
            raise DataError(f"{where} cannot be read as an image: {error}; mend or remove it.") from None


def _stacked(items: Iterable[tuple[Any, int]], size: int | None, resize: int | None, source: str) -> Arrays:
    images, labels = [], []
    for picture, label in items:
        image = np.asarray(picture if size is None else _cut(picture, size, resize or size))
        images.append(image[..., None] if image.ndim == 2 else image)
        labels.append(label)
        if images[0].shape != images[-1].shape:
            raise DataError(
                f"{source} holds images of different sizes ({images[0].shape} and {images[-1].shape}); give --size N, "
                "to which each is scaled and cut."
            )
    if not images:
        raise DataError(f"{source} holds no images; expected at least one.")
    try:
        return np.stack(images), np.asarray(labels, dtype=np.int64)
    except (TypeError, ValueError):
        raise DataError(f"{source} has images without a class number as their label; it is not supported.") from None


def _cut(picture: Any, size: int, resize: int) -> Any:
    """The shorter side scaled to `resize`, then the middle cut out, as torchvision's evaluation transforms do."""
    from torchvision.transforms import functional as F

    if resize < size:
        raise InputError(f"--resize {resize} leaves less than --size {size}; give at least the size.")
    return F.center_crop(F.resize(picture, [resize]), [size, size])
