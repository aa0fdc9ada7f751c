"""Labelled training images, whole in memory on one device: no worker processes, batches made by a few tensor calls."""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from aimc_robust.data.augmentation import Augmentation, Draws, cut_holes
from aimc_robust.data.batches import check_data
from aimc_robust.data.lazy import normalised_bytes
from aimc_robust.errors import DataError, InputError, require_whole
from aimc_robust.metrics import Batch
from aimc_robust.seeding import Axes

FLOATS_AT_MOST = (
    2**30
)  # bytes; images that would take more stay bytes, which is slower on a CPU: the numbers are the same


class Images:
    """A training set that yields shuffled, augmented batches.

    inputs: (N, C, H, W) images, or inputs of any shape (N, ...) when nothing is to be augmented; bytes count as
        0 to 255 for 0 to 1. labels: (N, ...). Everything is on the inputs' device, batches too.
    mean, std: per channel; the images are normalised once, here, but that many bytes stay bytes until a batch is made.
        Without them inputs are used as they are.
    augmentation: what each image goes through each time it is seen.
    black: for inputs that are normalised already: value of each channel in the border of a crop (default 0). With
        mean and std it is what 0 becomes, as if a black border were normalised with the image.

    Order and augmentation derive from (seed, epoch, stream, image) alone: they do not depend on the batch size, the
    number of processes or the device. Raises DataError for inputs that cannot be normalised or augmented, InputError
    for settings that contradict each other.
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
            raise InputError(f"normalisation takes both mean and std, got only {'std' if mean is None else 'mean'}.")
        if mean is not None and black is not None:
            raise InputError("with mean and std the border's black is known; leave `black` out.")
        self.augmentation = augmentation or Augmentation()
        if labels.is_floating_point():
            raise DataError(f"labels must be whole numbers, got {labels.dtype}; give class numbers as int64.")
        self.labels = labels.to(inputs.device)
        self.shape = tuple(inputs.shape[1:])
        if inputs.dtype == torch.uint8 and (black is not None or 4 * inputs.numel() <= FLOATS_AT_MOST):
            inputs = inputs.float().div_(255.0)
        if mean is not None or black is not None or self.augmentation != Augmentation():
            _check_images(inputs)
            self.augmentation.check_size(*self.shape[1:])
        self.scales: tuple[Tensor, Tensor] | None = None  # mean and std of bytes, which are normalised in a batch
        if mean is not None:
            centre, spread = _per_channel(mean, inputs, "mean"), _per_channel(std, inputs, "std")
            if not (spread > 0).all():
                raise InputError(f"std must be above 0 in every channel, got {spread.flatten().tolist()}.")
            if inputs.dtype == torch.uint8:
                self.scales = centre, spread
            else:
                inputs, black = (inputs - centre).div_(spread), -centre / spread
        elif black is not None:
            black = _per_channel(black, inputs, "black")
        self.stored = _bordered(inputs, self.augmentation.crop, black)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where images and batches are."""
        return self.stored.device

    def to(self, device: torch.device | str) -> "Images":
        """The same on a device; tensors that are there already are shared."""
        moved = copy.copy(self)
        moved.stored, moved.labels = self.stored.to(device), self.labels.to(device)
        if self.scales is not None:
            moved.scales = tuple(values.to(device) for values in self.scales)
        return moved

    def epoch(
        self, epoch: int, *, batch_size: int, seed: int = 0, stream: int = 0, part: int = 0, parts: int = 1
    ) -> Iterator[Batch]:
        """Iterate over the (inputs, labels) batches of one pass over all images.

        A last partial batch is left out, unless it is all there is. stream: another order and augmentation of the
        same epoch, for a method's second batch. part, parts: the process gets this share of each batch.
        Raises InputError for a batch that the processes cannot share equally.
        """
        shares = shares_of_epoch(
            len(self),
            epoch,
            batch_size=batch_size,
            seed=seed,
            stream=stream,
            part=part,
            parts=parts,
            device=self.device,
        )
        draws = self.draws(epoch, seed=seed, stream=stream)
        return ((self.augmented(chosen, draws), self.labels[chosen]) for chosen in shares)

    def draws(self, epoch: int, *, seed: int = 0, stream: int = 0) -> Draws:
        """What happens to each image in this epoch."""
        axes = Axes(seed).at(use="augmentation", epoch=epoch, stream=stream)
        height, width = self.shape[1:] if len(self.shape) == 3 else (0, 0)  # without images nothing is drawn
        return self.augmentation.draws(axes, len(self), height, width).to(self.device)

    def augmented(self, chosen: Tensor, draws: Draws) -> Tensor:
        """The images with these indices (B,), after their draws: a new tensor (B, C, H, W)."""
        draws = draws.of(chosen)
        if draws.top is None:
            images = self.stored[chosen]
        else:
            # A view of every crop of every image; picking from it copies the wanted ones and nothing else.
            crops = self.stored.unfold(2, self.shape[1], 1).unfold(3, self.shape[2], 1)
            images = crops[chosen, :, draws.top, draws.left]
        if draws.flip is not None:
            images = torch.where(draws.flip[:, None, None, None], images.flip(3), images)
        images = self._ready(images)
        if draws.hole_top is not None:
            images = cut_holes(images, draws.hole_top, draws.hole_left, self.augmentation.cutout)
        return images

    def plain(self) -> Batch:
        """All images without augmentation, and their labels: not to be written to, it may be a view."""
        crop = self.augmentation.crop
        return self._ready(self.stored[..., crop:-crop, crop:-crop] if crop else self.stored), self.labels

    def _ready(self, images: Tensor) -> Tensor:
        """Bytes as a model takes them; other numbers are that already."""
        if images.dtype != torch.uint8:
            return images
        return images.float().div_(255.0) if self.scales is None else normalised_bytes(images, *self.scales)


def shares_of_epoch(
    images: int,
    epoch: int,
    *,
    batch_size: int,
    seed: int,
    stream: int,
    part: int,
    parts: int,
    device: torch.device | str = "cpu",
) -> list[Tensor]:
    """The numbers (share,) of the images in each batch of an epoch that are this process's; see `Images.epoch`."""
    require_whole("batch_size", batch_size, low=1)
    require_whole("parts", parts, low=1)
    require_whole("part", part, low=0, high=parts - 1)
    size = min(batch_size, images)
    share, left_over = divmod(size, parts)
    if left_over:
        raise InputError(f"{parts} processes cannot share batches of {size} images equally; change the batch size.")
    axes = Axes(seed).at(epoch=epoch, stream=stream)
    order = torch.randperm(images, generator=axes.at(use="shuffle").generator()).to(device)
    return [order[start : start + share] for start in range(part * share, images - size + part * share + 1, size)]


def _check_images(inputs: Tensor) -> None:
    if inputs.ndim != 4 or not (inputs.is_floating_point() or inputs.dtype == torch.uint8):
        raise DataError(
            "normalisation and augmentation take images (N, C, H, W) of bytes or floating-point numbers, "
            f"got {str(inputs.dtype).removeprefix('torch.')} {tuple(inputs.shape)}."
        )


def _per_channel(values: Sequence[float] | Tensor, inputs: Tensor, name: str) -> Tensor:
    """(C, 1, 1) from one number per channel."""
    dtype = inputs.dtype if inputs.is_floating_point() else torch.float32
    found = torch.as_tensor(values, dtype=dtype, device=inputs.device).flatten()
    if len(found) != inputs.shape[1] or not found.isfinite().all():
        raise InputError(
            f"{name} must hold one finite number for each of the {inputs.shape[1]} channels, got {found.tolist()}."
        )
    return found[:, None, None]


def _bordered(inputs: Tensor, crop: int, black: Tensor | None) -> Tensor:
    """The images with a border of `crop` pixels, black (C, 1, 1) or 0."""
    if crop == 0:
        return inputs
    images, channels, height, width = inputs.shape
    bordered = inputs.new_zeros(images, channels, height + 2 * crop, width + 2 * crop)
    if black is not None:
        bordered += black
    bordered[..., crop:-crop, crop:-crop] = inputs
    return bordered
