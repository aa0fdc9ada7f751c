"""One picture file: read, scaled and cut as torchvision's transforms do, with its random numbers from a generator."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from aimc_robust.errors import DataError, InputError

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) [pixels]."""


def read_picture(path: str) -> Image:
    """The picture in a file, as RGB. Raises DataError that names a file which is missing or damaged."""
    from PIL import Image

    try:
        with open(path, "rb") as file:
            return Image.open(file).convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many kinds for what is no whole picture
        raise DataError(f"{path} cannot be read as an image: {error}; mend or remove it.") from None


def as_bytes(picture: Image) -> np.ndarray:
    """(H, W, C) bytes."""
    pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def centre_cut(picture: Image, size: int, resize: int | None = None) -> Image:
    """The shorter side scaled to `resize` (default: `size`), then the middle cut out: `Resize`, `CenterCrop`."""
    resize = resize or size
    if resize < size:
        raise InputError(f"--resize {resize} leaves less than --size {size}; give at least the size.")
    width, height = picture.size
    shorter, longer = sorted(picture.size)
    if shorter != resize:
        scaled = int(resize * longer / shorter)
        width, height = (resize, scaled) if width <= height else (scaled, resize)
        picture = picture.resize((width, height), _bilinear())
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return picture.crop((left, top, left + size, top + size))


def resized_crop(picture: Image, box: Box, size: int) -> Image:
    """The part of the picture within `box`, scaled to a square of side `size`."""
    return picture.crop(box).resize((size, size), _bilinear())


def random_box(
    width: int, height: int, area: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Box:
    """A random part of a picture: `RandomResizedCrop`'s rule, and its order of draws.

    area: least and greatest share of the picture's area. ratio: of width to height, drawn evenly in its logarithm.
    After ten draws that do not fit, the largest part in the middle that keeps to `ratio`. Source: Szegedy et al. 2015
    (GoogLeNet), as torchvision has it.
    """

    def uniform(low: float, high: float) -> float:
        return torch.empty(1).uniform_(low, high, generator=generator).item()

    def place(room: int) -> int:
        return int(torch.randint(0, room + 1, (1,), generator=generator))

    logarithms = torch.log(torch.tensor(ratio)).tolist()
    for _ in range(10):
        wanted, aspect = width * height * uniform(*area), math.exp(uniform(*logarithms))
        w, h = round(math.sqrt(wanted * aspect)), round(math.sqrt(wanted / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = place(height - h), place(width - w)
            return left, top, left + w, top + h
    w, h = width, height
    if width / height < min(ratio):
        h = round(width / min(ratio))
    elif width / height > max(ratio):
        w = round(height * max(ratio))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _bilinear() -> int:
    from PIL import Image

    return Image.Resampling.BILINEAR
