"""Decoding, scaling and cropping of one image file, as torchvision's transforms do."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from aimc_robust.errors import DataError, InputError

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) [pixels]."""


def read_image(path: str) -> Image:
    """Return the image in a file, as RGB.

    Raises:
        DataError: If the file is missing or damaged; the message names it.
    """
    from PIL import Image

    try:
        with open(path, "rb") as file:
            return Image.open(file).convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many types for damaged files
        raise DataError(f"{path} cannot be read as an image: {error}; repair or remove it.") from None


def to_array(image: Image) -> np.ndarray:
    """Return the pixels as (H, W, C) uint8."""
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def resize_and_center_crop(image: Image, size: int, resize: int | None = None) -> Image:
    """Scale the shorter side, then crop the center: torchvision's `Resize` and `CenterCrop`.

    Args:
        image: The image.
        size: Side of the square that is cropped [pixels].
        resize: Length that the shorter side is scaled to [pixels]; None means `size`.

    Raises:
        InputError: If `resize` is smaller than `size`.
    """
    resize = resize or size
    if resize < size:
        raise InputError(f"--resize {resize} is smaller than --size {size}; use at least the size.")
    width, height = image.size
    shorter, longer = sorted(image.size)
    if shorter != resize:
        scaled = int(resize * longer / shorter)
        width, height = (resize, scaled) if width <= height else (scaled, resize)
        image = image.resize((width, height), _bilinear())
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


def resized_crop(image: Image, box: Box, size: int) -> Image:
    """Return the part of the image within `box`, scaled to a square of side `size` [pixels]."""
    return image.crop(box).resize((size, size), _bilinear())


def random_crop_box(
    width: int, height: int, area: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Box:
    """Draw the box of a random crop: the rule of torchvision's `RandomResizedCrop`, with its order of draws.

    After ten draws that do not fit, the box is the largest one in the center within the bounds of `ratio`.

    Args:
        width: Width of the image [pixels].
        height: Height of the image [pixels].
        area: Smallest and largest fraction of the image's area.
        ratio: Smallest and largest ratio of width to height, drawn uniformly on a logarithmic scale.
        generator: Source of the random numbers.

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


def _bilinear() -> Resampling:
    from PIL import Image

    return Image.Resampling.BILINEAR
