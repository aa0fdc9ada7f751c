"""How pixels become what a model was trained on."""

import numpy as np

from aimc_robust.data.sources.npz import Arrays
from aimc_robust.errors import InputError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # torchvision's, for its pretrained models


def as_shares(pixels: np.ndarray) -> np.ndarray:
    """Bytes as shares of 255; other numbers as they are."""
    return pixels.astype(np.float32) / (255.0 if pixels.dtype == np.uint8 else 1.0)


def find_normalisation(
    name: str, pixels: np.ndarray, training: Arrays | None, normalise: str | None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Mean and standard deviation of each channel, of pixels in 0 to 1, and in words how they were found.

    Raises InputError where nothing tells how the model was trained, or `normalise` cannot be.
    """
    channels = pixels.shape[-1]
    if normalise is None and training is None and pixels.dtype == np.uint8:
        raise InputError(
            f"{name} brings no training split to normalise by, and a model works only with the normalisation that it "
            "was trained with: give --normalise none, imagenet or MEAN/STD (of pixels in 0 to 1)."
        )
    if normalise == "training" or (normalise is None and training is not None):
        if training is None:
            raise InputError(f"{name} brings no training split; give --normalise none, imagenet or MEAN/STD.")
        shares = as_shares(training[0])
        mean, std = (getattr(shares, what)(axis=(0, 1, 2), dtype=np.float64) for what in ("mean", "std"))
        return mean, np.maximum(std, 1e-6), "by the mean and standard deviation of the training split"
    if normalise in (None, "none"):
        stored = "as stored" if pixels.dtype != np.uint8 else "none: pixels in 0 to 1"
        return np.zeros(channels), np.ones(channels), stored
    values = IMAGENET if normalise == "imagenet" else _given(normalise)
    mean, std = (np.resize(np.asarray(part, dtype=np.float64), channels) for part in values)
    if any(len(part) not in (1, channels) for part in values):
        raise InputError(f"--normalise {normalise} is for {len(values[0])} channels; {name} has {channels}.")
    return mean, std, f"(pixel - mean) / std with {normalise}"


def _given(normalise: str) -> tuple[list[float], list[float]]:
    try:
        mean, std = ([float(value) for value in part.split(",")] for part in normalise.split("/"))
        valid = len(mean) == len(std) and all(s > 0 for s in std) and np.isfinite([*mean, *std]).all()
    except ValueError:
        valid = False
    if not valid:
        raise InputError(
            "--normalise is none, training, imagenet or MEAN/STD such as 0.5/0.25 or 0.49,0.48,0.45/0.25,0.24,0.26, "
            f"got {normalise!r}."
        )
    return mean, std
