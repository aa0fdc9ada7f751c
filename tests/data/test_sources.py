"""Data sets of a comparison from torchvision's files and from folders: real pixels in, the same numbers out."""

import bz2
import gzip
import os
import pickle
import struct
import urllib.error
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from aimc_robust.data import image_files
from aimc_robust.data import in_memory as images_module
from aimc_robust.data.augmentation import Augmentation, StreamedAugmentation
from aimc_robust.data.loading import load_data
from aimc_robust.data.sources.torchvision_catalog import DATASETS, FILES
from aimc_robust.data.spec import DataSpec
from aimc_robust.data.streaming import StreamedImages
from aimc_robust.errors import AimcError, DataError, InputError, UnknownNameError
from aimc_robust.io.toml import parse

torchvision = pytest.importorskip("torchvision")
from PIL import Image  # noqa: E402 - comes with torchvision
from torchvision import datasets, transforms  # noqa: E402

TRAIN, TEST = 60, 20
REAL = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
GIVEN = {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]}


@cache
def digits(n=TRAIN + TEST):
    """Real digits as RGB bytes (n, 8, 8, 3), each channel of another brightness, and their labels."""
    found = load_digits()
    return (found.images[:n, ..., None] * 255 / 16 * [1.0, 0.8, 0.5]).astype(np.uint8), found.target[:n]


def padded():
    """The same in the middle of 32 x 32."""
    images, labels = digits()
    return np.pad(images, ((0, 0), (12, 12), (12, 12), (0, 0))), labels


def load(folder, name, seed=0, **options):
    return load_data(DataSpec(name=name, **options), data_seed=seed, folder=folder)


def same(one, other, splits=("training", "validation", "test")):
    for split in splits:
        (x, y), (u, v) = getattr(one, split), getattr(other, split)
        assert torch.equal(y, v)
        assert torch.equal(x[:], u[:])
    return torch.equal(one.black, other.black) and one.outputs == other.outputs


def told(error, folder, name, **options):
    """The sentence in which a set is refused: one line, one full stop."""
    with pytest.raises(error) as caught:
        load(folder, name, **options)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert ". " not in text
    return text


class TestDigits:
    def test_what_was_split_before_these_options_came_is_still_known(self):
        # Recorded before; trained models are found by it.
        assert load(Path(), "digits", seed=3).id == "6ca1ca6efc204bd56ff3ec1136d6765f"
        assert load(Path(), "digits", seed=3, classes=4).id == "1f15e065460bd388ffc4c14d778321ed"

    @pytest.mark.parametrize(("size", "resize"), [(32, None), (32, 40), (12, 12)])
    def test_they_are_scaled_bilinearly(self, size, resize):
        shares = {"mean": [0.0], "std": [1.0]}
        plain, scaled = (load(Path(), "digits", **shares, **cut) for cut in ({}, {"size": size, "resize": resize}))
        assert scaled.shape == (1, size, size)
        for split in ("training", "validation", "test"):
            assert torch.equal(getattr(plain, split)[1], getattr(scaled, split)[1])
        expected = []
        for picture in plain.test[0][:6, 0]:
            pil = Image.fromarray(picture.numpy()).resize((resize or size,) * 2, Image.Resampling.BILINEAR)
            expected.append(np.asarray(transforms.functional.center_crop(pil, size)))
        np.testing.assert_allclose(scaled.test[0][:6, 0].numpy(), np.stack(expected), atol=1e-6)


class TestFashionMNIST:
    """The real files, as Debian's dataset-fashion-mnist has them."""

    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, tmp_path_factory):
        if not (REAL / "train-images-idx3-ubyte.gz").is_file():
            pytest.skip(f"no Fashion-MNIST in {REAL}; install dataset-fashion-mnist, or set FASHION_MNIST")
        root = tmp_path_factory.mktemp("fashion") / "data" / "FashionMNIST" / "raw"
        root.mkdir(parents=True)
        for file in REAL.glob("*.gz"):
            (root / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        return load(root.parents[2], "torchvision:FashionMNIST", train_images=2000, test_images=500)

    def test_pixels_and_labels_are_the_files(self, found):
        pixels = np.frombuffer(gzip.decompress((REAL / "t10k-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
        labels = np.frombuffer(gzip.decompress((REAL / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:], np.uint8)
        by_label = {}
        for picture, label in zip(pixels.reshape(-1, 28, 28), labels, strict=True):
            by_label.setdefault(int(label), set()).add(picture.tobytes())
        assert (found.shape, found.outputs, len(found.test[1])) == ((1, 28, 28), 10, 500)
        std = 1 / (float(found.test[0][:].max()) - float(found.black))  # the brightest pixel is 255 of 255
        shown = ((found.test[0][:] - found.black) * std * 255).round().to(torch.uint8)
        assert all(x.numpy().tobytes() in by_label[int(y)] for x, y in zip(shown, found.test[1], strict=True))

    def test_it_is_normalised_by_its_training_split(self, found):
        x, _ = found.training
        assert len(x) == 1700
        assert abs(float(x[:].mean())) < 1e-5
        assert float(x[:].std(unbiased=False)) == pytest.approx(1.0, abs=1e-4)
        assert float(found.black) == pytest.approx(-0.2860 / 0.3530, abs=0.03)  # the literature's mean and std


def cifar(root, name):
    """The digits as torchvision's CIFAR files: pickles of rows, red before green before blue."""
    images, labels = padded()
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    hundred = name == "CIFAR100"
    folder = root / ("cifar-100-python" if hundred else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    key, names = ("fine_labels", "fine_label_names") if hundred else ("labels", "label_names")

    def write(file, content):
        (folder / file).write_bytes(pickle.dumps(content))

    train = (
        {"train": slice(0, TRAIN)} if hundred else {f"data_batch_{i + 1}": slice(i * 12, i * 12 + 12) for i in range(5)}
    )
    for file, part in {**train, "test" if hundred else "test_batch": slice(TRAIN, None)}.items():
        write(file, {"data": rows[part], key: labels[part].tolist()})
    write("meta" if hundred else "batches.meta", {names: [str(i) for i in range(10)]})
    return folder


@pytest.fixture
def unchecked(monkeypatch):
    """torchvision knows the checksums of the real files; ours hold other images."""
    from torchvision.datasets import cifar

    monkeypatch.setattr(cifar, "check_integrity", lambda path, md5=None: os.path.isfile(path))


def npz(folder, images, labels, name="same.npz"):
    np.savez(
        folder / name, x_train=images[:TRAIN], y_train=labels[:TRAIN], x_test=images[TRAIN:], y_test=labels[TRAIN:]
    )
    return f"npz:{name}"


@pytest.mark.usefixtures("unchecked")
class TestCIFAR:
    @pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
    @pytest.mark.parametrize(
        "options", [{}, {"validation": "test"}, {"classes": 5, "train_images": 20}, GIVEN], ids=str
    )
    def test_it_is_what_an_npz_of_the_same_images_gives(self, tmp_path, name, options):
        cifar(tmp_path / "data", name)
        found = load(tmp_path, f"torchvision:{name}", seed=2, **options)
        assert same(found, load(tmp_path, npz(tmp_path, *padded()), seed=2, **options))
        assert not torch.equal(found.training[1], load(tmp_path, f"torchvision:{name}", seed=3, **options).training[1])

    @pytest.mark.parametrize("floats_at_most", [0, 2**30])
    def test_training_images_stay_bytes_where_floats_are_too_many_and_are_the_same(
        self, tmp_path, monkeypatch, floats_at_most
    ):
        monkeypatch.setattr(images_module, "MAX_FLOAT_BYTES", floats_at_most)
        cifar(tmp_path / "data", "CIFAR10")
        found, other = load(tmp_path, "torchvision:CIFAR10"), load(tmp_path, npz(tmp_path, *padded()))
        for crop, tolerance in ((0, 0.0), (2, 1e-6)):  # black is rounded once more on the way to the border
            augmentation = Augmentation(crop=crop, flip=True, cutout=3)
            images, reference = (data.training_set(augmentation) for data in (found, other))
            assert images.stored.dtype == (torch.float32 if floats_at_most else torch.uint8)
            assert torch.equal(images.unaugmented()[0], found.training[0][:])
            batches = zip(images.to("cpu").epoch(1, batch_size=8), reference.epoch(1, batch_size=8), strict=True)
            for mine, theirs in batches:
                torch.testing.assert_close(mine[0], theirs[0], rtol=tolerance, atol=tolerance)

    def test_the_root_is_a_matter_of_the_spec(self, tmp_path):
        cifar(tmp_path / "elsewhere", "CIFAR10")
        here = load(tmp_path / "elsewhere", "torchvision:CIFAR10", root=".")
        assert here.id == load(Path(), "torchvision:CIFAR10", root=str(tmp_path / "elsewhere")).id
        told(DataError, tmp_path, "torchvision:CIFAR10")

    @pytest.mark.parametrize("fault", ["half", "junk", "cut off"])
    def test_half_missing_and_damaged_files_are_told_in_a_sentence(self, tmp_path, fault):
        folder = cifar(tmp_path / "data", "CIFAR10")
        file = folder / "data_batch_3"
        match fault:
            case "half":
                file.unlink()
            case "junk":
                file.write_bytes(b"junk")
            case _:
                file.write_bytes(file.read_bytes()[:200])
        text = told(DataError, tmp_path, "torchvision:CIFAR10")
        assert f"the data set CIFAR10 is not complete in {tmp_path / 'data'} (" in text
        assert "expected cifar-10-batches-py/ with data_batch_1 to data_batch_5, test_batch and batches.meta" in text


def test_cifar_of_other_content_than_torchvision_knows_is_refused(tmp_path):
    cifar(tmp_path / "data", "CIFAR100")  # with the checksums checked
    assert "Dataset not found or corrupted" in told(DataError, tmp_path, "torchvision:CIFAR100")


class TestMissing:
    @pytest.fixture(autouse=True)
    def _no_network(self, monkeypatch):
        def refused(*_, **__):
            raise urllib.error.URLError("no network in this test")

        monkeypatch.setattr("urllib.request.urlopen", refused)

    @pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100", "FashionMNIST", "MNIST", "SVHN", "USPS"])
    def test_without_a_network_one_sentence_has_the_folder_and_the_files(self, tmp_path, name):
        text = told(DataError, tmp_path, f"torchvision:{name}", download=True)
        assert f"the data set {name} is not complete in {tmp_path / 'data'} (" in text
        assert f"expected {FILES[name]}; put them there by hand" in text
        assert "torchvision could not download them (" in text
        assert "no network in this test" in text

    @pytest.mark.parametrize("name", DATASETS)
    def test_without_leave_nothing_is_downloaded(self, tmp_path, name):
        text = told(DataError, tmp_path, f"torchvision:{name}")
        assert f"expected {FILES[name]}; put them there" in text
        assert ("or set download = true" in text) != (name in ("FER2013", "ImageNet", "LFWPeople", "StanfordCars"))
        assert not list(tmp_path.rglob("*.*"))

    def test_of_imagenet_the_archives_are_named_and_that_they_must_be_brought(self, tmp_path):
        text = told(DataError, tmp_path, "torchvision:ImageNet", download=True, stream=True, size=224, resize=256)
        assert "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar" in text
        assert "torchvision does not download this set" in text

    def test_the_files_named_are_those_that_torchvision_opens(self):
        """By torchvision's own lists, where it has some."""
        cut = lambda name: name.removesuffix(".gz").removesuffix(".bz2") if "ubyte" in name else name  # noqa: E731
        lists = {
            "CIFAR10": [datasets.CIFAR10.base_folder, "data_batch_1", "data_batch_5", "test_batch", "batches.meta"],
            "CIFAR100": [datasets.CIFAR100.base_folder, *(f for f, _ in datasets.CIFAR100.train_list), "test", "meta"],
            **{name: [f for f, _ in getattr(datasets, name).resources] for name in ("MNIST", "FashionMNIST", "KMNIST")},
            "USPS": [entry[1] for entry in datasets.USPS.split_list.values()],
            "SVHN": [datasets.SVHN.split_list[split][1] for split in ("train", "test")],
            "STL10": [
                datasets.STL10.base_folder,
                *(f for f, _ in datasets.STL10.train_list + datasets.STL10.test_list),
            ],
            "PCAM": [datasets.PCAM._FILES[s][part][0] for s in ("train", "test") for part in ("images", "targets")],
            "FER2013": [datasets.FER2013._RESOURCES[kind][0] for kind in ("fer", "icml")],
            "ImageNet": [name for name, _ in datasets.imagenet.ARCHIVE_META.values()],
        }
        assert {file for file, _ in datasets.CIFAR10.train_list} == {f"data_batch_{i}" for i in range(1, 6)}
        for name, files in lists.items():
            assert [cut(file) for file in files if cut(file) not in FILES[name]] == []
        assert set(FILES) == set(DATASETS)

    def test_an_unknown_set_is_refused_with_the_nearest(self, tmp_path):
        with pytest.raises(UnknownNameError, match="'CIFAR10'"):
            load(tmp_path, "torchvision:CIFAR-10")
        for name in ("torchvision:", "folder:", "npz:", "csv:"):
            with pytest.raises(UnknownNameError, match=r"digits.*folder:FOLDER.*npz:FILE.*torchvision:NAME"):
                load(tmp_path, name)


def idx(root, name="MNIST"):
    """The first channel of the digits as MNIST's files; returns (images, labels)."""
    images, labels = digits()
    images, raw = np.pad(images[..., 0], ((0, 0), (10, 10), (10, 10))), root / name / "raw"
    raw.mkdir(parents=True)
    for split, part in (("train", slice(TRAIN)), ("t10k", slice(TRAIN, None))):
        x, y = images[part], labels[part].astype(np.uint8)
        (raw / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, len(x), 28, 28) + x.tobytes())
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, len(y)) + y.tobytes())
    return images, labels


class TestMNIST:
    @pytest.mark.parametrize("name", ["MNIST", "KMNIST"])
    def test_it_is_what_an_npz_of_the_same_images_gives(self, tmp_path, name):
        images, labels = idx(tmp_path / "data", name)
        assert same(load(tmp_path, f"torchvision:{name}"), load(tmp_path, npz(tmp_path, images, labels)))

    def test_it_is_scaled_and_cut_as_torchvision_does(self, tmp_path):
        images, _ = idx(tmp_path / "data")
        found = load(tmp_path, "torchvision:MNIST", size=32, resize=36, mean=[0.0], std=[1.0])
        recipe = transforms.Compose([transforms.Resize(36), transforms.CenterCrop(32), transforms.ToTensor()])
        expected = torch.stack([recipe(Image.fromarray(x)) for x in images[TRAIN:]])
        assert torch.equal(found.test[0][:], expected)

    @pytest.mark.parametrize("fault", ["half", "cut off", "labels"])
    def test_half_missing_and_damaged_files_are_told_in_a_sentence(self, tmp_path, fault):
        idx(tmp_path / "data")
        raw = tmp_path / "data" / "MNIST" / "raw"
        if fault == "half":
            (raw / "t10k-labels-idx1-ubyte").unlink()
        else:
            file = raw / ("train-images-idx3-ubyte" if fault == "cut off" else "train-labels-idx1-ubyte")
            file.write_bytes(file.read_bytes()[:-9])
        assert f"expected {FILES['MNIST']}" in told(DataError, tmp_path, "torchvision:MNIST")

    def test_a_set_of_one_array_cannot_be_streamed(self, tmp_path):
        idx(tmp_path / "data")
        assert "set stream = false" in told(DataError, tmp_path, "torchvision:MNIST", stream=True, size=28)

    def test_usps_reads_its_own_text_files(self, tmp_path):
        images, labels = digits()
        grey = np.kron(images[..., 0], np.ones((1, 2, 2)))  # 16 x 16
        (tmp_path / "data").mkdir()
        for file, part in (("usps.bz2", slice(TRAIN)), ("usps.t.bz2", slice(TRAIN, None))):
            rows = zip(labels[part], grey[part].reshape(-1, 256) / 127.5 - 1, strict=True)
            lines = [f"{y + 1} " + " ".join(f"{i + 1}:{v:.6f}" for i, v in enumerate(x)) for y, x in rows]
            (tmp_path / "data" / file).write_bytes(bz2.compress("\n".join(lines).encode()))
        found = load(tmp_path, "torchvision:USPS", mean=[0.0], std=[1.0])
        assert np.abs(found.test[0][:, 0].numpy() * 255 - grey[TRAIN:]).max() <= 1.001  # torchvision rounds down
        assert found.test[1].tolist() == labels[TRAIN:].tolist()


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def class_folders(root, test="test", names="abcdefghij", suffix="png"):
    """root/train/<class>/N.png and root/<test>/<class>/N.png; returns images and labels in the order of the files."""
    images, labels = digits()
    order = [np.argsort(labels[part], kind="stable") for part in (slice(TRAIN), slice(TRAIN, None))]
    order = np.concatenate([order[0], order[1] + TRAIN])
    for i in order:
        save(root / ("train" if i < TRAIN else test) / names[labels[i]] / f"{i:03}.{suffix}", images[i])
    return images[order], labels[order]


WNIDS = [f"n{(7 * i + 3) % 10:02}" for i in range(10)]  # not in sorted order


def tiny_imagenet(root):
    """The digits laid out as Tiny-ImageNet; returns images and labels in the order of the files."""
    images, labels = digits()
    train = np.argsort(labels[:TRAIN], kind="stable")
    for i in train:
        wnid = WNIDS[labels[i]]
        save(root / "train" / wnid / "images" / f"{wnid}_{i:03}.png", images[i])
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("a box")
    lines = []
    for i in range(TRAIN, TRAIN + TEST):
        save(root / "val" / "images" / f"val_{i}.png", images[i])
        lines.append(f"val_{i}.png\t{WNIDS[labels[i]]}\t0\t0\t7\t7\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(WNIDS))
    (root / "words.txt").write_text("n00\tzero\n")
    save(root / "test" / "images" / "test_0.png", images[0])  # without a label
    order = np.concatenate([train, np.arange(TRAIN, TRAIN + TEST)])
    return images[order], labels[order]


def without_a_class(root):
    class_folders(root)
    for path in (root / "test" / "c").iterdir():
        path.unlink()
    (root / "test" / "c").rmdir()


def with_file(make, name, content):
    """A set in which one file is written anew, or taken away."""

    def made(root):
        make(root)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).unlink(missing_ok=True)
        if content is not None:
            (root / name).write_bytes(content)

    return made


FAULTS = {
    "no folder": (lambda root: None, "train does not exist; expected .* to hold train/ and test/ or val/"),
    "no test": (lambda root: class_folders(root, "other"), "has no test images: expected test/ or val/"),
    "a class less": (without_a_class, "test lacks the class c; expected the 10 classes of train/"),
    "a class more": (with_file(class_folders, "test/x/0.png", b""), "test has the class x, which train/ lacks"),
    "an empty class": (
        with_file(class_folders, "train/k/notes.txt", b""),
        "train holds no images in a folder for each class: k has none",
    ),
    "no classes": (
        with_file(lambda root: None, "train/notes.txt", b""),
        "train holds no images in a folder for each class",
    ),
    "a broken image": (
        with_file(class_folders, "train/b/new.png", b"text"),
        r"new\.png cannot be read as an image",
    ),
    "a wnid too few": (
        with_file(tiny_imagenet, "wnids.txt", "\n".join(WNIDS[:-1]).encode()),
        rf"wnids\.txt .*train/.*{WNIDS[-1]}",
    ),
    "a lost file": (
        with_file(tiny_imagenet, "val/images/val_63.png", None),
        r"val_annotations\.txt lists .*val_63\.png, expected files in",
    ),
    "a damaged list": (
        with_file(tiny_imagenet, "val/val_annotations.txt", b"val_63.png"),
        r"the line 'val_63\.png' names no class of train/; expected FILE, tab, CLASS",
    ),
    "an empty list": (
        with_file(tiny_imagenet, "val/val_annotations.txt", b"\n"),
        r"val_annotations\.txt lists no images",
    ),
}


class TestFolders:
    @pytest.mark.parametrize("layout", ["test", "val", "tiny"])
    def test_each_layout_is_what_an_npz_of_the_same_images_gives(self, tmp_path, layout):
        made = tiny_imagenet(tmp_path / "set") if layout == "tiny" else class_folders(tmp_path / "set", layout)
        assert same(load(tmp_path, "folder:set"), load(tmp_path, npz(tmp_path, *made)))

    def test_files_of_a_test_set_without_classes_are_not_taken_for_it(self, tmp_path):
        _, labels = class_folders(tmp_path, "val")
        save(tmp_path / "test" / "images" / "0.png", digits()[0][0])
        assert load(tmp_path, "folder:.").test[1].tolist() == labels[TRAIN:].tolist()

    @pytest.mark.parametrize(("size", "resize"), [(6, 9), (12, None)])
    def test_jpegs_of_all_sizes_are_scaled_and_cut_as_torchvision_does(self, tmp_path, size, resize):
        images, _ = digits()
        paths = [tmp_path / part / "ab"[i % 2] / f"{i}.JPEG" for i in range(8) for part in ("train", "val")]
        for i, path in enumerate(paths):
            save(path, np.kron(images[i], np.ones((2 + i % 3, 3, 1), np.uint8)), quality=95)
        recipe = transforms.Compose(
            [transforms.Resize(resize or size), transforms.CenterCrop(size), transforms.ToTensor()]
        )
        expected = torch.stack([recipe(Image.open(path)) for path in sorted((tmp_path / "val").rglob("*.JPEG"))])
        for stream in (False, True):
            found = load(tmp_path, "folder:.", size=size, resize=resize, stream=stream, mean=[0.0], std=[1.0])
            assert torch.equal(found.test[0][:], expected)
        assert "different sizes" in told(DataError, tmp_path, "folder:.")

    def test_an_image_set_that_memory_does_not_hold_is_to_be_streamed(self, tmp_path, monkeypatch):
        class_folders(tmp_path)
        monkeypatch.setattr(image_files, "MAX_BYTES_IN_MEMORY", 60 * 192 - 1)
        assert "60 images of" in (text := told(DataError, tmp_path, "folder:."))
        assert "set stream = true" in text
        assert load(tmp_path, "folder:.", size=8, stream=True).outputs == 10

    @pytest.mark.parametrize("fault", FAULTS)
    def test_what_is_missing_or_damaged_is_told(self, tmp_path, fault):
        make, message = FAULTS[fault]
        make(tmp_path / "set")
        with pytest.raises(DataError, match=message) as caught:
            load(tmp_path, "folder:set")
        assert "\n" not in str(caught.value)


class TestStreaming:
    @pytest.mark.parametrize("layout", ["test", "tiny"])
    @pytest.mark.parametrize("options", [{}, {"validation": "test", "train_images": 31}, {"classes": 6}], ids=str)
    def test_without_a_resize_it_is_the_set_in_memory(self, tmp_path, layout, options):
        tiny_imagenet(tmp_path) if layout == "tiny" else class_folders(tmp_path)
        memory = load(tmp_path, "folder:.", **GIVEN, **options)
        streamed = load(tmp_path, "folder:.", stream=True, size=8, **GIVEN, **options)
        assert same(streamed, memory)
        assert torch.equal(streamed.calibration_inputs[:9], memory.calibration_inputs[:9])
        for split in ("training", "validation", "test"):
            mine, theirs = (data.batches(split, 7, "cpu") for data in (streamed, memory))
            for _ in range(2):  # as often as needed
                for a, b in zip(mine, theirs, strict=True):
                    assert torch.equal(a[0], b[0])
                    assert torch.equal(a[1], b[1])
        mine = streamed.training_set(StreamedAugmentation(flip=True))
        theirs = memory.training_set(Augmentation(flip=True))
        assert isinstance(mine, StreamedImages)
        for a, b in zip(mine.epoch(2, batch_size=6, seed=1), theirs.epoch(2, batch_size=6, seed=1), strict=True):
            assert torch.equal(a[0], b[0])

    def test_it_is_normalised_as_imagenet_where_the_spec_does_not_say(self, tmp_path):
        images, _ = class_folders(tmp_path)
        found = load(tmp_path, "folder:.", stream=True, size=8)
        weights = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
        expected = torch.from_numpy(images[TRAIN:]).movedim(-1, 1) / 255
        expected = transforms.functional.normalize(expected, weights.mean, weights.std)
        torch.testing.assert_close(found.test[0][:], expected, rtol=1e-6, atol=1e-6)
        assert found.id != load(tmp_path, "folder:.", stream=True, size=8, **GIVEN).id
        assert found.id == load(tmp_path.parent, f"folder:{tmp_path.name}", stream=True, size=8).id

    def test_imagenet_is_read_where_torchvision_has_unpacked_it(self, tmp_path):
        _, labels = class_folders(tmp_path / "data", "val", names=sorted(WNIDS), suffix="JPEG")
        torch.save(({wnid: (wnid,) for wnid in WNIDS}, []), tmp_path / "data" / "meta.bin")
        found = load(tmp_path, "torchvision:ImageNet", stream=True, size=8, **GIVEN)
        assert found.test[1].tolist() == labels[TRAIN:].tolist()
        assert same(found, load(tmp_path, "folder:data", size=8, **GIVEN))
        assert same(load(tmp_path, "torchvision:ImageNet", size=8, **GIVEN), found)


class TestChoosing:
    def test_selection_on_the_test_images_holds_nothing_out(self, tmp_path):
        both = {way: load(tmp_path, "digits", validation=way) for way in ("split", "test")}
        assert both["test"].validation is not both["test"].training
        assert torch.equal(both["test"].validation[0], both["test"].test[0])
        assert (
            len(both["test"].training[1]) == len(both["split"].training[1]) + len(both["split"].validation[1]) == 1198
        )
        assert both["test"].id != both["split"].id

    def test_images_are_drawn_by_the_seed_from_their_split(self, tmp_path):
        images, labels = padded()
        name = npz(tmp_path, images, labels)
        options = {"mean": [0.0], "std": [1.0], "validation": "test"}
        everything, few = (
            load(tmp_path, name, **options),
            load(tmp_path, name, train_images=25, test_images=7, **options),
        )
        for split, n in (("training", 25), ("test", 7)):
            known = {x.numpy().tobytes() for x in getattr(everything, split)[0]}
            chosen = {x.numpy().tobytes() for x in getattr(few, split)[0]}
            assert len(chosen) == len(getattr(few, split)[1]) == n
            assert chosen < known
        assert few.outputs == everything.outputs == 10
        again, other = (load(tmp_path, name, seed=seed, train_images=25, test_images=7, **options) for seed in (0, 1))
        assert again.id == few.id
        assert other.test[1].tolist() != few.test[1].tolist()

    def test_classes_count_before_images_are_drawn(self, tmp_path):
        assert load(tmp_path, "digits", train_images=3, validation="test").outputs == 10

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"train_images": 1199}, "train_images = 1199 is more than the 1198 training images"),
            ({"test_images": 600}, "test_images = 600 is more than the 599 test images"),
            ({"mean": [0.1, 0.2], "std": [1.0, 1.0]}, "mean and std have 2 channels, the images have 1"),
        ],
        ids=str,
    )
    def test_what_the_images_do_not_have_is_refused(self, tmp_path, options, message):
        assert message in told(DataError, tmp_path, "digits", **options).replace(";", ".")

    def test_an_unknown_split_is_refused(self, tmp_path):
        with pytest.raises(UnknownNameError, match="'training'"):
            load(tmp_path, "digits").batches("train", 10, "cpu")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"mean": [0.5]}, "mean"),
        ({"mean": [0.5], "std": [0.5, 0.5]}, "mean"),
        ({"mean": [0.5], "std": [0.0]}, "std"),
        ({"resize": 36}, "resize = 36"),
        ({"resize": 20, "size": 32}, "resize = 20"),
        ({"name": "npz:x.npz", "size": 8}, "size .*npz"),
        ({"stream": True}, "stream = true"),
        ({"name": "folder:x", "stream": True}, "size"),
        ({"validation": "train"}, "'split'.*'test'"),
        ({"train_images": 0}, "train_images"),
        ({"pictures": 3}, "'pictures'"),
    ],
    ids=str,
)
def test_a_spec_that_cannot_be_right_is_refused(table, message):
    with pytest.raises(InputError, match=message):
        parse({"name": "digits"} | table, DataSpec, source="data")


def test_augmentation_is_of_the_kind_of_the_set():
    recipe = {"area": [0.08, 1.0], "ratio": [0.75, 1.5], "flip": True}
    files = {"name": "folder:x", "size": 8, "stream": True}
    assert DataSpec(**files, augmentation=recipe).build_augmentation() == StreamedAugmentation(
        area=(0.08, 1.0), ratio=(0.75, 1.5), flip=True
    )
    off = {"crop": 0, "cutout": 0, "cutout_probability": 0.5, "area": [], "flip": True}
    assert DataSpec(name="digits", augmentation=off).build_augmentation() == Augmentation(
        flip=True, cutout_probability=0.5
    )
    assert DataSpec(**files, augmentation=off).build_augmentation() == StreamedAugmentation(flip=True)
    for table, options in (({"crop": 4}, files), ({"area": [0.1, 1.0]}, {"name": "digits"}), ({"crops": 1}, files)):
        with pytest.raises(AimcError, match=next(iter(table))):
            parse(options | {"augmentation": table}, DataSpec, source="data")
