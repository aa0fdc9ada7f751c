"""Data sets: splits as a model takes them, identified by their content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from aimc_robust.data.batches import InputBatches, split_batches
from aimc_robust.data.examples import Examples
from aimc_robust.data.in_memory import Images
from aimc_robust.data.lazy import LabelledImages, LazyImages, select_images, to_device
from aimc_robust.data.selection import select_examples
from aimc_robust.data.streaming import StreamedImages
from aimc_robust.data.training_set import TrainingSet
from aimc_robust.errors import InputError, require_known
from aimc_robust.tasks.batches import Batch, examples_in, select, unlabelled

Split = Literal["training", "validation", "test"]
CALIBRATION_IMAGES, CALIBRATION_BATCH = 512, 128


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Examples as a model takes them: a test split; training and validation splits where a model is trained on them.

    Images are float32 tensors where the source has floats, and `LazyImages` where it has bytes or files. The splits are
    disjoint, unless a spec validates on the test split.

    Attributes:
        name: Name of the data, as in a spec.
        test: (inputs, labels (N, ...)); or the batches themselves, for a score of the whole model.
        training: (inputs, labels); None where only test examples were loaded.
        validation: As `training`.
        outputs: Number of outputs that a network needs: classes, columns of labels, tokens of the vocabulary.
        id: Hash of all inputs and labels; for files, of their names and sizes.
        calibration_inputs: Inputs to calibrate converter ranges and BatchNorm statistics on; a list of batches for a
            score of the whole model.
        calibration_source: Description of where these come from.
        normalization: Description of the normalization.
        black: (C,), the normalized value of a pixel of 0; None for other data, or where only a test split was loaded.
        notes: Remarks on what the inputs and labels are.
    """

    name: str
    test: LabelledImages | list[Batch]
    training: LabelledImages | None = None
    validation: LabelledImages | None = None
    outputs: int
    id: str
    calibration_inputs: Any
    calibration_source: str = "training images"
    normalization: str
    black: Tensor | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of one input, (C, H, W) for images; None if a model has several inputs."""
        shape: tuple[int, ...] | None = getattr(self.test[0], "shape", None)
        return None if shape is None else tuple(shape[1:])

    @property
    def count(self) -> int:
        """Number of test examples."""
        if not isinstance(self.test, list):
            return len(self.test[1])
        return sum(len(x) if isinstance(x, list) else examples_in(x) for x in map(unlabelled, self.test))

    @property
    def example(self) -> Any:
        """Inputs of two examples as a model takes them; the first batch's for a score of the whole model."""
        return (
            unlabelled(self.test[0])
            if isinstance(self.test, list)
            else _read(select_images(self.test[0], torch.arange(2)))
        )

    @property
    def example_batch(self) -> Batch:
        """Two test examples with their labels: those with the lowest and the highest label."""
        if isinstance(self.test, list):
            return self.test[0]
        values = self.test[1].reshape(self.count, -1).double().amax(dim=1)
        extremes = torch.stack([values.argmin(), values.argmax()])
        inputs, labels = select_examples(self.test, extremes)
        return _read(inputs), labels

    def calibration_batches(self, device: torch.device | str = "cpu") -> InputBatches:
        """Return the unlabelled batches to calibrate converter ranges and BatchNorm statistics on."""
        inputs = self.calibration_inputs
        if isinstance(inputs, list):
            return InputBatches(to_device(inputs, device))
        inputs = _read(inputs)
        starts = range(0, examples_in(inputs), CALIBRATION_BATCH)
        return InputBatches(to_device(select(inputs, slice(i, i + CALIBRATION_BATCH)), device) for i in starts)

    def training_set(self, augmentation: Any) -> TrainingSet:
        """Return the training split for `train`; images in files take a `StreamedAugmentation`."""
        inputs, labels = self.split("training")
        if isinstance(inputs, LazyImages):
            mean, std, pixels = inputs.mean, inputs.std, inputs.pixels
            if isinstance(pixels, Tensor):
                return Images(pixels, labels, mean=mean, std=std, augmentation=augmentation)
            return StreamedImages(pixels, labels, mean=mean, std=std, augmentation=augmentation)
        if self.black is None:
            return Examples(inputs, labels)
        return Images(inputs, labels, black=self.black, augmentation=augmentation)

    def split(self, name: Split) -> LabelledImages:
        """Return the inputs and labels of a split; raise InputError if it was not loaded, or is no such pair."""
        require_known("split", name, get_args(Split))
        examples: LabelledImages | list[Batch] | None = getattr(self, name)
        if examples is None or isinstance(examples, list):
            found = "only its test split was loaded" if examples is None else "its batches are not joined"
            raise InputError(f"expected the {name} split of {self.name}, but {found}.")
        return examples

    def batches(self, split: Split, size: int, device: torch.device | str = "cpu") -> Iterable[Batch]:
        """Return the labelled batches of a split without augmentation; they can be iterated repeatedly."""
        if split == "test" and isinstance(self.test, list):
            return to_device(self.test, device)
        inputs, labels = self.split(split)
        return split_batches((to_device(inputs, device), labels.to(device)), size)


def _read(inputs: Any) -> Any:
    """Return inputs as a model takes them: `LazyImages` are decoded."""
    return inputs[:] if isinstance(inputs, LazyImages) else inputs
