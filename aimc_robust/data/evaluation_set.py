"""Labelled images to evaluate a trained model on: as the model takes them, batch after batch, as often as needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aimc_robust.data.dataset import Arrays, load_data, normalised
from aimc_robust.data.in_memory import FLOATS_AT_MOST
from aimc_robust.data.lazy import normalised_bytes
from aimc_robust.data.normalization import as_shares, find_normalisation
from aimc_robust.data.sources.arrays import folder_images, has_training, npz_images, torchvision_images
from aimc_robust.data.spec import DataSpec
from aimc_robust.errors import InputError, require_whole, unknown_name
from aimc_robust.metrics import Batch
from aimc_robust.seeding import Axes

CALIBRATING = 512  # unlabelled images that find converter ranges and BatchNorm statistics on the chip
KINDS = ["digits", "npz:FILE", "folder:FOLDER", "torchvision:NAME"]


@dataclass(frozen=True, kw_only=True)
class EvaluationImages:
    """images: (N, C, H, W), normalised float32, or bytes to be normalised. labels: (N,) int64. classes: of the data.

    normalisation: how, in words. unlabelled: images for calibration, as the model takes them. id: a hash of all.
    """

    name: str
    images: Tensor
    labels: Tensor
    classes: int
    mean: Tensor
    std: Tensor
    normalisation: str
    unlabelled: Tensor
    unlabelled_from: str
    id: str
    batch_size: int = 500

    def __iter__(self) -> Iterator[Batch]:
        for x, y in zip(self.images.split(self.batch_size), self.labels.split(self.batch_size), strict=True):
            yield self._ready(x), y

    @property
    def count(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image."""
        return tuple(self.images.shape[1:])

    @property
    def example(self) -> Tensor:
        """Two images, as a model gets them."""
        return self._ready(self.images[[0, -1]])

    def _ready(self, images: Tensor) -> Tensor:
        if images.dtype != torch.uint8:
            return images
        return normalised_bytes(images, self.mean.view(-1, 1, 1), self.std.view(-1, 1, 1))


def load_images(
    name: str,
    *,
    normalise: str | None = None,
    size: int | None = None,
    resize: int | None = None,
    images: int | None = None,
    classes: int | None = None,
    root: Path = Path("data"),
    seed: int = 0,
    batch_size: int = 500,
) -> EvaluationImages:
    """The test images that `name` stands for: one of KINDS.

    normalise: `training`, by the training split that the data brings, as `compare` trains (the default where there is
        one); `none`; `imagenet`; or MEAN/STD, such as 0.5/0.25 or 0.49,0.48,0.45/0.25,0.24,0.26, of pixels in 0 to 1.
    size, resize: scale each image's shorter side to `resize` and cut its middle out; of folders and torchvision.
    images: so many of them, drawn by `seed`; None: all. classes: of the model, where it has more than the data.
    root: where torchvision's data sets lie. batch_size: images at once.
    Raises DataError, InputError or UnknownNameError.
    """
    kind, _, where = name.partition(":")
    if (name != "digits" and not where) or kind not in ("digits", "npz", "folder", "torchvision"):
        raise unknown_name("data", name, KINDS)
    require_whole("batch_size", batch_size, low=1)
    if resize and not size:
        raise InputError(f"--resize {resize} needs --size too: the size that is cut out after it.")
    if size and kind in ("digits", "npz"):
        raise InputError(f"--size and --resize are for folders and torchvision's data sets; {name} is used as it is.")
    if kind == "digits" and normalise not in (None, "training"):
        raise InputError("digits are normalised by their training split; leave --normalise out.")
    by_training = normalise in (None, "training")
    if kind == "digits" or (kind == "npz" and by_training and has_training(Path(where))):
        found = _with_training(name, seed)
    else:
        found = _from_arrays(name, *_arrays(kind, where, size, resize, root, by_training), normalise)
    if images is not None:
        found = _some(found, images, seed)
    return replace(found, classes=classes or found.classes, batch_size=batch_size)


def _with_training(name: str, seed: int) -> EvaluationImages:
    """As `compare` trains and tests on these data."""
    data = load_data(DataSpec(name=name), seed=seed, folder=Path())
    return EvaluationImages(
        name=name,
        images=data.test[0],
        labels=data.test[1],
        classes=data.classes,
        mean=torch.zeros(1),
        std=torch.ones(1),
        normalisation="by the mean and standard deviation of the training split",
        unlabelled=data.training[0][:CALIBRATING],
        unlabelled_from="training images",
        id=data.id,
    )


def _arrays(
    kind: str, where: str, size: int | None, resize: int | None, root: Path, training: bool
) -> tuple[Arrays, Arrays | None]:
    """(test, training) images; training is None where the source has none, or it is not asked for."""
    match kind:
        case "npz":
            return npz_images(Path(where)), None
        case "folder":
            return folder_images(Path(where), size, resize), None
    return torchvision_images(where, root, size, resize, training=training)


def _from_arrays(name: str, test: Arrays, training: Arrays | None, normalise: str | None) -> EvaluationImages:
    pixels, labels = test
    mean, std, words = find_normalisation(name, pixels, training, normalise)
    images = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 1)))
    digest = hashlib.blake2b(digest_size=16)
    for part in (images.numpy(), labels, mean, std):
        digest.update(np.ascontiguousarray(part).data)
    if pixels.dtype != np.uint8 or 4 * pixels.size <= FLOATS_AT_MOST:
        images = normalised(as_shares(pixels), mean, std)
    many = (test if training is None else training)[0]
    few = many[np.linspace(0, len(many) - 1, min(len(many), CALIBRATING)).astype(int)]  # of a folder: of every class
    return EvaluationImages(
        name=name,
        images=images,
        labels=torch.from_numpy(labels),
        classes=int(labels.max()) + 1,
        mean=torch.from_numpy(mean.astype(np.float32)),
        std=torch.from_numpy(std.astype(np.float32)),
        normalisation=words,
        unlabelled=normalised(as_shares(few), mean, std),
        unlabelled_from="test images, without their labels" if training is None else "training images",
        id=digest.hexdigest(),
    )


def _some(found: EvaluationImages, images: int, seed: int) -> EvaluationImages:
    if not 0 < images <= found.count:
        raise InputError(f"--images must be from 1 to the {found.count} test images of {found.name}, got {images}.")
    order = torch.randperm(found.count, generator=Axes(seed).at(use="evaluation images").generator())[:images]
    chosen = order.sort().values
    return replace(found, images=found.images[chosen], labels=found.labels[chosen], id=f"{found.id}-{images}-{seed}")
