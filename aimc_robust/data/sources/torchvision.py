"""Images and labels of torchvision's data sets, such as CIFAR-100: read into memory, or listed as files."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from aimc_robust.data.decoding import resize_and_center_crop
from aimc_robust.data.image_files import ImageFiles, read_into_memory
from aimc_robust.data.sources.folders import Files
from aimc_robust.data.sources.npz import Arrays
from aimc_robust.data.sources.torchvision_catalog import DATASETS, FILES, OFFLINE
from aimc_robust.errors import DataError, MissingDependencyError, require_known


def torchvision_images(
    name: str, root: Path, size: int | None, resize: int | None, *, training: bool, download: bool | None = None
) -> tuple[Arrays, Arrays | None]:
    """Read a data set of torchvision, in the folder `root`, into memory; see `ImageFiles` for size and resize.

    `download` fetches missing files. None means that the caller has no such option (it is not a spec), which changes
    the advice in the error message.

    Returns:
        (test, training) images and labels; training is None unless requested.

    Raises:
        DataError: If files are missing or damaged (the message names those expected), or images have different sizes.
    """
    splits: list[Arrays] = []
    for dataset in islice(_open_splits(name, root, download), 1 + training):
        files = _image_files(dataset, root, size, resize)
        if files is not None:
            splits.append(read_into_memory(files))
        elif size is None and (arrays := _stored_arrays(dataset)):
            splits.append(arrays)
        else:
            splits.append(_read_each(dataset, size, resize, name))
    return splits[0], splits[1] if training else None


def torchvision_files(
    name: str, root: Path, size: int | None, resize: int | None, *, download: bool | None = None
) -> tuple[Files, Files]:
    """List the (test, training) image files of a data set of torchvision; see `torchvision_images`."""
    test, training = (_image_files(dataset, root, size, resize) for dataset in _open_splits(name, root, download))
    if test is None or training is None:
        raise DataError(f"the data set {name} has no image files; set stream = false to read it into memory.")
    return test, training


def _open_splits(name: str, root: Path, download: bool | None) -> Iterator[Any]:
    """Open the test split, then the training split."""
    require_known("torchvision data set", name, DATASETS)
    try:
        from torchvision import datasets
    except ImportError as error:
        raise MissingDependencyError(
            f"the data set {name} needs torchvision ({error}); install it with: pip install 'aimc-robust[vision]'"
        ) from None
    for split in DATASETS[name]:
        yield _open(getattr(datasets, name), name, root, split, download)


def _open(cls: Any, name: str, root: Path, split: dict[str, Any], download: bool | None) -> Any:
    can_download = name not in OFFLINE and any(
        "download" in inspect.signature(base).parameters for base in cls.__mro__[:-1]
    )
    remedy = "put them there"
    unpacks = download or (name == "ImageNet" and any(root.glob("ILSVRC2012_*.tar*")))
    with _download_lock(root, name) if unpacks else nullcontext():
        try:
            return cls(str(root), **split)
        except Exception as error:  # torchvision raises many types for files that are missing or damaged
            reason = _first_sentence(error)
        if download and can_download:
            try:
                return cls(str(root), **split, download=True)
            except Exception as error:  # also no network, a full disk, a mirror that is down
                remedy += f" by hand, as torchvision could not download them ({_first_sentence(error)})"
    if not can_download:
        remedy += ", torchvision does not download this set"
    elif download is None:
        remedy += f", or load it once with torchvision.datasets.{name}({str(root)!r}, download=True)"
    elif not download:
        remedy += ", or set download = true"
    raise DataError(f"the data set {name} is not complete in {root} ({reason}): expected {FILES[name]}; {remedy}.")


def _first_sentence(error: Exception) -> str:
    """Return torchvision's message on one line and without its advice, which is in later sentences."""
    text = " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return text or type(error).__name__


def _download_lock(root: Path, name: str) -> AbstractContextManager[Any]:
    """Let one process at a time download or unpack; the others then find the files."""
    from filelock import FileLock

    try:
        root.mkdir(parents=True, exist_ok=True)
        return FileLock(root / f".{name}.lock").acquire()
    except OSError:  # the folder is not writable, so nothing can be unpacked in it
        return nullcontext()


def _image_files(dataset: Any, root: Path, size: int | None, resize: int | None) -> Files | None:
    """Return the image files and labels of a split, or None unless torchvision stores it as RGB image files."""
    paths, labels = getattr(dataset, "_image_files", None), getattr(dataset, "_labels", None)
    for attribute in ("samples", "_samples", "imgs"):
        pairs = getattr(dataset, attribute, None)
        if pairs and isinstance(pairs[0][0], str | Path) and isinstance(pairs[0][1], int):
            paths, labels = zip(*pairs, strict=True)
            break
    if not paths or not labels:
        return None
    return ImageFiles(str(root), [str(path) for path in paths], size, resize), np.asarray(labels, dtype=np.int64)


def _stored_arrays(dataset: Any) -> Arrays | None:
    """Return images and labels that torchvision stores as uint8 arrays, much faster than image by image."""
    images, labels = (np.asarray(getattr(dataset, name, None)) for name in ("data", "targets"))
    is_gray, is_rgb = images.ndim == 3, images.ndim == 4 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (is_gray or is_rgb) or labels.shape != images.shape[:1]:
        return None  # SVHN has its channels first, QMNIST several labels, others no arrays
    return images[..., None] if is_gray else images, labels.astype(np.int64)


def _read_each(dataset: Any, size: int | None, resize: int | None, source: str) -> Arrays:
    """Return images and labels that torchvision gives one by one."""
    images, labels = [], []
    for i in range(len(dataset)):
        try:
            image, label = dataset[i]
        except OSError as error:
            raise DataError(f"image {i} cannot be read as an image: {error}; repair or remove it.") from None
        pixels = np.asarray(image if size is None else resize_and_center_crop(image, size, resize))
        images.append(pixels[..., None] if pixels.ndim == 2 else pixels)
        labels.append(label)
        if images[0].shape != images[-1].shape:
            raise DataError(
                f"{source} holds images of different sizes ({images[0].shape} and {images[-1].shape}); set --size N "
                "(in a spec: size = N) to scale and crop all images."
            )
    if not images:
        raise DataError(f"{source} holds no images; expected at least one.")
    try:
        return np.stack(images), np.asarray(labels, dtype=np.int64)
    except (TypeError, ValueError):
        raise DataError(f"{source} has images whose label is not a class number; it is not supported.") from None
