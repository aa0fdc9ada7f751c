"""Data sets in folders: train/ and test/ or val/, with a folder for each class, or as Tiny-ImageNet has them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from aimc_robust.data.image_files import ImageFiles
from aimc_robust.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # as torchvision
Files = tuple[ImageFiles, np.ndarray]
"""Picture files and their labels (N,) int64."""


def labelled_files(path: Path, size: int | None, resize: int | None, classes: list[str] | None = None) -> Files:
    """The pictures anywhere below the folders of their classes, which are numbered in the given or sorted order.

    Raises DataError for a folder that is missing, a class without images, or no classes at all.
    """
    if not path.is_dir():
        raise DataError(f"there is no folder {path}; give one that holds a folder of images for each class.")
    paths: list[str] = []
    labels: list[int] = []
    names = classes or class_names(path)
    for label, name in enumerate(names):
        found = _pictures_below(path / name)
        if not found:
            raise DataError(f"{path} holds no images in a folder for each class: {name} has none; add or remove it.")
        paths += found
        labels += [label] * len(found)
    if not names:
        raise DataError(f"{path} holds no images in a folder for each class; expected at least one class.")
    return ImageFiles(str(path), paths, size, resize), np.asarray(labels, dtype=np.int64)


def folder_splits(path: Path, size: int | None, resize: int | None) -> tuple[Files, Files]:
    """The training and the test pictures of a data set.

    Classes are the folders in train/, in the order of wnids.txt where there is one, else sorted. Test pictures are
    those listed in val/val_annotations.txt, in val/images (Tiny-ImageNet, whose test/ has no labels); else those in
    test/ if it has folders of these classes; else those in val/.
    Raises DataError, in one sentence, for what is missing or does not fit.
    """
    if not (path / "train").is_dir():
        raise DataError(
            f"there is no folder {path / 'train'}; expected {path} to hold train/ and test/ or val/, each with a "
            "folder of images for each class."
        )
    names = _class_order(path)
    train = labelled_files(path / "train", size, resize, names)
    if (path / "val" / "val_annotations.txt").is_file():
        return train, _annotated(path / "val", names, size, resize)
    with_classes = [part for part in ("test", "val") if set(class_names(path / part)) & set(names)]
    if not with_classes:
        raise DataError(f"{path} has no test images: expected test/ or val/ with a folder for each class of train/.")
    part = path / with_classes[0]
    have = set(class_names(part))
    if have != set(names):
        lacks, extra = sorted(set(names) - have), sorted(have - set(names))
        fault = f"lacks the class {lacks[0]}" if lacks else f"has the class {extra[0]}, which train/ lacks"
        raise DataError(f"{part} {fault}; expected the {len(names)} classes of train/, each with a folder of images.")
    return train, labelled_files(part, size, resize, names)


def class_names(path: Path) -> list[str]:
    """The folders in a folder, sorted; none where there is no such folder."""
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir()) if path.is_dir() else []


def _class_order(path: Path) -> list[str]:
    """The classes in the order of their numbers."""
    names, order = class_names(path / "train"), path / "wnids.txt"
    if not order.is_file():
        return names
    listed = order.read_text(encoding="utf-8").split()
    if sorted(listed) != names:
        odd = sorted(set(listed) ^ set(names))
        raise DataError(
            f"{order} does not list the folders in train/ once each (see {odd[0] if odd else 'a name that is twice'}); "
            "mend it, or remove it to number the classes in sorted order."
        )
    return listed


def _annotated(val: Path, names: list[str], size: int | None, resize: int | None) -> Files:
    """Tiny-ImageNet's validation images: a line `file class box ...` for each."""
    numbers = {name: number for number, name in enumerate(names)}
    paths: list[str] = []
    labels: list[int] = []
    table = val / "val_annotations.txt"
    for line in table.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0].strip()
        if wnid not in numbers:
            raise DataError(f"{table}: the line {line!r} names no class of train/; expected FILE, tab, CLASS.")
        paths.append(str(val / "images" / name))
        labels.append(numbers[wnid])
    lost = next((path for path in paths if not os.path.isfile(path)), None)
    if lost or not paths:
        raise DataError(
            f"{table} lists {lost or 'no images'}, expected files in {val / 'images'}; unpack the set again."
        )
    return ImageFiles(str(val), paths, size, resize), np.asarray(labels, dtype=np.int64)


def _pictures_below(folder: Path) -> list[str]:
    walk = sorted(os.walk(folder, followlinks=True))
    return [os.path.join(where, f) for where, _, files in walk for f in sorted(files) if f.lower().endswith(EXTENSIONS)]
