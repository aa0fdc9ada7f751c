"""Image data, whole in memory: split, normalised, and identified by its content."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aimc_robust.bench.spec import DataSpec
from aimc_robust.errors import DataError, unknown_name
from aimc_robust.metrics import Batch
from aimc_robust.seeding import Axes

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
Arrays = tuple[np.ndarray, np.ndarray]
"""Images (N, H, W, C) and labels (N,)."""


@dataclass(frozen=True)
class DataSet:
    """Three disjoint splits of (images (N, C, H, W) float32, labels (N,) int64), normalised by the training split."""

    training: Batch
    validation: Batch
    test: Batch
    classes: int
    id: str  # a hash of all pixels and labels
    black: Tensor  # (C,): the value of a pixel of 0 after normalisation

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image."""
        return tuple(self.training[0].shape[1:])

    @property
    def example(self) -> Tensor:
        """Two images, as a model gets them."""
        return self.test[0][:2]


def load_data(spec: DataSpec, *, seed: int, folder: Path) -> DataSet:
    """The data that a spec names. folder: where relative paths start. seed: root of the split, the same for all runs.

    Raises DataError for a file that is missing or whose arrays do not fit, UnknownNameError for an unknown name.
    """
    if spec.name == "digits":
        images, labels = _digits()
        order = _order(seed, "test split", len(labels))
        held = max(1, round(spec.test_share * len(labels)))
        train, test = (images[order[held:]], labels[order[held:]]), (images[order[:held]], labels[order[:held]])
    elif spec.name.startswith("npz:"):
        train, test = _npz(folder / spec.name.removeprefix("npz:"))
    else:
        raise unknown_name("data set", spec.name, ["digits", "npz:PATH"])
    if spec.classes is not None:
        train, test = _of_classes(train, spec.classes, "training"), _of_classes(test, spec.classes, "test")
    return _split(train, test, spec.validation_share, seed)


def _digits() -> Arrays:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.images[..., None] / 16.0).astype(np.float32), digits.target


def npz_arrays(path: Path, *choices: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of the first of `choices` that an .npz file holds all of.

    Raises DataError for a file that is missing, damaged, or lacks them.
    """
    wanted = " or ".join(", ".join(names) for names in choices)
    if not path.is_file():
        raise DataError(f"there is no data file {path}; give an .npz with the arrays {wanted}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = next((names for names in choices if set(names) <= set(file.files)), None)
            if names is None:
                missing = [name for name in choices[0] if name not in file.files]
                other = f" (or {' or '.join(', '.join(c) for c in choices[1:])})" if len(choices) > 1 else ""
                raise DataError(f"{path} lacks {', '.join(missing)}{other}; it holds {', '.join(sorted(file.files))}.")
            return {name: file[name] for name in names}
    except DataError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds for what is no .npz
        raise DataError(f"{path} cannot be read as an .npz of plain arrays: {error}.") from None


def labelled(
    arrays: dict[str, np.ndarray], images: str, labels: str, path: Path, *, keep_bytes: bool = False
) -> Arrays:
    """Two arrays of a file as images float32 (N, H, W, C), in 0 to 1 when they were bytes, and labels int64 (N,).

    keep_bytes: images that are bytes stay bytes.
    """
    return _images(arrays[images], f"{path}: {images}", keep_bytes), _labels(arrays, images, labels, path)


def _npz(path: Path) -> tuple[Arrays, Arrays]:
    """The train and test splits of a file."""
    arrays = npz_arrays(path, ARRAYS)
    return labelled(arrays, "x_train", "y_train", path), labelled(arrays, "x_test", "y_test", path)


def _of_classes(part: Arrays, classes: int, split: str) -> Arrays:
    """The images whose label is below `classes`, and their labels."""
    images, labels = part
    chosen = labels < classes
    if not chosen.any() or (split == "training" and labels.max() + 1 < classes):
        raise DataError(
            f"classes = {classes} asks for labels 0 to {classes - 1}; the {split} images have {labels.min()} to "
            f"{labels.max()}. Choose classes within them."
        )
    return images[chosen], labels[chosen]


def _images(array: np.ndarray, name: str, keep_bytes: bool) -> np.ndarray:
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.dtype.kind not in "uif" or 0 in array.shape:
        raise DataError(
            f"{name} must hold images as (N, H, W) or (N, H, W, C) numbers, got {array.dtype} {array.shape}."
        )
    if array.shape[-1] > 4 >= array.shape[1]:
        array = np.moveaxis(array, 1, -1)  # channels first, as PyTorch writes them
    if keep_bytes and array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    scale = 255.0 if array.dtype == np.uint8 else 1.0
    images = np.ascontiguousarray(array, dtype=np.float32) / scale
    if not np.isfinite(images).all():
        raise DataError(f"{name} holds NaN or infinity; remove those images.")
    return images


def _labels(arrays: dict[str, np.ndarray], name_of_images: str, name: str, path: Path) -> np.ndarray:
    labels, images = arrays[name], arrays[name_of_images]
    if labels.ndim != 1 or labels.dtype.kind not in "ui" or len(labels) != len(images):
        raise DataError(
            f"{path}: {name} must hold one whole number per image ({len(images)}), got {labels.dtype} {labels.shape}."
        )
    if labels.min() < 0:
        raise DataError(f"{path}: {name} holds the label {labels.min()}; labels start at 0.")
    return labels.astype(np.int64)


def _split(train: Arrays, test: Arrays, validation_share: float, seed: int) -> DataSet:
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"training images are {train[0].shape[1:]}, test images {test[0].shape[1:]}; expected the same."
        )
    classes = int(train[1].max()) + 1
    if test[1].max() >= classes:
        raise DataError(
            f"the test split has the label {test[1].max()}, which no training image has (0 to {classes - 1})."
        )
    if classes > len(train[1]):
        raise DataError(f"the label {classes - 1} would mean more classes than the {len(train[1])} training images.")
    held = round(validation_share * len(train[1]))
    if not 0 < held < len(train[1]):
        raise DataError(
            f"{len(train[1])} training images leave no validation split at a share of {validation_share:g}."
        )
    order = _order(seed, "validation split", len(train[1]))
    parts = [(train[0][order[held:]], train[1][order[held:]]), (train[0][order[:held]], train[1][order[:held]]), test]
    digest = hashlib.blake2b(digest_size=16)
    for images, labels in parts:
        digest.update(np.ascontiguousarray(images).data)
        digest.update(np.ascontiguousarray(labels).data)
    mean = parts[0][0].mean(axis=(0, 1, 2), dtype=np.float64)
    std = np.maximum(parts[0][0].std(axis=(0, 1, 2), dtype=np.float64), 1e-6)
    training, validation, test_split = ((normalised(x, mean, std), torch.from_numpy(y)) for x, y in parts)
    black = torch.from_numpy((-mean / std).astype(np.float32))
    return DataSet(training, validation, test_split, classes, digest.hexdigest(), black)


def normalised(images: np.ndarray, mean: np.ndarray, std: np.ndarray) -> Tensor:
    """(images - mean) / std of each channel, (N, H, W, C) -> (N, C, H, W) float32."""
    scaled = ((images - mean.astype(np.float32)) / std.astype(np.float32)).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(scaled, -1, 1)))


def _order(seed: int, use: str, n: int) -> np.ndarray:
    return torch.randperm(n, generator=Axes(seed).at(use=use).generator()).numpy()
