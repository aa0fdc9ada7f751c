"""Random crops, flips and cutouts of training images, with separate draws for each image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_robust.errors import InputError, names_arguments, require_finite, require_type, require_whole
from aimc_robust.seeding import Axes


class AugmentationDraws(NamedTuple):
    """Random parameters of each image's augmentation in one epoch: (N,) int64, or None where switched off."""

    top: Tensor | None  # of the crop's corner in the padded image
    left: Tensor | None
    flip: Tensor | None  # bool, whether the image is mirrored
    hole: Tensor | None  # bool, whether a square is cut out
    hole_top: Tensor | None  # of the square's corner, which may lie outside the image
    hole_left: Tensor | None

    def map(self, function: Callable[[Tensor], Tensor]) -> "AugmentationDraws":
        """Return the draws after a function of each."""
        return AugmentationDraws(*[None if draw is None else function(draw) for draw in self])


@names_arguments
@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Augmentation of a training image each time it is read, in this order.

    Args:
        crop: Width of the black border [pixels] on each side, from which an image of the original size is cropped at
            random (torchvision's `RandomCrop(size, padding=crop)`). 0 disables it.
        flip: Mirror left to right with probability 1/2 (`RandomHorizontalFlip()`).
        cutout: Side of a square [pixels] that is set to 0, the mean color after normalization. Its center is any pixel
            of the image with equal probability, so that part of it may lie outside (DeVries and Taylor, "Improved
            regularization of convolutional neural networks with cutout", 2017). 0 disables it.
        cutout_probability: Probability that an image has a square cut out.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0
    cutout_probability: float = 1.0

    def __post_init__(self) -> None:
        require_whole("crop", self.crop, low=0, high=1024)
        require_whole("cutout", self.cutout, low=0)
        require_finite("cutout_probability", self.cutout_probability, high=1.0)
        require_type("flip", self.flip, bool, example="true or false")

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

        def corner(use: str, length: int) -> Tensor | None:
            center = randint(use, length, self.cutout > 0)
            return None if center is None else center - self.cutout // 2

        positions = 2 * self.crop + 1
        flip = randint("flip", 2, self.flip)
        hole: Tensor | None = None
        if self.cutout > 0:
            hole = torch.rand(images, generator=axes.at(draw="hole").generator()) < self.cutout_probability
        return AugmentationDraws(
            top=randint("top", positions, self.crop > 0),
            left=randint("left", positions, self.crop > 0),
            flip=None if flip is None else flip.bool(),
            hole=hole,
            hole_top=corner("hole top", height),
            hole_left=corner("hole left", width),
        )


@dataclass(frozen=True, kw_only=True)
class StreamedAugmentation:
    """Augmentation of an image each time it is read from its file, in this order.

    Args:
        area: Smallest and largest fraction of the image's area that is cropped and scaled to the size of the set
            (`RandomResizedCrop`; ImageNet recipes use [0.08, 1.0]). Empty: the center is cropped, as for testing.
        ratio: Smallest and largest ratio of width to height of the crop.
        flip: Mirror left to right with probability 1/2.
    """

    area: tuple[()] | tuple[float, float] = ()
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = False

    def __post_init__(self) -> None:
        for name, highest in (("area", 1.0), ("ratio", 1e3)):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or len(values) not in ((0, 2) if name == "area" else (2,)):
                raise InputError(f"{name} must be [smallest, largest], got {values!r}.")
            for value in values:
                require_finite(name, value, low=1e-3, high=highest)
            if list(values) != sorted(values):
                raise InputError(f"{name} must be [smallest, largest], got {values!r}.")
            object.__setattr__(self, name, tuple(values))
        require_type("flip", self.flip, bool, example="true or false")


def apply_cutout_(images: Tensor, hole: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Set a square of `side` pixels with its corner at (`top`, `left`) to 0 in the images where `hole`, in place.

    The corner may lie outside the image. `hole`, `top` and `left` have shape (N,).
    """
    rows = torch.arange(images.shape[2], device=images.device) - top[:, None]
    columns = torch.arange(images.shape[3], device=images.device) - left[:, None]
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    return images.masked_fill_((inside & hole[:, None, None])[:, None], 0.0)
