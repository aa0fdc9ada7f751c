"""Batches of images: split, checked, and re-iterable."""

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import overload

from torch import Tensor
from torch.utils.data import RandomSampler

from aimc_robust.data.lazy import LabelledImages
from aimc_robust.errors import DataError
from aimc_robust.metrics import Batch


def as_reiterable(batches: Iterable[Batch]) -> Iterable[Batch]:
    """Return batches that can be iterated more than once: an iterator becomes a list, anything else stays.

    Every iteration should give the same images in the same order, so that results of chips, models and numbers of jobs
    can be compared. Random transforms of a DataLoader's data set are not detected.

    Raises:
        DataError: If `batches` is not iterable, or a DataLoader that shuffles.
    """
    if isinstance(batches, str | Tensor | Mapping) or not isinstance(batches, Iterable):
        raise DataError(
            f"expected (inputs, labels) batches, such as a list or a DataLoader; got {type(batches).__name__}."
        )
    if isinstance(getattr(batches, "sampler", None), RandomSampler):
        raise DataError(
            "expected the same order of images in every iteration, got a DataLoader that shuffles; use shuffle=False."
        )
    return list(batches) if iter(batches) is batches else batches


def check_data(name: str, data: tuple[Sized, Sized]) -> None:
    """Raise DataError unless `data`, an (inputs, labels) pair, has at least one input and one label for each."""
    inputs, labels = data
    if len(inputs) != len(labels) or len(labels) == 0:
        raise DataError(f"{name} needs a label for each image and at least one, got {len(inputs)} and {len(labels)}.")


@overload
def split_batches(data: Batch, size: int) -> list[Batch]: ...


@overload
def split_batches(data: LabelledImages, size: int) -> Iterable[Batch]: ...


def split_batches(data: LabelledImages, size: int) -> Iterable[Batch]:
    """Split (inputs, labels) into batches of at most `size`, in order and without a copy.

    Args:
        data: (inputs, labels).
        size: Images per batch.

    Returns:
        A list for tensors. For `LazyImages`, an iterable that makes the batches in every iteration.

    Raises:
        DataError: If there is no image, or not one label for each.
    """
    check_data("data", data)
    return list(_BatchSplit(data, size)) if isinstance(data[0], Tensor) else _BatchSplit(data, size)


class _BatchSplit:
    """Iterable of batches of at most `size`, made in every iteration."""

    def __init__(self, data: LabelledImages, size: int) -> None:
        self.data, self.size = data, size

    def __iter__(self) -> Iterator[Batch]:
        inputs, labels = self.data
        return zip(inputs.split(self.size), labels.split(self.size), strict=True)
