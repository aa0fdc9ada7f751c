"""Image data sets: normalized splits, identified by their content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from aimc_robust.data.batches import InputBatches, split_batches
from aimc_robust.data.in_memory import Images
from aimc_robust.data.lazy import LabelledImages, LazyImages
from aimc_robust.data.normalization import BY_TRAINING
from aimc_robust.data.streaming import StreamedImages
from aimc_robust.data.training_set import TrainingSet
from aimc_robust.errors import InputError, require_known
from aimc_robust.tasks.batches import Batch

Split = Literal["training", "validation", "test"]
CALIBRATION_IMAGES, CALIBRATION_BATCH = 512, 128


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Normalized images and labels: a test split, and where a model is trained on them a training and validation split.

    Images are float32 tensors where the source has floats, and `LazyImages` where it has bytes or files. The splits are
    disjoint, unless a spec validates on the test split.

    Attributes:
        name: Name of the data, as in a spec.
        test: (images (N, C, H, W), labels (N,) int64).
        training: As `test`; None where only test images were loaded.
        validation: As `test`; None where only test images were loaded.
        classes: Number of classes.
        id: Hash of all pixels and labels; for files, of their names and sizes.
        calibration_images: Images (n, C, H, W) to calibrate converter ranges and BatchNorm statistics on.
        calibration_source: Description of where the calibration images come from.
        normalization: Description of the normalization.
        black: (C,), the normalized value of a pixel of 0; None where only test images were loaded.
    """

    name: str
    test: LabelledImages
    training: LabelledImages | None = None
    validation: LabelledImages | None = None
    classes: int
    id: str
    calibration_images: Tensor | LazyImages
    calibration_source: str = "training images"
    normalization: str = BY_TRAINING
    black: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of one image."""
        return tuple(self.test[0].shape[1:])

    @property
    def count(self) -> int:
        """Number of test images."""
        return len(self.test[1])

    @property
    def example(self) -> Tensor:
        """Two images (2, C, H, W) as a model takes them."""
        return self.test[0][:2]

    def calibration_batches(self, device: torch.device | str = "cpu") -> InputBatches:
        """Return the unlabelled batches to calibrate converter ranges and BatchNorm statistics on."""
        return InputBatches(self.calibration_images[:].to(device).split(CALIBRATION_BATCH))

    def training_images(self, augmentation: Any) -> TrainingSet:
        """Return the training split for `train`; images in files take a `StreamedAugmentation`."""
        images, labels = self.split("training")
        if isinstance(images, Tensor):
            return Images(images, labels, black=self.black, augmentation=augmentation)
        mean, std, pixels = images.mean, images.std, images.pixels
        if isinstance(pixels, Tensor):
            return Images(pixels, labels, mean=mean, std=std, augmentation=augmentation)
        return StreamedImages(pixels, labels, mean=mean, std=std, augmentation=augmentation)

    def split(self, name: Split) -> LabelledImages:
        """Return the images and labels of a split; raise InputError if only test images were loaded."""
        require_known("split", name, get_args(Split))
        images: LabelledImages | None = getattr(self, name)
        if images is None:
            raise InputError(f"expected the {name} split of {self.name}, but only its test images were loaded.")
        return images

    def batches(self, split: Split, size: int, device: torch.device | str = "cpu") -> Iterable[Batch]:
        """Return the (inputs, labels) batches of a split without augmentation; they can be iterated repeatedly."""
        images, labels = self.split(split)
        return split_batches((images.to(device), labels.to(device)), size)
