"""Images and labels in an .npz file."""

from pathlib import Path

import numpy as np

from aimc_robust.errors import DataError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
TEST_ARRAYS = (("x_test", "y_test"), ("x", "y"), ("images", "labels"))
Arrays = tuple[np.ndarray, np.ndarray]
"""Images (N, H, W, C) and labels (N,)."""


def npz_arrays(path: Path, *choices: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file.

    Args:
        path: The file.
        choices: Alternative tuples of array names; the first one that the file holds completely is read.

    Raises:
        DataError: If the file is missing, damaged, or lacks the arrays.
    """
    expected = " or ".join(", ".join(names) for names in choices)
    if not path.is_file():
        raise DataError(f"there is no data file {path}; give an .npz with the arrays {expected}.")
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
    except Exception as error:  # numpy and zipfile raise many types for other files
        raise DataError(f"{path} cannot be read as an .npz of plain arrays: {error}.") from None


def labelled(
    arrays: dict[str, np.ndarray], images: str, labels: str, path: Path, *, keep_bytes: bool = False
) -> Arrays:
    """Check and convert two arrays of a file.

    Args:
        arrays: Arrays of the file by name.
        images: Name of the images' array.
        labels: Name of the labels' array.
        path: The file, for messages.
        keep_bytes: Keep uint8 images as uint8.

    Returns:
        Images (N, H, W, C), float32 (divided by 255 if they were uint8), and labels (N,) int64.

    Raises:
        DataError: If an array is invalid.
    """
    return _images(arrays[images], f"{path}: {images}", keep_bytes), _labels(arrays, images, labels, path)


def npz_splits(path: Path) -> tuple[Arrays, Arrays]:
    """Return the training and test split of a file.

    Raises:
        DataError: If the file is missing or damaged, or an array is missing or invalid.
    """
    arrays = npz_arrays(path, ARRAYS)
    return labelled(arrays, "x_train", "y_train", path), labelled(arrays, "x_test", "y_test", path)


def npz_images(path: Path) -> Arrays:
    """Return the test images (N, H, W, C) of an .npz file, uint8 or float32, and their labels.

    Raises:
        DataError: If the file is missing or damaged, or an array is missing or invalid.
    """
    arrays = npz_arrays(path, *TEST_ARRAYS)
    images, labels = arrays
    return labelled(arrays, images, labels, path, keep_bytes=True)


def has_training_split(path: Path) -> bool:
    """Whether an .npz file has a training split."""
    return set(npz_arrays(path, ARRAYS, *TEST_ARRAYS)) == set(ARRAYS)


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
        raise DataError(f"{name} holds NaN or infinity; remove these images.")
    return images


def _labels(arrays: dict[str, np.ndarray], images_name: str, name: str, path: Path) -> np.ndarray:
    labels, images = arrays[name], arrays[images_name]
    if labels.ndim != 1 or labels.dtype.kind not in "ui" or len(labels) != len(images):
        raise DataError(
            f"{path}: {name} must hold one whole number per image ({len(images)}), got {labels.dtype} {labels.shape}."
        )
    if labels.min() < 0:
        raise DataError(f"{path}: {name} holds the label {labels.min()}; labels start at 0.")
    return labels.astype(np.int64)
