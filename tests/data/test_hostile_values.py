"""Values from Python that no training set can be made of: one sentence each."""

import numpy as np
import pytest
import torch

import aimc_robust as ar
from aimc_robust.data.augmentation import StreamedAugmentation
from aimc_robust.data.image_files import ImageFiles
from aimc_robust.errors import AimcError

NAN = float("nan")
X, Y = torch.rand(6, 1, 4, 4), torch.arange(6)
OBJECTS = np.array([object()] * 6, dtype=object)
FILES = ImageFiles("folder", [f"{i}.png" for i in range(6)], size=4)


def images(inputs=X, labels=Y, **options):
    return ar.Images(inputs, labels, **options)


def streamed(files=FILES, labels=Y, **options):
    return ar.StreamedImages(files, labels, **({"mean": [0.5] * 3, "std": [0.2] * 3} | options))


CALLS = {
    "objects": (lambda: images(OBJECTS), "inputs must be a tensor"),
    "an array": (lambda: images(X.numpy()), "inputs must be a tensor"),
    "lists": (lambda: images([[1.0]] * 6), "inputs must be a tensor"),
    "a number": (lambda: images(torch.tensor(1.0), torch.tensor(0)), r"inputs must be a dense tensor.*got \(\)"),
    "sparse": (lambda: images(X.to_sparse()), "inputs must be a dense tensor"),
    "none": (lambda: images(X[:0], Y[:0]), "at least one"),
    "labels of numpy": (lambda: images(labels=Y.numpy()), "labels must be.*ndarray"),
    "complex labels": (lambda: images(labels=Y.to(torch.complex64)), "labels must be.*complex64"),
    "a text as mean": (lambda: images(mean="a", std="b"), "mean must hold one finite number.*'a'"),
    "texts as mean": (lambda: images(mean=["a"], std=[1]), r"mean must hold.*\['a'\]"),
    "NaN as std": (lambda: images(mean=[0], std=[NAN]), "std must hold one finite number above 0"),
    "black of other channels": (lambda: images(black=[0, 0]), "black must hold.*1 channels"),
    "augmentation": (lambda: images(augmentation="flip"), "augmentation must be an Augmentation.*'flip'"),
    "augmentation of files": (lambda: images(augmentation=StreamedAugmentation()), "must be an Augmentation"),
    "a border beyond memory": (lambda: ar.Augmentation(crop=10**9), "crop must be.*1024"),
    "batch_size": (lambda: images().epoch(1, batch_size="8"), "batch_size must be"),
    "seed": (lambda: images().epoch(1, batch_size=2, seed="a"), "seed must be"),
    "epoch": (lambda: images().epoch("1", batch_size=2), "epoch must be"),
    "no files": (lambda: streamed(None), "files must be"),
    "a folder's name": (lambda: streamed("folder"), "files must be.*'folder'"),
    "labels of files": (lambda: streamed(labels=None), "labels must be.*NoneType"),
    "std 0": (lambda: streamed(std=[0.2, 0.0, 0.2]), "std must hold one finite number above 0 for each of the 3"),
    "mean of other channels": (lambda: streamed(mean=[0.5]), "mean must hold.*3 channels"),
    "augmentation of images": (lambda: streamed(augmentation=ar.Augmentation()), "must be a StreamedAugmentation"),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_is_refused_in_a_sentence(name):
    function, message = CALLS[name]
    with pytest.raises(AimcError, match=message) as caught:
        function()
    assert "\n" not in str(caught.value)
