"""Write twenty classes of CIFAR-100 at 16 x 16 pixels, for cpu-cifar-twenty and cpu-cifar-ten (the first ten).

    python benchmarks/cifar_images.py benchmarks/data/cifar100.npz benchmarks/data

A pixel is the mean of four. cifar100-16.npz: of the first 20 classes in the usual (alphabetical) order, the first 150
training images of a class; for testing its 100 test images and the next 150 training images, because few test images
make the intervals of differences wide.
cifar100-16-tune.npz, for choosing settings: the first 400 training images of a class for training, the last 100 for
testing.
"""

import argparse
from pathlib import Path

import numpy as np

CLASSES = 20


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
        x, y = small(source["x_train"]), source["y_train"]
        x_test, y_test = small(source["x_test"]), source["y_test"]
    rank, test = within_class(y), y_test < CLASSES
    first, next_ones, last = (rank >= 0) & (rank < 150), (rank >= 150) & (rank < 300), rank >= 400
    tested = np.concatenate([x_test[test], x[next_ones]]), np.concatenate([y_test[test], y[next_ones]])
    np.savez(options.out / "cifar100-16.npz", x_train=x[first], y_train=y[first], x_test=tested[0], y_test=tested[1])
    tuning = (rank >= 0) & (rank < 400)
    np.savez(options.out / "cifar100-16-tune.npz", x_train=x[tuning], y_train=y[tuning], x_test=x[last], y_test=y[last])


if __name__ == "__main__":
    main()
