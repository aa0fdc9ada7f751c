"""Random crop, flip and cutout of a whole batch at once, with an own draw for each image."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from aimc_robust.errors import InputError, require_whole
from aimc_robust.seeding import Axes


class Draws(NamedTuple):
    """What happens to each image of a set in one epoch: integers (N,), or None where it is switched off.

    top, left: corner of the crop in the padded image; flip: bool; hole_top, hole_left: corner of the cutout.
    """

    top: Tensor | None
    left: Tensor | None
    flip: Tensor | None
    hole_top: Tensor | None
    hole_left: Tensor | None

    def to(self, device: torch.device) -> "Draws":
        """The same on another device."""
        return Draws(*[None if draw is None else draw.to(device) for draw in self])

    def of(self, chosen: Tensor) -> "Draws":
        """Those of some images."""
        return Draws(*[None if draw is None else draw[chosen] for draw in self])


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done to a training image each time it is seen, in this order.

    crop: pixels of black border on each side, from which an image of the old size is cropped at random
        (torchvision's `RandomCrop(size, padding=crop)`). flip: mirrored left to right with probability 1/2
        (`RandomHorizontalFlip()`). cutout: side of a square [pixels], wholly inside the image at a random place,
        that is set to 0, the mean colour after normalisation (`RandomErasing(p=1)` of that one size and value 0; the
        Cutout paper also lets the square stick out). 0 and False switch off.
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
        """Raise InputError when an image is too small for this."""
        if self.cutout > min(height, width):
            raise InputError(
                f"cutout {self.cutout} is larger than the images, {height} x {width}; give a smaller side."
            )

    def draws(self, axes: Axes, images: int, height: int, width: int) -> Draws:
        """One draw for each of `images` images; each kind has a stream of its own, so that none moves another."""

        def uniform(use: str, count: int, wanted: bool) -> Tensor | None:
            return torch.randint(count, (images,), generator=axes.at(draw=use).generator()) if wanted else None

        positions = 2 * self.crop + 1
        flip = uniform("flip", 2, self.flip)
        return Draws(
            top=uniform("top", positions, self.crop > 0),
            left=uniform("left", positions, self.crop > 0),
            flip=None if flip is None else flip.bool(),
            hole_top=uniform("hole top", height - self.cutout + 1, self.cutout > 0),
            hole_left=uniform("hole left", width - self.cutout + 1, self.cutout > 0),
        )


def cut_holes(images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Set a square of each image (N, C, H, W) to 0, in place. top, left: its corner (N,)."""
    rows = torch.arange(images.shape[2], device=images.device) - top[:, None]
    columns = torch.arange(images.shape[3], device=images.device) - left[:, None]
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    return images.masked_fill_(inside[:, None], 0.0)
