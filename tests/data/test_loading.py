"""Images: real digits and files, split without overlap, normalised by the training split alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aimc_robust.data.augmentation import Augmentation
from aimc_robust.data.in_memory import Images
from aimc_robust.data.loading import load_data
from aimc_robust.errors import DataError, InputError, UnknownNameError
from aimc_robust.experiments.spec.comparison import DataSpec
from aimc_robust.experiments.spec.loading import load_spec


def arrays(n=40, shape=(6, 5, 3), classes=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    return {"x_train": x, "y_train": np.arange(n) % classes, "x_test": x[:10], "y_test": np.arange(10) % classes}


def from_npz(folder, *, spec=None, **changes):
    np.savez(folder / "images.npz", **(arrays() | changes))
    return load_data(DataSpec(name="npz:images.npz", validation_share=0.25, **(spec or {})), data_seed=0, folder=folder)


def test_digits_are_split_without_overlap_and_cover_all_images(tmp_path):
    data = load_data(DataSpec(name="digits"), data_seed=0, folder=tmp_path)
    parts = [data.training, data.validation, data.test]
    assert sum(len(labels) for _, labels in parts) == 1797
    assert len(data.test[1]) == 599
    assert data.shape == (1, 8, 8)
    assert data.outputs == 10
    images = [{image.numpy().tobytes() for image in x} for x, _ in parts]
    # scikit-learn's digits hold no two equal images, so a shared image would be a leak
    assert sum(len(part) for part in images) == 1797
    assert len(images[0] | images[1] | images[2]) == 1797


def test_the_split_depends_on_the_seed_alone(tmp_path):
    load = lambda seed: load_data(DataSpec(name="digits"), data_seed=seed, folder=tmp_path)  # noqa: E731
    assert load(0).id == load(0).id
    assert load(0).id != load(1).id


def test_normalisation_uses_the_training_split(tmp_path):
    data = from_npz(tmp_path)
    x = data.training[0]
    assert torch.allclose(x.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(x.std(dim=(0, 2, 3), unbiased=False), torch.ones(3), atol=1e-4)
    assert not torch.allclose(data.test[0].mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)


@given(
    height=st.integers(5, 9), width=st.integers(5, 9), channels=st.sampled_from([1, 3]), layout=st.sampled_from("HCG")
)
def test_channels_last_first_and_grey_files_hold_the_same_images(tmp_path_factory, height, width, channels, layout):
    if layout == "G":
        channels = 1
    source = arrays(shape=(height, width, channels))
    stored = dict(source)
    for name in ("x_train", "x_test"):
        if layout == "C":
            stored[name] = np.moveaxis(source[name], -1, 1)
        elif layout == "G":
            stored[name] = source[name][..., 0]
    data = from_npz(tmp_path_factory.mktemp("npz"), **stored)
    assert data.shape == (channels, height, width)
    reference = from_npz(tmp_path_factory.mktemp("npz"), **source)
    assert torch.equal(data.training[0], reference.training[0])
    # Normalisation is one line per channel, so the test images, which keep their order, must fit one exactly.
    for c in range(channels):
        x, y = source["x_test"][..., c].ravel() / 255, data.test[0][:, c].numpy().ravel()
        slope, offset = np.polyfit(x, y, 1)
        assert slope > 0
        np.testing.assert_allclose(y, slope * x + offset, atol=1e-4)


FAULTS = {
    "labels too few": ({"y_train": np.arange(3)}, "one whole number per image"),
    "labels as fractions": ({"y_train": np.linspace(0, 1, 40)}, "one whole number per image"),
    "negative label": ({"y_train": np.arange(40) % 4 - 1}, "labels start at 0"),
    "label unseen in training": ({"y_test": np.full(10, 9)}, "which no training image has"),
    "images of one pixel row": ({"x_train": np.zeros((40, 6), np.uint8)}, r"\(N, H, W\)"),
    "images of another size": ({"x_test": np.zeros((10, 7, 7, 3), np.uint8)}, "expected the same"),
    "text for images": ({"x_test": np.full((10, 6, 5, 3), "a")}, "numbers"),
    "NaN": ({"x_train": np.full((40, 6, 5, 3), np.nan)}, "NaN"),
    "no images": ({"x_test": np.zeros((0, 6, 5, 3), np.uint8), "y_test": np.zeros(0, int)}, r"\(N, H, W\)"),
    "a pickle inside": ({"y_test": np.array([{}] * 10, dtype=object)}, "y_test cannot be read as a plain array"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_arrays_that_do_not_fit_are_refused(fault, tmp_path):
    changes, message = FAULTS[fault]
    with pytest.raises(DataError, match=message):
        from_npz(tmp_path, **changes)


def test_missing_files_and_arrays_are_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.npz.*x_train"):
        load_data(DataSpec(name="npz:gone.npz"), data_seed=0, folder=tmp_path)
    np.savez(tmp_path / "part.npz", x_train=np.zeros((2, 4, 4)))
    with pytest.raises(DataError, match=r"y_train.*x_test.*y_test.*x_train"):
        load_data(DataSpec(name="npz:part.npz"), data_seed=0, folder=tmp_path)
    (tmp_path / "text.npz").write_text("not a zip")
    with pytest.raises(DataError, match=r"\.npz"):
        load_data(DataSpec(name="npz:text.npz"), data_seed=0, folder=tmp_path)
    with pytest.raises(UnknownNameError, match="'digits'"):
        load_data(DataSpec(name="digts"), data_seed=0, folder=tmp_path)


def test_classes_keep_the_images_of_the_labels_below_and_no_other(tmp_path):
    source = arrays()
    few = from_npz(tmp_path, spec={"classes": 2})
    assert few.outputs == 2
    assert [len(part[1]) for part in (few.training, few.validation, few.test)] == [15, 5, 6]
    chosen = {name: source[name][source[name.replace("x_", "y_")] < 2] for name in source}
    reference = from_npz(tmp_path, **chosen)  # a file of these images alone
    assert few.id == reference.id
    assert torch.equal(few.training[0], reference.training[0])
    assert torch.equal(few.test[1], torch.from_numpy(chosen["y_test"]))
    everything = from_npz(tmp_path)
    assert everything.id != few.id
    assert from_npz(tmp_path, spec={"classes": 4}).id == everything.id


def test_classes_that_the_file_does_not_hold_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"classes = 5.*0.*4.*0.*3"):
        from_npz(tmp_path, spec={"classes": 5})
    with pytest.raises(ValueError, match="classes"):
        DataSpec(name="npz:images.npz", classes=1)


def test_the_border_of_a_crop_is_what_a_black_pixel_became(tmp_path):
    source = arrays()
    source["x_test"][0] = 0
    data = from_npz(tmp_path, **source)
    torch.testing.assert_close(data.black[:, None, None].expand(data.shape), data.test[0][0], rtol=1e-6, atol=1e-6)
    images = Images(*data.training, black=data.black, augmentation=Augmentation(crop=1))
    assert torch.equal(images.stored[:, :, 0, 0], data.black.expand(len(images), 3))


def test_augmentation_is_built_as_written(write_spec):
    table = "[data]\naugmentation = { crop = 1, flip = true, cutout = 2 }"
    spec = load_spec(write_spec(("[data]", table)))
    assert spec.data.build_augmentation() == Augmentation(crop=1, flip=True, cutout=2)
    assert load_spec(write_spec()).data.build_augmentation() == Augmentation()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{ crops = 1 }", "'crops'.*'crop'"),
        ("{ crop = -1 }", "got -1"),
        ("{ flip = 1 }", "got 1"),
        ("{ cutout = 2.5 }", "got 2.5"),
        ("4", "augmentation"),
    ],
)
def test_augmentation_that_cannot_be_right_is_told_before_anything_runs(table, message, write_spec):
    with pytest.raises(InputError, match=message):
        load_spec(write_spec(("[data]", f"[data]\naugmentation = {table}")))


def test_classes_also_cuts_the_digits_down():
    data = load_data(DataSpec(name="digits", classes=4), data_seed=0, folder=Path())
    assert data.outputs == 4
    assert {int(label) for part in (data.training, data.validation, data.test) for label in part[1]} == {0, 1, 2, 3}
    with pytest.raises(DataError, match=r"classes = 11.*0.*10.*0.*9"):
        load_data(DataSpec(name="digits", classes=11), data_seed=0, folder=Path())


def test_data_say_how_they_are_normalized(tmp_path):
    data = from_npz(tmp_path)
    x, y = arrays()["x_test"] / 255, data.test[0].double().numpy()
    fits = [np.polyfit(y[:, c].ravel(), x[..., c].ravel(), 1) for c in range(3)]
    mean_std = "/".join(",".join(f"{fit[part]:.4g}" for fit in fits) for part in (1, 0))
    assert data.normalization == (
        f"(pixel - mean) / std with {mean_std}, the mean and standard deviation of the 30 training images that "
        "`compare` trains on (10 more are held out for validation)"
    )
    everything = from_npz(tmp_path, spec={"validation": "test"})
    assert everything.normalization.endswith("of the 40 training images that `compare` trains on")
    given = from_npz(tmp_path, spec={"mean": [0.0], "std": [1.0]})
    assert given.normalization == "(pixel - mean) / std with 0,0,0/1,1,1"
