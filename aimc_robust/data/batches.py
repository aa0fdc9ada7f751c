"""Batches of images: split, checked, and re-iterable."""

from collections.abc import Iterable, Iterator

from torch import Tensor
from torch.utils.data import RandomSampler

from aimc_robust.errors import DataError
from aimc_robust.metrics import Batch


def as_reiterable(batches: Iterable[Batch]) -> Iterable[Batch]:
    """Batches that can be gone through more than once: an iterator as a list, anything else as it is.

    They should hold the same images in the same order each time, so that chips, models and numbers of jobs compare.
    Raises DataError for a DataLoader that shuffles; random transforms of its data set are the caller's to leave out.
    """
    if isinstance(getattr(batches, "sampler", None), RandomSampler):
        raise DataError(
            "expected the same order of images each time, got a DataLoader that shuffles; use shuffle=False."
        )
    return list(batches) if iter(batches) is batches else batches


def check_data(name: str, data: Batch) -> None:
    """Raise DataError unless `data` holds at least one input and a label for each."""
    inputs, labels = data
    if len(inputs) != len(labels) or len(labels) == 0:
        raise DataError(f"{name} needs a label for each image and at least one, got {len(inputs)} and {len(labels)}.")


def split_batches(data: Batch, size: int) -> Iterable[Batch]:
    """(inputs, labels) cut into batches of at most `size`, in order, without a copy. Raises as `check_data`.

    A list for tensors; for inputs that are made when they are asked for, such as pictures that stay in their files,
    something that makes the batches anew each time it is gone through.
    """
    check_data("data", data)
    return list(_Cut(data, size)) if isinstance(data[0], Tensor) else _Cut(data, size)


class _Cut:
    """Batches of at most `size`, each time anew."""

    def __init__(self, data: Batch, size: int) -> None:
        self.data, self.size = data, size

    def __iter__(self) -> Iterator[Batch]:
        return zip(*(part.split(self.size) for part in self.data), strict=True)
