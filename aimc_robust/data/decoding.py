"""Decoding, scaling and cropping of one image file, as torchvision's transforms do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from aimc_robust.errors import DataError, InputError

if TYPE_CHECKING:
    from PIL.Image import Image

BILINEAR = 2  # PIL.Image.Resampling.BILINEAR; Pillow is imported when it is first used

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) [pixels]."""


def read_image(path: str) -> Image:
    """Return the image in a file, as RGB; raise DataError, which names the file, if it is missing or damaged."""
    from PIL import Image

    try:
        with open(path, "rb") as file:
            return Image.open(file).convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many types for damaged files
        raise DataError(f"{path} cannot be read as an image: {error}; repair or remove it.") from None


def resize_and_center_crop(image: Image, size: int, resize: int | None = None) -> Image:
    """Scale the shorter side to `resize` (None: `size`), then crop a square of side `size` from the center [pixels].

    This is torchvision's `Resize` and `CenterCrop`.
    """
    resize = resize or size
    if resize < size:
        raise InputError(f"--resize {resize} is smaller than --size {size}; use at least the size.")
    width, height = image.size
    shorter, longer = sorted(image.size)
    if shorter != resize:
        scaled = int(resize * longer / shorter)
        width, height = (resize, scaled) if width <= height else (scaled, resize)
        image = image.resize((width, height), BILINEAR)
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


def resized_crop(image: Image, box: Box, size: int) -> Image:
    """Return the part of the image within `box`, scaled to a square of side `size` [pixels]."""
    return image.crop(box).resize((size, size), BILINEAR)


def random_crop_box(
    width: int, height: int, area: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Box:
    """Draw the box of a random crop: the rule of torchvision's `RandomResizedCrop`, with its order of draws.

    `area` bounds the fraction of the image's area, `ratio` that of width to height, which is drawn uniformly on a
    logarithmic scale. After ten draws that do not fit, the box is the largest one in the center within `ratio`.

    References:
        Szegedy et al. 2015 (GoogLeNet), as implemented in torchvision.
    """

    def uniform(low: float, high: float) -> float:
        return torch.empty(1).uniform_(low, high, generator=generator).item()

    def offset(margin: int) -> int:
        return int(torch.randint(0, margin + 1, (1,), generator=generator))

    log_low, log_high = torch.log(torch.tensor(ratio)).tolist()
    for _ in range(10):
        crop_area, aspect = width * height * uniform(*area), math.exp(uniform(log_low, log_high))
        w, h = round(math.sqrt(crop_area * aspect)), round(math.sqrt(crop_area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = offset(height - h), offset(width - w)
            return left, top, left + w, top + h
    w, h = width, height
    if width / height < min(ratio):
        h = round(width / min(ratio))
    elif width / height > max(ratio):
        w = round(height * max(ratio))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
