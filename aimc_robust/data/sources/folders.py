"""Data sets in folders: train/ and test/ or val/ with a folder for each class, or Tiny-ImageNet's layout."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from aimc_robust.data.image_files import ImageFiles
from aimc_robust.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # as torchvision
Files = tuple[ImageFiles, np.ndarray]
"""Image files and their labels (N,) int64."""


def labelled_files(path: Path, size: int | None, resize: int | None, classes: list[str] | None = None) -> Files:
    """List the image files, at any depth, below a folder for each class; see `ImageFiles` for size and resize.

    Labels number the classes in the given order; None sorts the folders' names.
    """
    if not path.is_dir():
        raise DataError(f"the folder {path} does not exist; expected one with a folder of images for each class.")
    paths: list[str] = []
    labels: list[int] = []
    names = classes or class_names(path)
    for label, name in enumerate(names):
        files = [
            os.path.join(directory, file)
            for directory, _, names_in_it in sorted(os.walk(path / name, followlinks=True))
            for file in sorted(names_in_it)
            if file.lower().endswith(EXTENSIONS)
        ]
        if not files:
            raise DataError(f"{path} holds no images in a folder for each class: {name} has none; add or remove it.")
        paths += files
        labels += [label] * len(files)
    if not names:
        raise DataError(f"{path} holds no images in a folder for each class; expected at least one class.")
    return ImageFiles(str(path), paths, size, resize), np.asarray(labels, dtype=np.int64)


def folder_splits(path: Path, size: int | None, resize: int | None) -> tuple[Files, Files]:
    """List the training and the test images of a data set.

    Classes are the folders in train/, in the order of wnids.txt if it exists, else sorted. Test images are those listed
    in val/val_annotations.txt, in val/images (Tiny-ImageNet, whose test/ has no labels); else those in test/ if it has
    folders of these classes; else those in val/. See `ImageFiles` for size and resize.
    """
    if not (path / "train").is_dir():
        raise DataError(
            f"the folder {path / 'train'} does not exist; expected {path} to hold train/ and test/ or val/, each with "
            "a folder of images for each class."
        )
    names = _class_order(path)
    train = labelled_files(path / "train", size, resize, names)
    if (path / "val" / "val_annotations.txt").is_file():
        return train, _annotated(path / "val", names, size, resize)
    candidates = [name for name in ("test", "val") if set(class_names(path / name)) & set(names)]
    if not candidates:
        raise DataError(f"{path} has no test images: expected test/ or val/ with a folder for each class of train/.")
    test = path / candidates[0]
    test_names = set(class_names(test))
    if test_names != set(names):
        missing, extra = sorted(set(names) - test_names), sorted(test_names - set(names))
        difference = f"lacks the class {missing[0]}" if missing else f"has the class {extra[0]}, which train/ lacks"
        raise DataError(
            f"{test} {difference}; expected the {len(names)} classes of train/, each with a folder of images."
        )
    return train, labelled_files(test, size, resize, names)


def class_names(path: Path) -> list[str]:
    """Return the sorted names of the folders in a folder; an empty list if it does not exist."""
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir()) if path.is_dir() else []


def _class_order(path: Path) -> list[str]:
    """Return the class names in the order of their labels."""
    names, order = class_names(path / "train"), path / "wnids.txt"
    if not order.is_file():
        return names
    listed = order.read_text(encoding="utf-8").split()
    if sorted(listed) != names:
        different = sorted(set(listed) ^ set(names))
        raise DataError(
            f"{order} must list each folder in train/ once (see {different[0] if different else 'the repeated name'})"
            "; correct it, or remove it to number the classes in sorted order."
        )
    return listed


def _annotated(val: Path, names: list[str], size: int | None, resize: int | None) -> Files:
    """List Tiny-ImageNet's validation images, from a line `file class box ...` for each."""
    label_of = {name: label for label, name in enumerate(names)}
    paths: list[str] = []
    labels: list[int] = []
    table = val / "val_annotations.txt"
    for line in table.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        name, _, columns = line.partition("\t")
        wnid = columns.partition("\t")[0].strip()
        if wnid not in label_of:
            raise DataError(f"{table}: the line {line!r} names no class of train/; expected FILE, tab, CLASS.")
        paths.append(str(val / "images" / name))
        labels.append(label_of[wnid])
    missing = next((path for path in paths if not os.path.isfile(path)), None)
    if missing or not paths:
        raise DataError(
            f"{table} lists {missing or 'no images'}, expected files in {val / 'images'}; unpack the set again."
        )
    return ImageFiles(str(val), paths, size, resize), np.asarray(labels, dtype=np.int64)
