"""Images and labels in an .npz file."""

from pathlib import Path

import numpy as np

from aimc_robust.errors import DataError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
Arrays = tuple[np.ndarray, np.ndarray]
"""Images (N, H, W, C) and labels (N,)."""


def npz_arrays(path: Path, *choices: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of the first of `choices` that an .npz file holds all of.

    Raises DataError for a file that is missing, damaged, or lacks them.
    """
    wanted = " or ".join(", ".join(names) for names in choices)
    if not path.is_file():
        raise DataError(f"there is no data file {path}; give an .npz with the arrays {wanted}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            names = next((names for names in choices if set(names) <= set(file.files)), None)
            if names is None:
                missing = [name for name in choices[0] if name not in file.files]
                other = f" (or {' or '.join(', '.join(c) for c in choices[1:])})" if len(choices) > 1 else ""
                raise DataError(f"{path} lacks {', '.join(missing)}{other}; it holds {', '.join(sorted(file.files))}.")
            return {name: file[name] for name in names}
    except DataError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds for what is no .npz
        raise DataError(f"{path} cannot be read as an .npz of plain arrays: {error}.") from None


def labelled(
    arrays: dict[str, np.ndarray], images: str, labels: str, path: Path, *, keep_bytes: bool = False
) -> Arrays:
    """Two arrays of a file as images float32 (N, H, W, C), in 0 to 1 when they were bytes, and labels int64 (N,).

    keep_bytes: images that are bytes stay bytes.
    """
    return _images(arrays[images], f"{path}: {images}", keep_bytes), _labels(arrays, images, labels, path)


def npz_splits(path: Path) -> tuple[Arrays, Arrays]:
    """The training and test splits of a file. Raises DataError as `npz_arrays`, and for arrays that do not fit."""
    arrays = npz_arrays(path, ARRAYS)
    return labelled(arrays, "x_train", "y_train", path), labelled(arrays, "x_test", "y_test", path)


def _images(array: np.ndarray, name: str, keep_bytes: bool) -> np.ndarray:
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.dtype.kind not in "uif" or 0 in array.shape:
        raise DataError(
            f"{name} must hold images as (N, H, W) or (N, H, W, C) numbers, got {array.dtype} {array.shape}."
        )
    if array.shape[-1] > 4 >= array.shape[1]:
        array = np.moveaxis(array, 1, -1)  # channels first, as PyTorch writes them
    if keep_bytes and array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    scale = 255.0 if array.dtype == np.uint8 else 1.0
    images = np.ascontiguousarray(array, dtype=np.float32) / scale
    if not np.isfinite(images).all():
        raise DataError(f"{name} holds NaN or infinity; remove those images.")
    return images


def _labels(arrays: dict[str, np.ndarray], name_of_images: str, name: str, path: Path) -> np.ndarray:
    labels, images = arrays[name], arrays[name_of_images]
    if labels.ndim != 1 or labels.dtype.kind not in "ui" or len(labels) != len(images):
        raise DataError(
            f"{path}: {name} must hold one whole number per image ({len(images)}), got {labels.dtype} {labels.shape}."
        )
    if labels.min() < 0:
        raise DataError(f"{path}: {name} holds the label {labels.min()}; labels start at 0.")
    return labels.astype(np.int64)
