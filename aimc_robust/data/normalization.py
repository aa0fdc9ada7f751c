"""Normalization of pixels to what a model was trained on."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from aimc_robust.data.image_files import ImageFiles
from aimc_robust.errors import DataError, InputError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's, for its pretrained models


def mean_std_text(mean: np.ndarray, std: np.ndarray) -> str:
    """Format a normalization as `--normalize` takes it, MEAN/STD, to 4 digits."""
    return "/".join(",".join(f"{value:.4g}" for value in values) for values in (mean, std))


def training_text(count: int, held_out: int, items: str) -> str:
    """Say which items of the training split a mean and a standard deviation are of."""
    rest = f" ({held_out} more are held out for validation)" if held_out else ""
    return f"the mean and standard deviation of the {count} training {items} that `compare` trains on{rest}"


def scale_bytes(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 pixels divided by 255 as float32; other numbers stay."""
    return pixels.astype(np.float32) / (255.0 if pixels.dtype == np.uint8 else 1.0)


def normalize_array(images: np.ndarray, mean: np.ndarray, std: np.ndarray) -> Tensor:
    """Return (images - mean) / std of each channel, from (N, H, W, C) to (N, C, H, W) float32."""
    scaled = ((images - mean.astype(np.float32)) / std.astype(np.float32)).astype(np.float32)
    tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(scaled, -1, 1)))
    # Strides that torch does not mistake for channels_last where there is one channel: its convolutions on a CPU have
    # crashed on such images with few channels behind them (torch 2.14).
    return tensor.clone(memory_format=torch.contiguous_format)


def channel_statistics(
    images: np.ndarray | ImageFiles, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel (C,), for pixel values in 0 to 1.

    They are the given values, one for each channel or one for all; else ImageNet's for files, and those of the images
    for an array (N, H, W, C).
    """
    channels = images.shape[1] if isinstance(images, ImageFiles) else images.shape[-1]
    if isinstance(images, ImageFiles) or (mean is not None and std is not None):
        given = IMAGENET if mean is None or std is None else (mean, std)
        if len(given[0]) not in (1, channels):
            raise DataError(f"mean and std have {len(given[0])} channels, the images have {channels}; give {channels}.")
        return _repeat_channels(given, channels)
    if images.dtype == np.uint8:  # from the histogram of the values: no copy of all pixels as floats
        counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(channels)])
        values = (np.arange(256, dtype=np.float32) / np.float32(255.0)).astype(np.float64)
        measured_mean = counts @ values / counts.sum(axis=1)
        deviations = (counts * (values - measured_mean[:, None]) ** 2).sum(axis=1)
        return measured_mean, np.maximum(np.sqrt(deviations / counts.sum(axis=1)), 1e-6)
    return _mean_std(images)


def _mean_std(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, std = images.mean(axis=(0, 1, 2), dtype=np.float64), images.std(axis=(0, 1, 2), dtype=np.float64)
    return mean, np.maximum(std, 1e-6)


def _repeat_channels(mean_std: Sequence[Sequence[float]], channels: int) -> tuple[np.ndarray, np.ndarray]:
    mean, std = (np.resize(np.asarray(values, dtype=np.float64), channels) for values in mean_std)
    return mean, std


def resolve_normalization(name: str, pixels: np.ndarray, normalize: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Return mean and standard deviation of each channel (C,), for pixels in 0 to 1, and a description of their origin.

    `pixels` (N, H, W, C) are the images to normalize. They have no training split: `normalize` is `none`,
    `imagenet`, MEAN/STD, or None for floats as they are stored.
    """
    channels = pixels.shape[-1]
    if normalize is None and pixels.dtype == np.uint8:
        raise InputError(
            f"{name} has no training split to normalize by, and a model needs the normalization that it was trained "
            "with: set --normalize none, imagenet or MEAN/STD (of pixels in 0 to 1)."
        )
    if normalize == "training":
        raise InputError(f"{name} has no training split; set --normalize none, imagenet or MEAN/STD.")
    if normalize is None or normalize == "none":
        description = "as stored" if pixels.dtype != np.uint8 else "none: pixels in 0 to 1"
        return np.zeros(channels), np.ones(channels), description
    given = IMAGENET if normalize == "imagenet" else _parse_mean_std(normalize)
    if len(given[0]) not in (1, channels):
        raise InputError(f"--normalize {normalize} is for {len(given[0])} channels; {name} has {channels}.")
    mean, std = _repeat_channels(given, channels)
    return mean, std, f"(pixel - mean) / std with {mean_std_text(mean, std)}"


def _parse_mean_std(normalize: str) -> tuple[list[float], list[float]]:
    try:
        mean, std = ([float(value) for value in part.split(",")] for part in normalize.split("/"))
        valid = len(mean) == len(std) and all(s > 0 for s in std) and bool(np.isfinite([*mean, *std]).all())
    except ValueError:
        valid = False
    if not valid:
        raise InputError(
            "--normalize must be none, training, imagenet or MEAN/STD such as 0.5/0.25 or "
            f"0.49,0.48,0.45/0.25,0.24,0.26, got {normalize!r}."
        )
    return mean, std
