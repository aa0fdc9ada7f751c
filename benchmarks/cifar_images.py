"""Write twenty classes of CIFAR-100 at 16 x 16 pixels, for the scales cpu-cifar-10 and cpu-cifar-20.

    python benchmarks/cifar_images.py benchmarks/data/cifar100.npz benchmarks/data

cifar100-16.npz: of the first 20 classes in the usual (alphabetical) order, the first 400 training images of a class and
all its 100 test images; a pixel is the mean of four.
cifar100-16-tune.npz, for choosing settings: the last 100 training images of a class take the place of its test images.
"""

import argparse
from pathlib import Path

import numpy as np

CLASSES, TRAINING = 20, 400  # classes, and training images of each


def small(images: np.ndarray) -> np.ndarray:
    """Return images (N, 16, 16, 3) uint8 of images (N, 32, 32, 3): each pixel is the rounded mean of 2 x 2."""
    blocks = images.reshape(-1, 16, 2, 16, 2, 3).astype(np.float32)
    return np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)


def within_class(labels: np.ndarray) -> np.ndarray:
    """Return for each image how many images of its class come before it; -1 for other classes (N,)."""
    rank = np.full(len(labels), -1)
    for label in range(CLASSES):
        places = np.flatnonzero(labels == label)
        rank[places] = np.arange(len(places))
    return rank


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="x_train (50000, 32, 32, 3) uint8, y_train, x_test, y_test")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with np.load(options.source) as source:
        arrays = dict(source)
    rank = within_class(arrays["y_train"])
    test = arrays["y_test"] < CLASSES
    training = (rank >= 0) & (rank < TRAINING)
    held_out = rank >= TRAINING
    kept = {"x_train": small(arrays["x_train"][training]), "y_train": arrays["y_train"][training]}
    for name, x, y in (
        ("cifar100-16", arrays["x_test"][test], arrays["y_test"][test]),
        ("cifar100-16-tune", arrays["x_train"][held_out], arrays["y_train"][held_out]),
    ):
        np.savez(options.out / f"{name}.npz", **kept, x_test=small(x), y_test=y)


if __name__ == "__main__":
    main()
