"""Images and labels in an .npz file."""

from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from aimc_robust.errors import DataError

SPLITS = ("x_train", "y_train", "x_test", "y_test")
TEST_PAIRS = (("x_test", "y_test"), ("x", "y"), ("images", "labels"))
Arrays = tuple[np.ndarray, np.ndarray]
"""Images (N, H, W, C) and labels (N,)."""


def npz_splits(path: Path) -> tuple[Arrays, Arrays]:
    """Return the training and the test split of a file, images as float32, uint8 ones divided by 255.

    Raises:
        DataError: If the file or an array is missing, damaged or invalid.
    """
    with _open(path, SPLITS) as file:
        return _labelled(path, file, "x_train", "y_train"), _labelled(path, file, "x_test", "y_test")


def npz_images(path: Path) -> Arrays:
    """Return the test images of a file, uint8 or float32, and their labels; errors are those of `npz_splits`."""
    with _open(path, *TEST_PAIRS) as file:
        names = next(names for names in TEST_PAIRS if set(names) <= set(file.files))
        return _labelled(path, file, *names, keep_bytes=True)


def has_training_split(path: Path) -> bool:
    """Whether a file has a training split."""
    with _open(path, SPLITS, *TEST_PAIRS) as file:
        return set(SPLITS) <= set(file.files)


def _open(path: Path, *choices: tuple[str, ...]) -> NpzFile:
    """Open a file that holds all arrays of one of the choices."""
    if not path.is_file():
        expected = " or ".join(", ".join(names) for names in choices)
        raise DataError(f"there is no data file {path}; give an .npz with the arrays {expected}.")
    try:
        file = np.load(path, allow_pickle=False)
    except Exception as error:  # numpy and zipfile raise many types for other files
        raise DataError(f"{path} cannot be read as an .npz of plain arrays: {error}.") from None
    if not isinstance(file, NpzFile):
        raise DataError(f"{path} holds a single array; expected an .npz, as numpy.savez writes it.")
    if not any(set(names) <= set(file.files) for names in choices):
        missing = [name for name in choices[0] if name not in file.files]
        other = f" (or {' or '.join(', '.join(names) for names in choices[1:])})" if choices[1:] else ""
        raise DataError(f"{path} lacks {', '.join(missing)}{other}; it holds {', '.join(sorted(file.files))}.")
    return file


def _labelled(path: Path, file: NpzFile, images: str, labels: str, *, keep_bytes: bool = False) -> Arrays:
    pixels = _images(f"{path}: {images}", _array(path, file, images), keep_bytes)
    return pixels, _labels(f"{path}: {labels}", _array(path, file, labels), len(pixels))


def _array(path: Path, file: NpzFile, name: str) -> np.ndarray:
    try:
        array = file[name]
    except Exception as error:  # numpy and zipfile raise many types for damaged arrays and pickled objects
        raise DataError(f"{path}: {name} cannot be read as a plain array: {error}.") from None
    if not isinstance(array, np.ndarray):  # numpy returns the bytes of a member in another format
        raise DataError(f"{path}: {name} is no array; write the file with numpy.savez({path.name!r}, {name}=...).")
    return array


def _images(name: str, array: np.ndarray, keep_bytes: bool) -> np.ndarray:
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
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite
        images = np.ascontiguousarray(array, dtype=np.float32) / (255.0 if array.dtype == np.uint8 else 1.0)
    if not np.isfinite(images).all():
        raise DataError(f"{name} holds NaN, infinity or numbers beyond float32; remove these images.")
    return images


def _labels(name: str, array: np.ndarray, images: int) -> np.ndarray:
    if array.ndim != 1 or array.dtype.kind not in "ui" or len(array) != images:
        raise DataError(f"{name} must hold one whole number per image ({images}), got {array.dtype} {array.shape}.")
    for label in (array.min(), array.max()):
        if not 0 <= label < 2**31:
            raise DataError(f"{name} holds the label {label}; labels start at 0 and stay below 2^31.")
    return array.astype(np.int64)
