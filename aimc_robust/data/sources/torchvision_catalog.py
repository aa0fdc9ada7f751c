"""Data sets of torchvision with one class per image: names of their splits, and the files that they expect."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from aimc_robust.data.image_files import ImageFiles
from aimc_robust.data.sources.folders import Files
from aimc_robust.errors import DataError, MissingDependencyError, require_known

# Arguments that select the test and the training split.
_FLAG = ({"train": False}, {"train": True})
_TEST = ({"split": "test"}, {"split": "train"})
_VALIDATION = ({"split": "val"}, {"split": "train"})  # their test labels are not public
DATASETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **dict.fromkeys(("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "QMNIST", "USPS"), _FLAG),
    **dict.fromkeys(("Country211", "DTD", "FER2013", "FGVCAircraft", "Flowers102", "Food101", "GTSRB"), _TEST),
    **dict.fromkeys(("LFWPeople", "PCAM", "RenderedSST2", "STL10", "SVHN", "StanfordCars"), _TEST),
    **dict.fromkeys(("CLEVRClassification", "ImageNet", "Imagenette"), _VALIDATION),
    "OxfordIIITPet": ({"split": "test"}, {"split": "trainval"}),
    "Places365": ({"split": "val"}, {"split": "train-standard"}),
}

_OFFLINE = ("LFWPeople", "StanfordCars")  # their sources went offline
_IDX = "/raw/ with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
# Files that each data set expects below its root.
FILES: dict[str, str] = {
    "CIFAR10": "cifar-10-batches-py/ with data_batch_1 to data_batch_5, test_batch and batches.meta",
    "CIFAR100": "cifar-100-python/ with train, test and meta",
    **{name: name + _IDX for name in ("FashionMNIST", "KMNIST", "MNIST")},
    "QMNIST": "QMNIST/raw/ with qmnist-train-images-idx3-ubyte, qmnist-train-labels-idx2-int, "
    "qmnist-test-images-idx3-ubyte and qmnist-test-labels-idx2-int",
    "USPS": "usps.bz2 and usps.t.bz2",
    "Country211": "country211/ with train and test",
    "DTD": "dtd/dtd/ with images and labels",
    "FER2013": "fer2013/ with fer2013.csv or icml_face_data.csv",
    "FGVCAircraft": "fgvc-aircraft-2013b/data/ with images, variants.txt, images_variant_train.txt and "
    "images_variant_test.txt",
    "Flowers102": "flowers-102/ with jpg, imagelabels.mat and setid.mat",
    "Food101": "food-101/ with images, meta/train.json and meta/test.json",
    "GTSRB": "gtsrb/ with GTSRB/Training, GTSRB/Final_Test/Images and GT-final_test.csv",
    "LFWPeople": "lfw-py/ with lfw-funneled.tgz, lfw_funneled, peopleDevTrain.txt, peopleDevTest.txt and lfw-names.txt",
    "PCAM": "pcam/ with camelyonpatch_level_2_split_train_x.h5, camelyonpatch_level_2_split_train_y.h5, "
    "camelyonpatch_level_2_split_test_x.h5 and camelyonpatch_level_2_split_test_y.h5",
    "RenderedSST2": "rendered-sst2/ with train and test",
    "STL10": "stl10_binary/ with train_X.bin, train_y.bin, unlabeled_X.bin, test_X.bin and test_y.bin",
    "SVHN": "train_32x32.mat and test_32x32.mat",
    "StanfordCars": "stanford_cars/ with devkit, cars_train, cars_test and cars_test_annos_withlabels.mat",
    "CLEVRClassification": "clevr/CLEVR_v1.0/ with images and scenes",
    "ImageNet": "ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, or what "
    "torchvision makes of them (meta.bin, train and val with a folder for each class)",
    "Imagenette": "imagenette2/ with train and val",
    "OxfordIIITPet": "oxford-iiit-pet/ with images and annotations",
    "Places365": "categories_places365.txt, places365_train_standard.txt, places365_val.txt, data_large_standard and "
    "val_large",
}


def open_split(name: str, root: Path, split: dict[str, Any], *, download: bool | None = None) -> Any:
    """Open one split of a data set.

    Args:
        name: One of DATASETS.
        root: Folder of the files.
        split: Arguments that select the split.
        download: Download missing files. None means that the caller has no such option (it is not a spec), which
            changes the advice in the error message.

    Returns:
        torchvision's data set.

    Raises:
        DataError: If files are missing or damaged; the message names the folder and the files expected.
        UnknownNameError: If the name is unknown.
        MissingDependencyError: If torchvision is not installed.
    """
    datasets = torchvision_datasets(f"the data set {name}")
    require_known("torchvision data set", name, DATASETS)
    cls = getattr(datasets, name)
    can_download = name not in _OFFLINE and any(
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


def torchvision_datasets(feature: str) -> Any:
    """Import torchvision's module of data sets.

    Args:
        feature: What needs torchvision, for the message.

    Raises:
        MissingDependencyError: If torchvision is not installed.
    """
    try:
        from torchvision import datasets
    except ImportError as error:
        raise MissingDependencyError(
            f"{feature} needs torchvision ({error}); install it with: pip install 'aimc-robust[vision]'"
        ) from None
    return datasets


def image_files_of(dataset: Any, root: Path, size: int | None, resize: int | None) -> Files | None:
    """Return the image files and labels of a split, or None unless torchvision stores it as RGB image files.

    Args:
        dataset: A split as returned by `open_split`.
        root: Folder of the files.
        size: Side of the square that each image is cropped to [pixels]; see `ImageFiles`.
        resize: Length that the shorter side is first scaled to [pixels].
    """
    paths, labels = _paths_and_labels(dataset)
    if not paths or not labels:
        return None
    return ImageFiles(str(root), [str(path) for path in paths], size, resize), np.asarray(labels, dtype=np.int64)


def _paths_and_labels(dataset: Any) -> tuple[list[Any] | None, list[int] | None]:
    for attribute in ("samples", "_samples", "imgs"):
        pairs = getattr(dataset, attribute, None)
        if pairs and isinstance(pairs[0][0], str | Path) and isinstance(pairs[0][1], int):
            return [path for path, _ in pairs], [label for _, label in pairs]
    return getattr(dataset, "_image_files", None), getattr(dataset, "_labels", None)


def _first_sentence(error: Exception) -> str:
    """Return torchvision's message on one line and without its advice, which is in later sentences."""
    text = " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return text or type(error).__name__


@contextmanager
def _download_lock(root: Path, name: str) -> Iterator[None]:
    """Let one process at a time download or unpack; the others then find the files."""
    from filelock import FileLock

    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f".{name}.lock")
        lock.acquire()
    except OSError:  # the folder is not writable, so nothing can be unpacked in it
        yield
        return
    try:
        yield
    finally:
        lock.release()
