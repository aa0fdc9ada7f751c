"""Write parts of Fashion-MNIST: at 14 x 14 pixels for array_aware_images.toml, whole images for peers/.

    apt-get install dataset-fashion-mnist       # or the four files idx*-ubyte.gz from anywhere else
    python benchmarks/fashion_images.py /usr/share/datasets/fashion-mnist benchmarks/data

fashion-14.npz: the first 6000 images for training and the first 1000 for testing; a pixel is the mean of four.
fashion-14-tune.npz, for choosing settings: 1000 further training images take the place of the test images.
fashion-28.npz: all images as they are.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

TRAINING, TESTING = 6000, 1000
HEADER = {"images": 16, "labels": 8}  # bytes before the values
FILES = {"images": "idx3", "labels": "idx1"}


def read(folder: Path, split: str, kind: str) -> np.ndarray:
    """Return the bytes of one file, images as (N, 28, 28)."""
    with gzip.open(folder / f"{split}-{kind}-{FILES[kind]}-ubyte.gz") as file:
        values = np.frombuffer(file.read(), np.uint8, offset=HEADER[kind])
    return values.reshape(-1, 28, 28) if kind == "images" else values


def small(images: np.ndarray) -> np.ndarray:
    """Return images (N, 14, 14, 1) uint8 of images (N, 28, 28): each pixel is the rounded mean of 2 x 2."""
    blocks = images.reshape(-1, 14, 2, 14, 2).astype(np.float32)
    return np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)[..., None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    whole, labels = (
        {split: read(options.source, split, kind) for split in ("train", "t10k")} for kind in ("images", "labels")
    )
    splits = {"x_train": whole["train"][..., None], "x_test": whole["t10k"][..., None]}
    np.savez(options.out / "fashion-28.npz", **splits, y_train=labels["train"], y_test=labels["t10k"])
    train, test = ((small(whole[split]), labels[split]) for split in ("train", "t10k"))
    held_out = tuple(values[TRAINING:] for values in train)
    for name, (x, y) in {"fashion-14": test, "fashion-14-tune": held_out}.items():
        arrays = {"x_train": train[0][:TRAINING], "y_train": train[1][:TRAINING]}
        np.savez(options.out / f"{name}.npz", **arrays, x_test=x[:TESTING], y_test=y[:TESTING])


if __name__ == "__main__":
    main()
