"""torchvision's data sets of one class per image: what they call their splits, and the files that they expect."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from aimc_robust.data.image_files import ImageFiles
from aimc_robust.errors import DataError, MissingDependencyError, require_known

# What each calls its test and its training split.
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

_GONE = ("LFWPeople", "StanfordCars")  # their sources went offline
_IDX = "/raw/ with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
# What each expects below its root.
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
    """One split of a data set, as torchvision gives it.

    download: fetch what is missing; None: the caller is no spec, which could ask for it.
    Raises DataError in one sentence, with the folder and the files expected, for files that are missing or damaged;
    UnknownNameError for an unknown set; MissingDependencyError without torchvision.
    """
    datasets = torchvision_datasets(f"the data set {name}")
    require_known("torchvision data set", name, DATASETS)
    cls = getattr(datasets, name)
    can_download = name not in _GONE and any(
        "download" in inspect.signature(base).parameters for base in cls.__mro__[:-1]
    )
    mend = "put them there"
    unpacks = download or (name == "ImageNet" and any(root.glob("ILSVRC2012_*.tar*")))
    with _alone(root, name) if unpacks else nullcontext():
        try:
            return cls(str(root), **split)
        except Exception as error:  # torchvision raises many kinds for files that are missing or damaged
            reason = _words(error)
        if download and can_download:
            try:
                return cls(str(root), **split, download=True)
            except Exception as error:  # also no network, a full disk, a mirror that is down
                mend += f" by hand, as torchvision could not download them ({_words(error)})"
    if not can_download:
        mend += ", torchvision does not download this set"
    elif download is None:
        mend += f", or load it once with torchvision.datasets.{name}({str(root)!r}, download=True)"
    elif not download:
        mend += ", or set download = true"
    raise DataError(f"the data set {name} is not complete in {root} ({reason}): expected {FILES[name]}; {mend}.")


def torchvision_datasets(what: str) -> Any:
    """torchvision's module of data sets. Raises MissingDependencyError that says `what` needs it."""
    try:
        from torchvision import datasets
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs torchvision ({error}); install it with: pip install 'aimc-robust[vision]'"
        ) from None
    return datasets


def files_of(dataset: Any, root: Path, size: int | None, resize: int | None) -> tuple[ImageFiles, list[int]] | None:
    """The picture files and labels of a split, where torchvision keeps it as files that it reads as RGB."""
    for attribute in ("samples", "_samples", "imgs"):
        pairs = getattr(dataset, attribute, None)
        if pairs and isinstance(pairs[0][0], str | Path) and isinstance(pairs[0][1], int):
            return ImageFiles(str(root), [str(path) for path, _ in pairs], size, resize), [label for _, label in pairs]
    paths, labels = (getattr(dataset, attribute, None) for attribute in ("_image_files", "_labels"))
    if paths and labels:
        return ImageFiles(str(root), [str(path) for path in paths], size, resize), list(labels)
    return None


def _words(error: Exception) -> str:
    """What torchvision says, on one line and without its advice, which is in later sentences."""
    text = " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return text or type(error).__name__


@contextmanager
def _alone(root: Path, name: str) -> Iterator[None]:
    """One process at a time downloads or unpacks; the others find the files there."""
    from filelock import FileLock

    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f".{name}.lock")
        lock.acquire()
    except OSError:  # a folder that nobody may write to: nothing will be unpacked there
        yield
        return
    try:
        yield
    finally:
        lock.release()
