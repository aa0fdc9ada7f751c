"""Random crop, flip and cutout of a whole batch at once, with a separate draw for each image."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_robust.errors import InputError, require_whole
from aimc_robust.seeding import Axes


class AugmentationDraws(NamedTuple):
    """Random parameters of each image's augmentation in one epoch: (N,) int64, or None where switched off.

    Attributes:
        top: Row of the crop's corner in the padded image.
        left: Column of the crop's corner in the padded image.
        flip: (N,) bool, whether the image is mirrored.
        hole_top: Row of the cutout's corner.
        hole_left: Column of the cutout's corner.
    """

    top: Tensor | None
    left: Tensor | None
    flip: Tensor | None
    hole_top: Tensor | None
    hole_left: Tensor | None

    def to(self, device: torch.device) -> "AugmentationDraws":
        """Return the draws on another device."""
        return AugmentationDraws(*[None if draw is None else draw.to(device) for draw in self])

    def select(self, indices: Tensor) -> "AugmentationDraws":
        """Return the draws of the images with these indices."""
        return AugmentationDraws(*[None if draw is None else draw[indices] for draw in self])


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation of a training image each time it is read, in this order.

    Args:
        crop: Width of the black border [pixels] on each side, from which an image of the original size is cropped at
            random (torchvision's `RandomCrop(size, padding=crop)`). 0 disables it.
        flip: Mirror left to right with probability 1/2 (`RandomHorizontalFlip()`).
        cutout: Side of a square [pixels] at a random position inside the image that is set to 0, the mean color after
            normalization (`RandomErasing(p=1)` of that one size and value 0; in the Cutout paper the square may extend
            beyond the image). 0 disables it.

    Raises:
        InputError: If an argument is invalid.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        require_whole("crop", self.crop, low=0)
        require_whole("cutout", self.cutout, low=0)
        if not isinstance(self.flip, bool):
            raise InputError(f"flip must be true or false, got {self.flip!r}.")

    def check_size(self, height: int, width: int) -> None:
        """Raise InputError if images of this size [pixels] are smaller than the cutout."""
        if self.cutout > min(height, width):
            raise InputError(
                f"cutout {self.cutout} is larger than the images, {height} x {width}; choose a smaller side."
            )

    def sample(self, axes: Axes, images: int, height: int, width: int) -> AugmentationDraws:
        """Draw the random parameters of `images` images of height x width pixels.

        Each kind of augmentation has its own random stream, so that switching one on does not change the others.
        """

        def randint(use: str, count: int, enabled: bool) -> Tensor | None:
            return torch.randint(count, (images,), generator=axes.at(draw=use).generator()) if enabled else None

        positions = 2 * self.crop + 1
        flip = randint("flip", 2, self.flip)
        return AugmentationDraws(
            top=randint("top", positions, self.crop > 0),
            left=randint("left", positions, self.crop > 0),
            flip=None if flip is None else flip.bool(),
            hole_top=randint("hole top", height - self.cutout + 1, self.cutout > 0),
            hole_left=randint("hole left", width - self.cutout + 1, self.cutout > 0),
        )


def apply_cutout_(images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Set a square of each image to 0, in place.

    Args:
        images: (N, C, H, W).
        top: (N,) rows of the squares' corners.
        left: (N,) columns of the squares' corners.
        side: Side of the square [pixels].

    Returns:
        `images`.
    """
    rows = torch.arange(images.shape[2], device=images.device) - top[:, None]
    columns = torch.arange(images.shape[3], device=images.device) - left[:, None]
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    return images.masked_fill_(inside[:, None], 0.0)
