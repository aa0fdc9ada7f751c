"""Image data: training, validation and test split, normalised, and identified by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aimc_robust.data.augmentation import Augmentation
from aimc_robust.data.batches import split_batches
from aimc_robust.data.image_files import ImageFiles
from aimc_robust.data.in_memory import Images
from aimc_robust.data.lazy import LazyImages
from aimc_robust.data.normalization import IMAGENET
from aimc_robust.data.sources.arrays import in_memory, torchvision_files, torchvision_images
from aimc_robust.data.sources.folders import folder_splits
from aimc_robust.data.sources.npz import Arrays, npz_splits
from aimc_robust.data.spec import DataSpec
from aimc_robust.data.streaming import StreamedAugmentation, StreamedImages
from aimc_robust.errors import DataError, unknown_name
from aimc_robust.metrics import Batch
from aimc_robust.seeding import Axes

KINDS = ["digits", "folder:FOLDER", "npz:FILE", "torchvision:NAME"]
SPLITS = ("training", "validation", "test")
Part = tuple[np.ndarray | ImageFiles, np.ndarray]
"""Images and labels (N,): shares of 1 or bytes (N, H, W, C), or files."""


@dataclass(frozen=True)
class DataSet:
    """Three splits of (images (N, C, H, W), labels (N,) int64), normalised by the training split; disjoint, but that a
    spec may have the test split for validation.

    Images are float32 tensors where the source has numbers, and `LazyImages` where it has bytes or files.
    """

    training: Batch
    validation: Batch
    test: Batch
    classes: int
    id: str  # a hash of all pixels and labels; of files, of their names and sizes
    black: Tensor  # (C,): the value of a pixel of 0 after normalisation

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image."""
        return tuple(self.training[0].shape[1:])

    @property
    def example(self) -> Tensor:
        """Two images, as a model gets them."""
        return self.test[0][:2]

    def training_images(self, augmentation: Augmentation | StreamedAugmentation) -> Images | StreamedImages:
        """The training split for `train`."""
        images, labels = self.training
        if isinstance(images, Tensor):
            return Images(images, labels, black=self.black, augmentation=augmentation)
        cls = Images if isinstance(images.pixels, Tensor) else StreamedImages
        return cls(images.pixels, labels, mean=images.mean, std=images.std, augmentation=augmentation)

    def batches(self, split: str, size: int, device: torch.device | str = "cpu") -> Iterable[Batch]:
        """(inputs, labels) of one of SPLITS without augmentation, at most `size` at a time, as often as needed."""
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        images, labels = getattr(self, split)
        return split_batches((images.to(device), labels.to(device)), size)

    def few(self, n: int) -> Tensor:
        """The first n training images (n, C, H, W) without augmentation; they are in random order."""
        return self.training[0][:n]


def load_data(spec: DataSpec, *, seed: int, folder: Path) -> DataSet:
    """The data that a spec names. folder: where relative paths start. seed: root of the split, the same for all runs.

    Raises DataError for a file that is missing or damaged or whose content does not fit, UnknownNameError for an
    unknown name.
    """
    train, test = _source(spec, seed, folder)
    if spec.classes is not None:
        train, test = _of_classes(train, spec.classes, "training"), _of_classes(test, spec.classes, "test")
    classes = _checked_classes(train, test)
    train = _some(train, spec.train_images, "training", seed)
    test = _some(test, spec.test_images, "test", seed)
    return _split(train, test, classes, spec, seed)


def _source(spec: DataSpec, seed: int, folder: Path) -> tuple[Part, Part]:
    """(training, test) images."""
    kind, _, where = spec.name.partition(":")
    cut = spec.size, spec.resize
    if spec.name == "digits":
        images, labels = _digits(*cut)
        order = _order(seed, "test split", len(labels))
        held = max(1, round(spec.test_share * len(labels)))
        return (images[order[held:]], labels[order[held:]]), (images[order[:held]], labels[order[:held]])
    if kind == "npz" and where:
        return npz_splits(folder / where)
    if kind == "folder" and where:
        train, test = folder_splits(folder / Path(where).expanduser(), *cut)
        return (train, test) if spec.stream else (in_memory(train), in_memory(test))
    if kind == "torchvision" and where:
        root = folder / Path(spec.root).expanduser()
        if spec.stream:
            test, train = torchvision_files(where, root, *cut, download=spec.download)
        else:
            test, train = torchvision_images(where, root, *cut, training=True, download=spec.download)
        return train, test
    raise unknown_name("data set", spec.name, KINDS)


def _digits(size: int | None, resize: int | None) -> Arrays:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[..., None] / 16.0).astype(np.float32)
    if size is not None:
        side, planes = resize or size, torch.from_numpy(images).movedim(-1, 1)
        scaled = torch.nn.functional.interpolate(planes, (side, side), mode="bilinear", antialias=True)
        start = (side - size) // 2
        images = scaled[..., start : start + size, start : start + size].movedim(1, -1).contiguous().numpy()
    return images, digits.target


def _of_classes(part: Part, classes: int, split: str) -> Part:
    """The images whose label is below `classes`, and their labels."""
    labels = part[1]
    chosen = labels < classes
    if not chosen.any() or (split == "training" and labels.max() + 1 < classes):
        raise DataError(
            f"classes = {classes} asks for labels 0 to {classes - 1}; the {split} images have {labels.min()} to "
            f"{labels.max()}. Choose classes within them."
        )
    return _taken(part, chosen.nonzero()[0])


def _checked_classes(train: Part, test: Part) -> int:
    """How many classes there are."""
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
    return classes


def _some(part: Part, images: int | None, split: str, seed: int) -> Part:
    """So many of a split, in its order; None: all."""
    there = len(part[1])
    if images is None:
        return part
    if images > there:
        key = "train_images" if split == "training" else "test_images"
        raise DataError(f"{key} = {images} asks for more than the {there} {split} images; give at most that.")
    return _taken(part, np.sort(_order(seed, f"{split} images", there)[:images]))


def _split(train: Part, test: Part, classes: int, spec: DataSpec, seed: int) -> DataSet:
    n, parts = len(train[1]), [test, test]
    order, held = _order(seed, "validation split", n), 0
    if spec.validation == "split":
        held = round(spec.validation_share * n)
        if not 0 < held < n:
            raise DataError(f"{n} training images leave no validation split at a share of {spec.validation_share:g}.")
        parts = [_taken(train, order[:held]), test]
    parts = [_taken(train, order[held:]), *parts]
    digest = hashlib.blake2b(digest_size=16)
    for images, labels in parts:
        files = isinstance(images, ImageFiles)
        digest.update(images.fingerprint() if files else np.ascontiguousarray(images).data)
        digest.update(np.ascontiguousarray(labels).data)
    mean, std = _scales(parts[0][0], spec)
    if spec.mean is not None:
        digest.update(mean.tobytes() + std.tobytes())
    splits = [(_ready(images, mean, std), torch.from_numpy(labels)) for images, labels in parts]
    return DataSet(*splits, classes, digest.hexdigest(), torch.from_numpy((-mean / std).astype(np.float32)))


def _scales(images: np.ndarray | ImageFiles, spec: DataSpec) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel (C,), of pixels in 0 to 1."""
    files = isinstance(images, ImageFiles)
    channels = images.shape[1] if files else images.shape[-1]
    if spec.mean is not None or files:
        values = IMAGENET if spec.mean is None else (spec.mean, spec.std)
        if len(values[0]) not in (1, channels):
            raise DataError(
                f"mean and std are of {len(values[0])} channels, the images have {channels}; give {channels}."
            )
        mean, std = (np.resize(np.asarray(value, dtype=np.float64), channels) for value in values)
        return mean, std
    if images.dtype == np.uint8:  # from how often each value comes: no copy of all pixels as floats
        counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(channels)])
        shares = (np.arange(256, dtype=np.float32) / np.float32(255.0)).astype(np.float64)
        mean = counts @ shares / counts.sum(axis=1)
        std = np.sqrt((counts * (shares - mean[:, None]) ** 2).sum(axis=1) / counts.sum(axis=1))
    else:
        mean, std = (getattr(images, what)(axis=(0, 1, 2), dtype=np.float64) for what in ("mean", "std"))
    return mean, np.maximum(std, 1e-6)


def _ready(images: np.ndarray | ImageFiles, mean: np.ndarray, std: np.ndarray) -> Tensor | LazyImages:
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8:
            return normalised(images, mean, std)
        images = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))
    return LazyImages(images, mean=mean, std=std)


def normalised(images: np.ndarray, mean: np.ndarray, std: np.ndarray) -> Tensor:
    """(images - mean) / std of each channel, (N, H, W, C) -> (N, C, H, W) float32."""
    scaled = ((images - mean.astype(np.float32)) / std.astype(np.float32)).astype(np.float32)
    images = torch.from_numpy(np.ascontiguousarray(np.moveaxis(scaled, -1, 1)))
    # Strides that torch does not take for channels_last where there is one channel: its convolutions on a CPU have
    # crashed on such images with few channels behind them (torch 2.14).
    return images.clone(memory_format=torch.contiguous_format)


def _taken(part: Part, chosen: np.ndarray) -> Part:
    """The images with these numbers and their labels."""
    images, labels = part
    return (images.of(chosen) if isinstance(images, ImageFiles) else images[chosen]), labels[chosen]


def _order(seed: int, use: str, n: int) -> np.ndarray:
    return torch.randperm(n, generator=Axes(seed).at(use=use).generator()).numpy()
