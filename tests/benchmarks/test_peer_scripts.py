"""The data that the scripts of benchmarks/ write, and what those of benchmarks/peers share."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
from support.paper_specs import BENCHMARKS


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small Fashion-MNIST of random images, and what fashion_images.py makes of it."""
    source, out = tmp_path_factory.mktemp("idx"), tmp_path_factory.mktemp("npz")
    pixels, raw = np.random.default_rng(0), {}
    for split, count in {"train": 7000, "t10k": 1000}.items():
        images = pixels.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = pixels.integers(0, 10, count, dtype=np.uint8)
        raw[split] = images, labels
        (source / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + images.tobytes(), 1))
        (source / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + labels.tobytes(), 1))
    subprocess.run([sys.executable, BENCHMARKS / "fashion_images.py", source, out], check=True)
    return raw, {path.stem: dict(np.load(path)) for path in out.iterdir()}


def test_small_images_are_means_of_four_pixels(written):
    raw, arrays = written
    images, labels = raw["t10k"]
    expected = sum(images[:, i::2, j::2].astype(float) for i in (0, 1) for j in (0, 1)) / 4
    assert np.abs(arrays["fashion-14"]["x_test"][..., 0] - expected).max() <= 0.5
    assert (arrays["fashion-14"]["y_test"] == labels).all()


def test_settings_are_chosen_on_images_that_are_neither_trained_nor_tested_on(written):
    raw, arrays = written
    final, tuning = arrays["fashion-14"], arrays["fashion-14-tune"]
    assert (final["x_train"] == tuning["x_train"]).all()
    assert (tuning["y_test"] == raw["train"][1][6000:]).all()
    training = {image.tobytes() for image in final["x_train"]}
    assert len(training) == 6000
    assert not training & {image.tobytes() for image in tuning["x_test"]}


def test_whole_images_are_those_of_the_files(written):
    raw, arrays = written
    assert (arrays["fashion-28"]["x_train"][..., 0] == raw["train"][0]).all()
    assert (arrays["fashion-28"]["y_test"] == raw["t10k"][1]).all()
