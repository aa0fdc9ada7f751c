"""cifar_images.py: which images of CIFAR-100 the CPU scales train on, choose settings by, and test on."""

import subprocess
import sys

import numpy as np
import pytest
from support.paper_specs import BENCHMARKS

CLASSES, TRAINING, TESTING = 21, 402, 2  # images of each class; one class and two images more than are used


def numbered(per_class, start=0):
    """Images that hold their own number in base 256, as four equal pixels of each 2 x 2 block, and their labels."""
    count = CLASSES * per_class
    number = np.arange(start, start + count)
    images = np.zeros((count, 32, 32, 3), np.uint8)
    images[:, :2, :2, 0], images[:, :2, :2, 1] = (number // 256)[:, None, None], (number % 256)[:, None, None]
    return images, np.arange(count) % CLASSES


def numbers(images):
    return images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1]


@pytest.mark.slow
def test_images_of_one_use_are_in_no_other(tmp_path):
    (x_train, y_train), (x_test, y_test) = numbered(TRAINING), numbered(TESTING, start=CLASSES * TRAINING)
    np.savez(tmp_path / "cifar100.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    subprocess.run([sys.executable, BENCHMARKS / "cifar_images.py", tmp_path / "cifar100.npz", tmp_path], check=True)
    run, tune = (dict(np.load(tmp_path / f"cifar100-16{kind}.npz")) for kind in ("", "-tune"))
    assert [len(run["x_train"]), len(run["x_test"])] == [20 * 150, 20 * (TESTING + 150)]
    assert [len(tune["x_train"]), len(tune["x_test"])] == [20 * 400, 20 * 2]
    uses = [set(numbers(images)) for images in (run["x_train"], run["x_test"], tune["x_test"])]
    assert sum(map(len, uses)) == len(set.union(*uses))
    assert not set(numbers(tune["x_train"])) & set(numbers(tune["x_test"]))
    for part in (run, tune):
        for split in ("train", "test"):
            assert set(part[f"y_{split}"]) == set(range(20))
            assert np.array_equal(numbers(part[f"x_{split}"]) % CLASSES, part[f"y_{split}"])


def test_a_pixel_is_the_rounded_mean_of_four(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (CLASSES, 32, 32, 3)).astype(np.uint8)
    parts = {f"x_{split}": images for split in ("train", "test")} | {
        f"y_{split}": np.arange(CLASSES) for split in ("train", "test")
    }
    np.savez(tmp_path / "cifar100.npz", **parts)
    subprocess.run([sys.executable, BENCHMARKS / "cifar_images.py", tmp_path / "cifar100.npz", tmp_path], check=True)
    found = np.load(tmp_path / "cifar100-16.npz")["x_test"][3]
    block = images[3, 4:6, 10:12].astype(float)
    assert np.abs(found[2, 5] - block.mean(axis=(0, 1))).max() <= 0.5
