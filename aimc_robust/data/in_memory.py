"""Training images in memory on one device: no worker processes, each batch made by a few tensor operations."""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from aimc_robust.data.augmentation import Augmentation, AugmentationDraws, apply_cutout_
from aimc_robust.data.batches import check_data
from aimc_robust.data.lazy import normalize_bytes
from aimc_robust.errors import DataError, InputError, require_whole
from aimc_robust.metrics import Batch
from aimc_robust.seeding import Axes

# Images that would take more bytes as float32 stay uint8, which is slower on a CPU; the numbers are the same.
MAX_FLOAT_BYTES = 2**30


class Images:
    """A training set that yields shuffled, augmented batches.

    Order and augmentation derive from (seed, epoch, stream, image) only: they do not depend on the batch size, the
    number of processes or the device.

    Args:
        inputs: (N, C, H, W) images, or inputs of any shape (N, ...) without augmentation. uint8 values 0 to 255 mean 0
            to 1. All data, and the batches, are on the device of the inputs.
        labels: (N, ...) integers.
        mean: Mean of each channel. The images are normalized once, here; large uint8 sets are normalized batch by
            batch. Without mean and std, inputs are used unchanged.
        std: Standard deviation of each channel.
        augmentation: Augmentation of each image each time it is read.
        black: For inputs that are already normalized: value of each channel in the border of a crop (default 0). With
            mean and std it is the normalized 0, as if a black border were normalized with the image.

    Raises:
        DataError: If inputs cannot be normalized or augmented, or labels do not match.
        InputError: If arguments contradict each other.
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
        check_data("training images", (inputs, labels))
        if (mean is None) != (std is None):
            raise InputError(f"normalization needs both mean and std, got only {'std' if mean is None else 'mean'}.")
        if mean is not None and black is not None:
            raise InputError("mean and std determine the border's black value; remove `black`.")
        self.augmentation = augmentation or Augmentation()
        if labels.is_floating_point():
            raise DataError(f"labels must be whole numbers, got {labels.dtype}; pass class numbers as int64.")
        self.labels = labels.to(inputs.device)
        self.shape = tuple(inputs.shape[1:])
        if inputs.dtype == torch.uint8 and (black is not None or 4 * inputs.numel() <= MAX_FLOAT_BYTES):
            inputs = inputs.float().div_(255.0)
        if mean is not None or black is not None or self.augmentation != Augmentation():
            _check_images(inputs)
            self.augmentation.check_size(*self.shape[1:])
        self.mean_std: tuple[Tensor, Tensor] | None = None  # of images stored as uint8, which each batch normalizes
        fill = None if black is None else _per_channel(black, inputs, "black")
        if mean is not None and std is not None:
            center, spread = _per_channel(mean, inputs, "mean"), _per_channel(std, inputs, "std")
            if not (spread > 0).all():
                raise InputError(f"std must be above 0 in every channel, got {spread.flatten().tolist()}.")
            if inputs.dtype == torch.uint8:
                self.mean_std = center, spread
            else:
                inputs, fill = (inputs - center).div_(spread), -center / spread
        self.stored = _add_border(inputs, self.augmentation.crop, fill)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Device of images and batches."""
        return self.stored.device

    def to(self, device: torch.device | str) -> "Images":
        """Return this set on a device; tensors that are already there are shared."""
        moved = copy.copy(self)
        moved.stored, moved.labels = self.stored.to(device), self.labels.to(device)
        if self.mean_std is not None:
            mean, std = self.mean_std
            moved.mean_std = mean.to(device), std.to(device)
        return moved

    def epoch(
        self, epoch: int, *, batch_size: int, seed: int = 0, stream: int = 0, shard: int = 0, num_shards: int = 1
    ) -> Iterator[Batch]:
        """Iterate over the (inputs, labels) batches of one pass over all images.

        A last partial batch is dropped unless it is the only one.

        Args:
            epoch: Number of the epoch, from 1.
            batch_size: Images per batch, over all shards.
            seed: Root seed of order and augmentation.
            stream: Another order and augmentation of the same epoch, for a method's second batch.
            shard: Part of each batch to return, from 0.
            num_shards: Number of equal parts of each batch, one for each process.

        Raises:
            InputError: If a batch cannot be split evenly into shards.
        """
        indices = epoch_indices(
            len(self),
            epoch,
            batch_size=batch_size,
            seed=seed,
            stream=stream,
            shard=shard,
            num_shards=num_shards,
            device=self.device,
        )
        draws = self.sample_augmentation(epoch, seed=seed, stream=stream)
        return ((self.augment(batch, draws), self.labels[batch]) for batch in indices)

    def sample_augmentation(self, epoch: int, *, seed: int = 0, stream: int = 0) -> AugmentationDraws:
        """Draw the random augmentation parameters of all images in an epoch."""
        axes = Axes(seed).at(use="augmentation", epoch=epoch, stream=stream)
        height, width = self.shape[1:] if len(self.shape) == 3 else (0, 0)  # nothing is drawn for other inputs
        return self.augmentation.sample(axes, len(self), height, width).to(self.device)

    def augment(self, indices: Tensor, draws: AugmentationDraws) -> Tensor:
        """Return the augmented images with these indices (B,), as a new tensor (B, C, H, W)."""
        draws = draws.select(indices)
        if draws.top is None:
            images = self.stored[indices]
        else:
            # A view of every crop of every image; indexing it copies only the selected ones.
            crops = self.stored.unfold(2, self.shape[1], 1).unfold(3, self.shape[2], 1)
            images = crops[indices, :, draws.top, draws.left]
        if draws.flip is not None:
            images = torch.where(draws.flip[:, None, None, None], images.flip(3), images)
        images = self._normalize(images)
        if draws.hole_top is not None and draws.hole_left is not None:
            images = apply_cutout_(images, draws.hole_top, draws.hole_left, self.augmentation.cutout)
        return images

    def unaugmented(self) -> Batch:
        """Return all images without augmentation, and their labels. Do not write to them: they may be views."""
        crop = self.augmentation.crop
        return self._normalize(self.stored[..., crop:-crop, crop:-crop] if crop else self.stored), self.labels

    def _normalize(self, images: Tensor) -> Tensor:
        """Return the images as a model takes them; images stored as floats are already normalized."""
        if images.dtype != torch.uint8:
            return images
        return images.float().div_(255.0) if self.mean_std is None else normalize_bytes(images, *self.mean_std)


def epoch_indices(
    images: int,
    epoch: int,
    *,
    batch_size: int,
    seed: int,
    stream: int,
    shard: int,
    num_shards: int,
    device: torch.device | str = "cpu",
) -> list[Tensor]:
    """Return the image indices of this shard in each batch of an epoch; see `Images.epoch` for the arguments."""
    require_whole("batch_size", batch_size, low=1)
    require_whole("num_shards", num_shards, low=1)
    require_whole("shard", shard, low=0, high=num_shards - 1)
    size = min(batch_size, images)
    shard_size, remainder = divmod(size, num_shards)
    if remainder:
        raise InputError(
            f"batches of {size} images cannot be split evenly over {num_shards} processes; change the batch size."
        )
    axes = Axes(seed).at(epoch=epoch, stream=stream)
    order = torch.randperm(images, generator=axes.at(use="shuffle").generator()).to(device)
    first = shard * shard_size
    return [order[start : start + shard_size] for start in range(first, images - size + first + 1, size)]


def _check_images(inputs: Tensor) -> None:
    if inputs.ndim != 4 or not (inputs.is_floating_point() or inputs.dtype == torch.uint8):
        raise DataError(
            "normalization and augmentation need images (N, C, H, W) of uint8 or floating-point numbers, "
            f"got {str(inputs.dtype).removeprefix('torch.')} {tuple(inputs.shape)}."
        )


def _per_channel(values: Sequence[float] | Tensor, inputs: Tensor, name: str) -> Tensor:
    """Return one number per channel as (C, 1, 1)."""
    dtype = inputs.dtype if inputs.is_floating_point() else torch.float32
    channels = torch.as_tensor(values, dtype=dtype, device=inputs.device).flatten()
    if len(channels) != inputs.shape[1] or not channels.isfinite().all():
        raise InputError(
            f"{name} must hold one finite number for each of the {inputs.shape[1]} channels, got {channels.tolist()}."
        )
    return channels[:, None, None]


def _add_border(inputs: Tensor, crop: int, fill: Tensor | None) -> Tensor:
    """Return the images with a border of `crop` pixels of value `fill` (C, 1, 1) or 0."""
    if crop == 0:
        return inputs
    images, channels, height, width = inputs.shape
    bordered = inputs.new_zeros(images, channels, height + 2 * crop, width + 2 * crop)
    if fill is not None:
        bordered += fill
    bordered[..., crop:-crop, crop:-crop] = inputs
    return bordered
