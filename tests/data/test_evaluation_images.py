"""Test images from files: the pixels that a model was trained to see, however they are stored."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from support.measure import measure
from torch import nn

from aimc_robust.data import evaluation_images
from aimc_robust.data.evaluation_images import CALIBRATION_IMAGES, load_evaluation_images
from aimc_robust.data.loading import load_data
from aimc_robust.data.sources.torchvision_catalog import DATASETS
from aimc_robust.errors import DataError, InputError, UnknownNameError
from aimc_robust.experiments.spec.comparison import DataSpec

torchvision = pytest.importorskip("torchvision")
from PIL import Image  # noqa: E402 - comes with torchvision
from torchvision import transforms  # noqa: E402

MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)
GIVEN = "0.5,0.4,0.3/0.25,0.2,0.1"


def pixels(n=30, height=6, width=5, channels=3, seed=0):
    shape = (n, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def npz(folder, **arrays):
    np.savez(folder / "images.npz", **arrays)
    return f"npz:{folder / 'images.npz'}"


def whole(found, batch_size=7):
    """(images, labels) of all test batches."""
    images, labels = zip(*found.batches("test", batch_size), strict=True)
    return torch.cat(images), torch.cat(labels)


def by_hand(x, mean=MEAN, std=STD):
    """float64 numpy: (N, H, W, C) bytes -> normalised (N, C, H, W)."""
    return torch.from_numpy(np.moveaxis((x.astype(np.float64) / 255.0 - mean) / std, -1, 1))


class TestAsCompareTests:
    @pytest.mark.parametrize("seed", [0, 3])
    def test_digits(self, seed):
        found = load_evaluation_images("digits", data_seed=seed)
        data = load_data(DataSpec(name="digits"), data_seed=seed, folder=Path())
        images, labels = whole(found)
        assert torch.equal(images, data.test[0])
        assert torch.equal(labels, data.test[1])
        assert (found.outputs, found.shape, found.id, found.count) == (10, (1, 8, 8), data.id, 599)
        assert torch.equal(found.calibration_inputs, data.training[0][:CALIBRATION_IMAGES])

    @pytest.mark.parametrize("kind", [np.uint8, np.float32])
    def test_an_npz_with_a_training_split(self, tmp_path, kind):
        arrays = {"x_train": pixels(40).astype(kind), "y_train": np.arange(40) % 4}
        arrays |= {"x_test": pixels(10, seed=1).astype(kind), "y_test": np.arange(10) % 4}
        name = npz(tmp_path, **arrays)
        data = load_data(DataSpec(name=name), data_seed=2, folder=Path())
        for normalize in (None, "training"):
            found = load_evaluation_images(name, data_seed=2, normalize=normalize)
            assert torch.equal(whole(found)[0], data.test[0])
            assert torch.equal(whole(found)[1], data.test[1])
            assert found.calibration_source == "training images"
            assert found.normalization == data.normalization
        other = load_evaluation_images(name, normalize="none" if kind is np.float32 else GIVEN)
        assert not torch.equal(whole(other)[0], data.test[0])  # control

    @pytest.mark.parametrize("settings", [{"classes": 2}, {"train_images": 20}], ids=str)
    def test_settings_of_the_data_as_in_a_spec(self, tmp_path, settings):
        arrays = {
            "x_train": pixels(40),
            "y_train": np.arange(40) % 4,
            "x_test": pixels(10),
            "y_test": np.arange(10) % 4,
        }
        name = npz(tmp_path, **arrays)
        data = load_data(DataSpec(name=name, **settings), data_seed=2, folder=Path())
        found = load_evaluation_images(name, data_seed=2, settings=settings)
        assert torch.equal(whole(found)[0], data.test[0])
        assert torch.equal(whole(found)[1], data.test[1])
        assert found.id == data.id != load_evaluation_images(name, data_seed=2).id
        with pytest.raises(InputError, match=r"data\.\w+ is for digits, \.npz files"):
            load_evaluation_images(name, normalize=GIVEN, settings=settings)


class TestNpz:
    @pytest.mark.parametrize("names", [("x_test", "y_test"), ("x", "y"), ("images", "labels")])
    def test_test_images_alone_under_any_of_the_known_names(self, tmp_path, names):
        x, y = pixels(), np.arange(30) % 4
        found = load_evaluation_images(npz(tmp_path, **dict(zip(names, (x, y), strict=True))), normalize=GIVEN)
        images, labels = whole(found)
        torch.testing.assert_close(images.double(), by_hand(x), rtol=0, atol=1e-5)
        assert labels.tolist() == y.tolist()
        assert images.dtype == torch.float32
        assert (found.outputs, found.shape, found.count) == (4, (3, 6, 5), 30)
        assert found.calibration_source == "test images, without their labels"

    @pytest.mark.parametrize("normalize", [None, "training"])
    def test_bytes_need_a_normalisation(self, tmp_path, normalize):
        name = npz(tmp_path, x=pixels(), y=np.arange(30) % 4)
        with pytest.raises(InputError, match="--normalize"):
            load_evaluation_images(name, normalize=normalize)

    def test_bytes_without_normalisation_are_shares_of_255(self, tmp_path):
        x = pixels()
        found = load_evaluation_images(npz(tmp_path, x=x, y=np.arange(30)), normalize="none")
        torch.testing.assert_close(whole(found)[0].double(), by_hand(x, 0.0, 1.0), rtol=0, atol=1e-6)
        assert found.normalization == "none: pixels in 0 to 1"

    @pytest.mark.parametrize("normalize", [None, "none"])
    @pytest.mark.parametrize("kind", [np.float32, np.float64])
    def test_other_numbers_are_taken_as_stored(self, tmp_path, normalize, kind):
        x = np.random.default_rng(0).normal(size=(30, 6, 5, 3)).astype(kind)
        found = load_evaluation_images(npz(tmp_path, x=x, y=np.arange(30)), normalize=normalize)
        assert np.array_equal(whole(found)[0].numpy(), np.moveaxis(x, -1, 1).astype(np.float32))
        assert found.normalization == "as stored"

    def test_channels_first_and_grey_images(self, tmp_path):
        grey = pixels(channels=1)
        expected = whole(load_evaluation_images(npz(tmp_path, x=grey, y=np.arange(30)), normalize="none"))[0]
        for stored in (grey[..., 0], np.moveaxis(grey, -1, 1)):
            assert torch.equal(
                whole(load_evaluation_images(npz(tmp_path, x=stored, y=np.arange(30)), normalize="none"))[0], expected
            )

    @pytest.mark.parametrize(
        ("arrays", "says"),
        [
            ({"x": pixels(0), "y": np.arange(0)}, "got uint8.*0.*6.*5.*3"),
            ({"x": pixels(), "y": np.arange(29)}, "30"),
            ({"x": pixels(), "y": np.zeros(30)}, "got float64"),
            ({"x": pixels(), "y": np.zeros((30, 1), dtype=int)}, "got int64.*30.*1"),
            ({"x": pixels(), "y": np.arange(30) - 1}, "label -1"),
            ({"x": pixels().reshape(30, -1), "y": np.arange(30)}, "got uint8.*30.*90"),
            ({"x": pixels().astype(str), "y": np.arange(30)}, "images"),
            ({"x": np.full((3, 6, 5, 1), np.nan), "y": np.arange(3)}, "NaN"),
            (
                {"x": pixels(), "label": np.arange(30)},
                "x_test.*y_test",
            ),
        ],
        ids=["none", "labels", "floats", "column", "negative", "flat", "text", "nan", "names"],
    )
    def test_arrays_that_do_not_fit_are_refused(self, tmp_path, arrays, says):
        with pytest.raises(DataError, match=says):
            load_evaluation_images(npz(tmp_path, **arrays), normalize="none")

    def test_a_missing_and_a_damaged_file_are_refused(self, tmp_path):
        with pytest.raises(DataError, match="data file"):
            load_evaluation_images(f"npz:{tmp_path / 'none.npz'}", normalize="none")
        (tmp_path / "text.npz").write_text("no arrays")
        with pytest.raises(DataError, match=r"\.npz"):
            load_evaluation_images(f"npz:{tmp_path / 'text.npz'}")

    def test_an_array_of_objects_is_refused_and_not_unpickled(self, tmp_path):
        with pytest.raises(DataError, match=r"\.npz"):
            load_evaluation_images(npz(tmp_path, x=np.array([{}, []], dtype=object), y=np.arange(2)), normalize="none")


class TestNormalisation:
    @pytest.mark.parametrize("given", ["0.5/0.25", "0.5,0.5,0.5/0.25,0.25,0.25"])
    def test_one_number_is_for_all_channels(self, tmp_path, given):
        x = pixels()
        found = load_evaluation_images(npz(tmp_path, x=x, y=np.arange(30)), normalize=given)
        torch.testing.assert_close(whole(found)[0].double(), by_hand(x, 0.5, 0.25), rtol=0, atol=1e-5)
        assert found.normalization == "(pixel - mean) / std with 0.5,0.5,0.5/0.25,0.25,0.25"

    def test_imagenet_is_torchvisions(self, tmp_path):
        x = pixels()
        found = load_evaluation_images(npz(tmp_path, x=x, y=np.arange(30)), normalize="imagenet")
        weights = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
        expected = transforms.functional.normalize(torch.from_numpy(x).movedim(-1, 1) / 255, weights.mean, weights.std)
        torch.testing.assert_close(whole(found)[0], expected, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize(
        "given",
        [
            "half",
            "",
            "/",
            "0.5",
            "0.5/",
            "0.5/0.2/0.1",
            "0.5/0",
            "0.5/-1",
            "0.5,0.5/0.2",
            "nan/1",
            "0.5/inf",
            "a,b/c,d",
        ],
    )
    def test_what_is_none_is_refused_with_an_example(self, tmp_path, given):
        with pytest.raises(InputError, match="--normalize"):
            load_evaluation_images(npz(tmp_path, x=pixels(), y=np.arange(30)), normalize=given)

    @pytest.mark.parametrize("given", ["imagenet", GIVEN])
    def test_one_for_other_channels_is_refused(self, tmp_path, given):
        with pytest.raises(InputError, match=f"--normalize {given} is for 3 channels; .* has 1"):
            load_evaluation_images(npz(tmp_path, x=pixels(channels=1), y=np.arange(30)), normalize=given)

    def test_digits_have_their_own(self):
        with pytest.raises(InputError, match="--normalize"):
            load_evaluation_images("digits", normalize="none")


class TestBytesStayBytes:
    @pytest.mark.parametrize("normalize", ["none", "imagenet", GIVEN])
    def test_what_a_model_gets_is_bit_for_bit_the_same(self, tmp_path, monkeypatch, normalize):
        name = npz(tmp_path, x=pixels(), y=np.arange(30) % 4)
        floats = load_evaluation_images(name, normalize=normalize)
        monkeypatch.setattr(evaluation_images, "MAX_FLOAT_BYTES", 100)
        stored = load_evaluation_images(name, normalize=normalize)
        assert (stored.test[0].pixels.dtype, floats.test[0].dtype) == (torch.uint8, torch.float32)
        assert torch.equal(whole(stored)[0], whole(floats)[0])
        assert torch.equal(stored.example, floats.example)
        assert torch.equal(stored.calibration_inputs, floats.calibration_inputs)
        assert stored.id == floats.id
        few = [load_evaluation_images(name, normalize=normalize, images=5, data_seed=1)]
        monkeypatch.undo()
        few += [load_evaluation_images(name, normalize=normalize, images=5, data_seed=1)]
        assert torch.equal(whole(few[0])[0], whole(few[1])[0])
        assert torch.equal(whole(stored)[0], whole(floats)[0])  # going through twice leaves the bytes as they are


def folder_of(path, pictures):
    """PATH/class/0.png, ...: class -> pictures."""
    for label, images in pictures.items():
        (path / label).mkdir(parents=True)
        for number, image in enumerate(images):
            image.save(path / label / f"{number}.png")
    return f"folder:{path}"


def pictures(*sizes, seed=0):
    """RGB pictures of (width, height)."""
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in sizes]


class TestFolders:
    def test_classes_are_the_sorted_names_and_pixels_the_files(self, tmp_path):
        dogs, cats = pictures((5, 6), (5, 6)), pictures((5, 6), seed=1)
        found = load_evaluation_images(folder_of(tmp_path, {"dog": dogs, "cat": cats}), normalize=GIVEN)
        images, labels = whole(found)
        assert labels.tolist() == [0, 1, 1]
        expected = by_hand(np.stack([np.asarray(picture) for picture in (*cats, *dogs)]))
        torch.testing.assert_close(images.double(), expected, rtol=0, atol=1e-5)
        assert (found.outputs, found.shape) == (2, (3, 6, 5))

    @pytest.mark.parametrize(("size", "resize"), [(8, None), (8, 10), (8, 8), (5, 9), (16, 20)])
    def test_size_and_resize_are_torchvisions_evaluation_transforms(self, tmp_path, size, resize):
        originals = pictures((12, 16), (16, 12), (9, 9), (30, 11))
        found = load_evaluation_images(folder_of(tmp_path, {"a": originals}), normalize=GIVEN, size=size, resize=resize)
        steps = [transforms.Resize(resize or size), transforms.CenterCrop(size), transforms.ToTensor()]
        recipe = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])
        expected = torch.stack([recipe(picture) for picture in originals])
        torch.testing.assert_close(whole(found)[0], expected, rtol=0, atol=1e-5)

    def test_unequal_sizes_need_one(self, tmp_path):
        with pytest.raises(DataError, match=r"6.*5.*3.*5.*6.*3.*--size"):
            load_evaluation_images(folder_of(tmp_path, {"a": pictures((5, 6), (6, 5))}), normalize="none")

    def test_grey_images_and_images_with_transparency_are_read_as_rgb(self, tmp_path):
        grey = Image.fromarray(pixels(1, channels=1)[0, ..., 0])
        clear = pictures((5, 6))[0].convert("RGBA")
        images, _ = whole(load_evaluation_images(folder_of(tmp_path, {"a": [grey, clear]}), normalize="none"))
        assert images.shape == (2, 3, 6, 5)
        assert all(torch.equal(images[0, 0], images[0, c]) for c in (1, 2))
        torch.testing.assert_close(images[0, 0], torch.from_numpy(np.array(grey)) / 255)

    @pytest.mark.parametrize("content", [b"", b"no picture", None], ids=["empty", "text", "cut off"])
    def test_a_broken_image_is_named(self, tmp_path, content):
        name = folder_of(tmp_path, {"a": pictures((50, 60), (50, 60))})
        broken = tmp_path / "a" / "1.png"
        broken.write_bytes(broken.read_bytes()[:900] if content is None else content)
        with pytest.raises(DataError, match=r"1\.png"):
            load_evaluation_images(name, normalize="none")

    @pytest.mark.parametrize("made", [(), ("a",), ("a", "b")], ids=str)
    def test_a_folder_without_images_is_refused(self, tmp_path, made):
        for label in made:
            (tmp_path / label).mkdir()
        with pytest.raises(DataError, match="images"):
            load_evaluation_images(f"folder:{tmp_path}", normalize="none")

    def test_a_missing_folder_and_a_missing_normalisation_are_refused(self, tmp_path):
        with pytest.raises(DataError, match="none"):
            load_evaluation_images(f"folder:{tmp_path / 'none'}", normalize="none")
        with pytest.raises(InputError, match="--normalize"):
            load_evaluation_images(folder_of(tmp_path, {"a": pictures((5, 6))}))

    def test_resize_needs_a_size_that_is_no_larger(self, tmp_path):
        name = folder_of(tmp_path, {"a": pictures((5, 6))})
        with pytest.raises(InputError, match=r"--resize.*4.*--size.*8"):
            load_evaluation_images(name, normalize="none", size=8, resize=4)
        with pytest.raises(InputError, match=r"--resize.*4.*--size"):
            load_evaluation_images(name, normalize="none", resize=4)

    def test_images_for_calibration_are_of_every_class(self, tmp_path, monkeypatch):
        monkeypatch.setattr(evaluation_images, "CALIBRATION_IMAGES", 6)
        shades = {
            label: [Image.new("RGB", (2, 2), (value,) * 3)] * 8
            for label, value in zip("abc", (0, 51, 255), strict=True)
        }
        found = load_evaluation_images(folder_of(tmp_path, shades), normalize="none")
        assert len(found.calibration_inputs) == 6
        assert {round(float(image.mean()), 2) for image in found.calibration_inputs} == {0.0, 0.2, 1.0}


def idx_files(root, name="MNIST", test=12, train=20, zipped=False):
    """A data set in MNIST's format; returns its (images, labels) by split."""
    raw, made = root / name / "raw", {}
    raw.mkdir(parents=True)
    for seed, (split, n) in enumerate({"t10k": test, "train": train}.items()):
        x, y = pixels(n, 28, 28, 1, seed), np.arange(n, dtype=np.uint8) % 10
        made[split] = (x, y)
        images = struct.pack(">IIII", 0x803, n, 28, 28) + x.tobytes()
        for file, content in (
            (f"{split}-images-idx3-ubyte", images),
            (f"{split}-labels-idx1-ubyte", struct.pack(">II", 0x801, n) + y.tobytes()),
        ):
            (raw / file).write_bytes(content)
            if zipped:
                (raw / f"{file}.gz").write_bytes(gzip.compress(content))
    return made


class TestTorchvision:
    @pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
    def test_images_are_normalised_as_compare_trains_on_them(self, tmp_path, name):
        made = idx_files(tmp_path, name)
        found = load_evaluation_images(f"torchvision:{name}", root=tmp_path, data_seed=2)
        images, labels = whole(found)
        spec = DataSpec(name=f"torchvision:{name}", root=str(tmp_path))
        data = load_data(spec, data_seed=2, folder=Path())
        assert torch.equal(images, whole(data)[0])
        train = made["train"][0] / 255.0
        by_all = by_hand(made["t10k"][0], train.mean(), train.std())
        assert (images.double() - by_all).abs().max() > 1e-4  # control: without the validation images
        assert labels.tolist() == made["t10k"][1].tolist()
        assert (found.shape, found.outputs, found.calibration_source) == ((1, 28, 28), 10, "training images")
        assert len(found.calibration_inputs) == 17

    def test_with_a_given_normalisation_the_training_split_is_not_read(self, tmp_path):
        made = idx_files(tmp_path)
        for file in (tmp_path / "MNIST" / "raw").glob("train*"):
            file.write_bytes(b"")
        found = load_evaluation_images("torchvision:MNIST", root=tmp_path, normalize="0.1307/0.3081")
        torch.testing.assert_close(
            whole(found)[0].double(), by_hand(made["t10k"][0], 0.1307, 0.3081), rtol=0, atol=1e-5
        )
        assert found.calibration_source == "test images, without their labels"

    def test_they_are_scaled_and_cut_like_a_folders(self, tmp_path):
        made = idx_files(tmp_path)
        found = load_evaluation_images("torchvision:MNIST", root=tmp_path, normalize="none", size=32, resize=36)
        recipe = transforms.Compose([transforms.Resize(36), transforms.CenterCrop(32), transforms.ToTensor()])
        expected = torch.stack([recipe(Image.fromarray(x[..., 0])) for x in made["t10k"][0]])
        torch.testing.assert_close(whole(found)[0], expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("broken", ["all", "images", "cut off"])
    def test_missing_and_damaged_files_are_told_with_the_folder(self, tmp_path, broken):
        if broken != "all":
            idx_files(tmp_path)
            file = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
            file.write_bytes(file.read_bytes()[:999]) if broken == "cut off" else file.unlink()
        with pytest.raises(DataError) as caught:
            load_evaluation_images("torchvision:MNIST", root=tmp_path)
        assert f"the data set MNIST is not complete in {tmp_path}" in str(caught.value)
        assert "set download = true" in str(caught.value)

    @pytest.mark.parametrize("name", DATASETS)
    def test_each_data_set_that_is_known_is_one_of_torchvisions_and_missing_here(self, tmp_path, name):
        with pytest.raises(DataError, match=f"the data set {name} is not complete in"):
            load_evaluation_images(f"torchvision:{name}", root=tmp_path)
        for split in DATASETS[name]:
            with pytest.raises(
                (RuntimeError, OSError)
            ):  # for want of files, not TypeError or ValueError of a wrong call
                getattr(torchvision.datasets, name)(str(tmp_path), **split)
        assert not list(tmp_path.rglob("*.*"))  # nothing was downloaded

    def test_an_unknown_one_is_refused_with_the_nearest(self, tmp_path):
        with pytest.raises(UnknownNameError, match="'CIFAR10'"):
            load_evaluation_images("torchvision:CIFAR-10", root=tmp_path)


class TestChoosing:
    def test_a_number_of_images_is_drawn_by_the_seed_and_keeps_the_order(self, tmp_path):
        name = npz(tmp_path, x=pixels(), y=np.arange(30))
        all_images, _ = whole(load_evaluation_images(name, normalize="none"))
        some = load_evaluation_images(name, normalize="none", images=12, data_seed=4)
        images, labels = whole(some)
        assert len(labels) == some.count == 12
        assert labels.tolist() == sorted(set(labels.tolist()))
        assert torch.equal(images, all_images[labels])
        again, other = (load_evaluation_images(name, normalize="none", images=12, data_seed=seed) for seed in (4, 5))
        assert torch.equal(whole(again)[1], labels)
        assert again.id == some.id
        assert not torch.equal(whole(other)[1], labels)
        assert len({some.id, other.id, load_evaluation_images(name, normalize="none").id}) == 3
        assert some.outputs == 30  # of the whole data

    @pytest.mark.parametrize("images", [0, -1, 31])
    def test_a_number_that_there_is_not_is_refused(self, tmp_path, images):
        with pytest.raises(InputError, match=r"--images.*1.*30"):
            load_evaluation_images(npz(tmp_path, x=pixels(), y=np.arange(30)), normalize="none", images=images)

    @pytest.mark.parametrize("size", [1, 7, 30, 1000])
    def test_the_batch_size_changes_nothing(self, tmp_path, size):
        name = npz(tmp_path, x=pixels(), y=np.arange(30) % 4)
        model = nn.Sequential(nn.Flatten(), nn.Linear(90, 4))
        data = load_evaluation_images(name, normalize=GIVEN)
        found = data.batches("test", size)
        assert max(len(labels) for _, labels in found) == min(size, 30)
        assert all(torch.equal(a, b) for a, b in zip(whole(data, size), whole(data, 500), strict=True))
        assert measure(model, found).value == measure(model, data.batches("test", 500)).value
        assert measure(model, found) == measure(model, found)  # as often as needed

    def test_a_model_may_have_more_classes_than_the_data(self, tmp_path):
        name = npz(tmp_path, x=pixels(), y=np.arange(30) % 4)
        assert load_evaluation_images(name, normalize="none", classes=10).outputs == 10

    def test_the_id_is_of_pixels_labels_and_normalisation(self, tmp_path):
        x, y = pixels(), np.arange(30) % 4
        changed = x.copy()
        changed[3, 2, 1, 0] ^= 1
        ids = [load_evaluation_images(npz(tmp_path, x=a, y=b), normalize=n).id for a, b, n in [
            (x, y, "none"), (changed, y, "none"), (x, y[::-1], "none"), (x, y, GIVEN)
        ]]  # fmt: skip
        assert len(set(ids)) == 4

    @pytest.mark.parametrize("name", ["mnist", "npz", "npz:", "folder:", "csv:", "xlsx:x.xlsx", "", "torchvision:"])
    def test_an_unknown_kind_is_refused_with_the_known_ones(self, name):
        with pytest.raises(UnknownNameError, match=r"digits.*folder:FOLDER.*npz:FILE.*torchvision:NAME"):
            load_evaluation_images(name)

    @pytest.mark.parametrize("options", [{"size": 8}, {"size": 8, "resize": 9}], ids=str)
    def test_a_size_is_refused_for_images_that_are_used_as_they_are(self, options):
        with pytest.raises(InputError, match=r"--size.*--resize"):
            load_evaluation_images("digits", **options)
