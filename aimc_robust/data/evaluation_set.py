"""Labelled images to evaluate a trained model on: normalized, in batches that can be iterated repeatedly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aimc_robust.data.dataset import DATA_NAMES, load_data
from aimc_robust.data.in_memory import MAX_FLOAT_BYTES
from aimc_robust.data.lazy import normalize_bytes
from aimc_robust.data.normalization import normalize_array, resolve_normalization, scale_bytes
from aimc_robust.data.sources.folders import folder_images
from aimc_robust.data.sources.npz import Arrays, has_training_split, npz_images
from aimc_robust.data.sources.torchvision import torchvision_images
from aimc_robust.data.spec import DataSpec
from aimc_robust.errors import InputError, require_whole, unknown_name
from aimc_robust.metrics import Batch
from aimc_robust.seeding import Axes

CALIBRATION_IMAGES = 512


@dataclass(frozen=True, kw_only=True)
class EvaluationImages:
    """Labelled images of a test set, iterable as (inputs, labels) batches.

    Attributes:
        name: Name of the data, as given to `load_evaluation_images`.
        images: (N, C, H, W), normalized float32, or uint8 that each batch normalizes.
        labels: (N,) int64.
        classes: Number of classes of the data.
        mean: (C,) mean for uint8 images, for pixel values in 0 to 1.
        std: (C,) standard deviation for uint8 images, for pixel values in 0 to 1.
        normalization: Description of the normalization.
        calibration_inputs: Normalized unlabelled images, to calibrate converter ranges and BatchNorm statistics on.
        calibration_source: Description of where the calibration inputs come from.
        id: Hash of the data.
        batch_size: Images per batch.
    """

    name: str
    images: Tensor
    labels: Tensor
    classes: int
    mean: Tensor
    std: Tensor
    normalization: str
    calibration_inputs: Tensor
    calibration_source: str
    id: str
    batch_size: int = 500

    def __iter__(self) -> Iterator[Batch]:
        for images, labels in zip(self.images.split(self.batch_size), self.labels.split(self.batch_size), strict=True):
            yield self._normalize(images), labels

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image."""
        return tuple(self.images.shape[1:])

    @property
    def example(self) -> Tensor:
        """Two images (2, C, H, W) as a model takes them."""
        return self._normalize(self.images[[0, -1]])

    def _normalize(self, images: Tensor) -> Tensor:
        if images.dtype != torch.uint8:
            return images
        return normalize_bytes(images, self.mean.view(-1, 1, 1), self.std.view(-1, 1, 1))


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
    batch_size: int = 500,
) -> EvaluationImages:
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
        batch_size: Images per batch.

    Raises:
        DataError: If a file is missing or damaged, or its content is invalid.
        InputError: If an argument is invalid.
        UnknownNameError: If the name is unknown.
    """
    kind, _, location = name.partition(":")
    if (name != "digits" and not location) or kind not in ("digits", "npz", "folder", "torchvision"):
        raise unknown_name("data", name, DATA_NAMES)
    require_whole("batch_size", batch_size, low=1)
    if resize and not size:
        raise InputError(f"--resize {resize} needs --size, the size that is cropped after scaling.")
    if size and kind in ("digits", "npz"):
        raise InputError(f"--size and --resize apply to folders and torchvision's data sets, not to {name}.")
    if kind == "digits" and normalize not in (None, "training"):
        raise InputError("digits are normalized by their training split; remove --normalize.")
    by_training = normalize in (None, "training")
    if kind == "digits" or (kind == "npz" and by_training and has_training_split(Path(location))):
        loaded = _load_as_compare(name, data_seed)
    else:
        test, training = _load_arrays(kind, location, size, resize, root, by_training)
        loaded = _from_arrays(name, test, training, normalize)
    if images is not None:
        loaded = _subsample(loaded, images, data_seed)
    return replace(loaded, classes=classes or loaded.classes, batch_size=batch_size)


def _load_as_compare(name: str, data_seed: int) -> EvaluationImages:
    """Load a data set with a training split as `compare` does."""
    data = load_data(DataSpec(name=name), data_seed=data_seed, folder=Path())
    images, labels = data.test
    assert isinstance(images, Tensor)
    return EvaluationImages(
        name=name,
        images=images,
        labels=labels,
        classes=data.classes,
        mean=torch.zeros(1),
        std=torch.ones(1),
        normalization="by the mean and standard deviation of the training split",
        calibration_inputs=data.first_training_images(CALIBRATION_IMAGES),
        calibration_source="training images",
        id=data.id,
    )


def _load_arrays(
    kind: str, location: str, size: int | None, resize: int | None, root: Path, training: bool
) -> tuple[Arrays, Arrays | None]:
    """Return (test, training) images; training is None if the source has none or `training` is False."""
    match kind:
        case "npz":
            return npz_images(Path(location)), None
        case "folder":
            return folder_images(Path(location), size, resize), None
    return torchvision_images(location, root, size, resize, training=training)


def _from_arrays(name: str, test: Arrays, training: Arrays | None, normalize: str | None) -> EvaluationImages:
    pixels, labels = test
    mean, std, description = resolve_normalization(name, pixels, training, normalize)
    images = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 1)))
    digest = hashlib.blake2b(digest_size=16)
    for part in (images.numpy(), labels, mean, std):
        digest.update(np.ascontiguousarray(part).data)
    if pixels.dtype != np.uint8 or 4 * pixels.size <= MAX_FLOAT_BYTES:
        images = normalize_array(scale_bytes(pixels), mean, std)
    source = (test if training is None else training)[0]
    # Evenly spaced, so that images sorted by class (of a folder) give every class.
    indices = np.linspace(0, len(source) - 1, min(len(source), CALIBRATION_IMAGES)).astype(int)
    return EvaluationImages(
        name=name,
        images=images,
        labels=torch.from_numpy(labels),
        classes=int(labels.max()) + 1,
        mean=torch.from_numpy(mean.astype(np.float32)),
        std=torch.from_numpy(std.astype(np.float32)),
        normalization=description,
        calibration_inputs=normalize_array(scale_bytes(source[indices]), mean, std),
        calibration_source="test images, without their labels" if training is None else "training images",
        id=digest.hexdigest(),
    )


def _subsample(data: EvaluationImages, images: int, seed: int) -> EvaluationImages:
    """Return a random subset of `images` images in their original order."""
    if not 0 < images <= data.count:
        raise InputError(f"--images must be from 1 to the {data.count} test images of {data.name}, got {images}.")
    order = torch.randperm(data.count, generator=Axes(seed).at(use="evaluation images").generator())[:images]
    indices = order.sort().values
    return replace(data, images=data.images[indices], labels=data.labels[indices], id=f"{data.id}-{images}-{seed}")
