"""Labelled training images, whole in memory on one device: no worker processes, batches made by a few tensor calls."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from aimc_robust.errors import DataError, InputError
from aimc_robust.metrics import Batch, check_data
from aimc_robust.seeding import Axes
from aimc_robust.training.augmentation import Augmentation, Draws, cut_holes


class Images:
    """A training set that yields shuffled, augmented batches.

    inputs: (N, C, H, W) images, or inputs of any shape (N, ...) when nothing is to be augmented; bytes count as
    0 to 255 for 0 to 1. labels: (N,). mean, std: per channel, normalise once, here; without them inputs are used as
    they are. augmentation: what each image goes through each time. The border of a crop is black: 0 before
    normalisation. All on the inputs' device, which the batches share.

    Order and augmentation derive from (seed, epoch, image) alone: they do not depend on the batch size, the number
    of processes or the device.
    """

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        *,
        mean: Sequence[float] | Tensor | None = None,
        std: Sequence[float] | Tensor | None = None,
        augmentation: Augmentation | None = None,
        black: Sequence[float] | Tensor | None = None,
    ) -> None:
        """black: value of each channel outside the image, for inputs that are normalised already (default 0)."""
        check_data("training images", (inputs, labels))
        if (mean is None) != (std is None) or (mean is not None and black is not None):
            raise InputError("normalisation takes both mean and std, and then knows what black is; leave `black` out.")
        inputs = inputs.float() / 255.0 if inputs.dtype == torch.uint8 else inputs
        if mean is not None:
            centre, spread = (_per_channel(values, inputs, name) for values, name in ((mean, "mean"), (std, "std")))
            inputs, black = (inputs - centre) / spread, (-centre / spread).flatten()
        self.labels = labels
        self.augmentation = augmentation or Augmentation()
        self.shape = tuple(inputs.shape[1:])
        if self.augmentation != Augmentation():
            if inputs.ndim != 4:
                raise DataError(f"augmentation takes images (N, C, H, W), got inputs of shape {tuple(inputs.shape)}.")
            self.augmentation.check_size(*inputs.shape[2:])
        self.stored = _bordered(inputs, self.augmentation.crop, black)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where images and batches are."""
        return self.stored.device

    def epoch(
        self, epoch: int, *, batch_size: int, seed: int = 0, stream: int = 0, part: int = 0, parts: int = 1
    ) -> Iterator[Batch]:
        """Iterate over the (inputs, labels) batches of one pass over all images.

        A last partial batch is left out, unless it is all there is. stream: another order and augmentation of the
        same epoch, for a method's second batch. part, parts: the process gets this share of each batch.
        """
        axes = Axes(seed).at(epoch=epoch, stream=stream)
        order = torch.randperm(len(self), generator=axes.at(use="shuffle").generator()).to(self.device)
        draws = self.draws(epoch, seed=seed, stream=stream)
        share = min(batch_size, len(self)) // parts
        for start in range(0, max(1, len(self) // batch_size) * batch_size, batch_size):
            chosen = order[start : start + batch_size][part * share : (part + 1) * share]
            yield self.augmented(chosen, draws), self.labels[chosen]

    def draws(self, epoch: int, *, seed: int = 0, stream: int = 0) -> Draws:
        """What happens to each image in this epoch."""
        axes = Axes(seed).at(use="augmentation", epoch=epoch, stream=stream)
        return self.augmentation.draws(axes, len(self), *self.shape[-2:]).to(self.device)

    def augmented(self, chosen: Tensor, draws: Draws) -> Tensor:
        """The images of these numbers (B,), after their draws: a new tensor (B, C, H, W)."""
        draws = draws.of(chosen)
        if draws.top is None:
            images = self.stored[chosen]
        else:
            # A view of every crop of every image; picking from it copies the wanted ones and nothing else.
            crops = self.stored.unfold(2, self.shape[1], 1).unfold(3, self.shape[2], 1)
            images = crops[chosen, :, draws.top, draws.left]
        if draws.flip is not None:
            images = torch.where(draws.flip[:, None, None, None], images.flip(3), images)
        if draws.hole_top is not None:
            images = cut_holes(images, draws.hole_top, draws.hole_left, self.augmentation.cutout)
        return images

    def plain(self) -> Batch:
        """All images without augmentation, and their labels."""
        crop = self.augmentation.crop
        inside = slice(crop, -crop) if crop else slice(None)
        return (self.stored[:, :, inside, inside] if crop else self.stored), self.labels


def _per_channel(values: Sequence[float] | Tensor, inputs: Tensor, name: str) -> Tensor:
    found = torch.as_tensor(values, dtype=inputs.dtype, device=inputs.device).flatten()
    if inputs.ndim != 4 or len(found) != inputs.shape[1]:
        raise DataError(
            f"{name} holds {len(found)} values; expected one for each channel of images (N, C, H, W), "
            f"got inputs of shape {tuple(inputs.shape)}."
        )
    return found[:, None, None]


def _bordered(inputs: Tensor, crop: int, black: Sequence[float] | Tensor | None) -> Tensor:
    """The images with a black border of `crop` pixels."""
    if crop == 0:
        return inputs
    black = torch.zeros(inputs.shape[1]) if black is None else black
    bordered = F.pad(inputs, [crop] * 4)
    inner = (..., slice(crop, -crop), slice(crop, -crop))
    bordered += _per_channel(black, inputs, "black")
    bordered[inner] = inputs
    return bordered
