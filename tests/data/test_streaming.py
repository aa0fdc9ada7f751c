"""Training images that stay in files: the batches of `Images` and of torchvision, whatever threads and processes do."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits
from support.measure import measure
from torch import nn

from aimc_robust.data import image_files as image_files_module
from aimc_robust.data.augmentation import Augmentation, StreamedAugmentation
from aimc_robust.data.batches import split_batches
from aimc_robust.data.decoding import random_crop_box, resize_and_center_crop, resized_crop
from aimc_robust.data.image_files import PREFETCH_BATCHES, ImageFiles
from aimc_robust.data.in_memory import Images
from aimc_robust.data.lazy import LazyImages
from aimc_robust.data.streaming import StreamedImages
from aimc_robust.errors import DataError, InputError
from aimc_robust.seeding import Axes
from aimc_robust.training.config import TrainingConfig
from aimc_robust.training.loop import train
from aimc_robust.training.methods.sgd import SGD

torchvision = pytest.importorskip("torchvision")
from PIL import Image  # noqa: E402 - comes with torchvision
from torchvision import transforms  # noqa: E402
from torchvision.transforms import functional  # noqa: E402

N, MEAN, STD = 23, [0.5, 0.4, 0.3], [0.25, 0.2, 0.3]
RECIPE = StreamedAugmentation(area=(0.08, 1.0), flip=True)


def digits(n=N):
    """Real digits as RGB bytes (n, 8, 8, 3), each channel of another brightness, and their classes."""
    bunch = load_digits()
    grey = bunch.images[:n, ..., None] * 255 / 16
    return (grey * [1.0, 0.8, 0.5]).astype(np.uint8), torch.from_numpy(bunch.target[:n])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(files of 8 x 8 pictures, their bytes (N, C, H, W), labels that are their numbers)."""
    folder, (pixels, _) = tmp_path_factory.mktemp("small"), digits()
    paths = [str(folder / f"{i}.png") for i in range(N)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return ImageFiles(str(folder), paths, 8), torch.from_numpy(pixels).movedim(-1, 1).contiguous(), torch.arange(N)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Files of digits scaled to sizes of all kinds, to be cut to 12 x 12."""
    folder, (pixels, _) = tmp_path_factory.mktemp("large"), digits()
    paths = [str(folder / f"{i}.png") for i in range(N)]
    for i, (path, image) in enumerate(zip(paths, pixels, strict=True)):
        Image.fromarray(image).resize((14 + 3 * i % 17, 40 - i)).save(path)
    return ImageFiles(str(folder), paths, 12, 14)


def streamed(files, labels=None, augmentation=RECIPE):
    labels = torch.arange(len(files)) if labels is None else labels
    return StreamedImages(files, labels, mean=MEAN, std=STD, augmentation=augmentation)


def whole(images, epoch=1, batch_size=4, **options):
    inputs, labels = zip(*images.epoch(epoch, batch_size=batch_size, **options), strict=True)
    return torch.cat(inputs), torch.cat(labels)


@given(
    batch_size=st.integers(1, 30),
    epoch=st.integers(1, 3),
    axes=st.fixed_dictionaries({"seed": st.integers(0, 2**40), "stream": st.integers(0, 2)}),
    flip=st.booleans(),
)
def test_without_a_resize_the_batches_are_those_of_images_in_memory(small, batch_size, epoch, axes, flip):
    files, pixels, labels = small
    here = streamed(files, labels, StreamedAugmentation(flip=flip))
    there = Images(pixels, labels, mean=MEAN, std=STD, augmentation=Augmentation(flip=flip))
    for mine, theirs in zip(
        here.epoch(epoch, batch_size=batch_size, **axes), there.epoch(epoch, batch_size=batch_size, **axes), strict=True
    ):
        assert torch.equal(mine[0], theirs[0])
        assert torch.equal(mine[1], theirs[1])
    assert (len(here), here.shape, here.device) == (len(there), there.shape, there.device)
    assert torch.equal(here.unaugmented()[0][:], there.unaugmented()[0])


def test_order_and_augmentation_do_not_depend_on_threads_processes_or_the_batch_size(large, monkeypatch):
    images = streamed(large)
    reference = whole(images, batch_size=4, seed=3)
    for threads in (1, 2, 7):
        monkeypatch.setattr(image_files_module, "available_cpus", lambda threads=threads: range(threads))
        found = whole(images, batch_size=4, seed=3)
        assert torch.equal(found[0], reference[0])
        assert torch.equal(found[1], reference[1])
    parts = [list(images.epoch(1, batch_size=4, seed=3, shard=part, num_shards=2)) for part in range(2)]
    together = [torch.cat([torch.cat([a[k], b[k]]) for a, b in zip(*parts, strict=True)]) for k in range(2)]
    assert torch.equal(together[0], reference[0])
    by_number = [
        {int(i): x for x, i in zip(*found, strict=True)} for found in (reference, whole(images, batch_size=7, seed=3))
    ]
    both = set(by_number[0]) & set(by_number[1])
    assert len(both) >= N - 5  # each leaves its last partial batch out
    assert all(torch.equal(by_number[0][i], by_number[1][i]) for i in both)


@pytest.mark.parametrize("change", [{"seed": 1}, {"stream": 1}, {"epoch": 2}])
def test_another_seed_stream_or_epoch_cuts_another_part_of_each_picture(large, change):
    images = streamed(large, augmentation=StreamedAugmentation(area=(0.08, 1.0)))
    options = {"epoch": 1, "seed": 0, "stream": 0, "batch_size": N}
    first, second = (whole(images, **opts) for opts in (options, options | change))
    assert torch.equal(*(whole(images, **options)[0] for _ in range(2)))  # control: nothing else moves
    by_label = [x[y.argsort()] for x, y in (first, second)]
    differ = (by_label[0] != by_label[1]).flatten(1).any(1)
    assert int(differ.sum()) >= N - 1


def test_a_batch_is_torchvisions_resized_crop_flip_and_normalisation(large):
    images = streamed(large)
    axes = Axes(5).at(use="augmentation", epoch=2, stream=0)
    flips = Augmentation(flip=True).sample(axes, N, 0, 0).flip
    inputs, labels = whole(images, epoch=2, seed=5, batch_size=N)
    assert 0 < int(flips.sum()) < N
    for image, i in zip(inputs, labels.tolist(), strict=True):
        picture = Image.open(large.paths[i])
        with torch.random.fork_rng():
            torch.manual_seed(axes.at(draw="resized crop", image=i).seed())
            pil = transforms.RandomResizedCrop(12)(picture)  # the ImageNet recipes' own
        pil = functional.hflip(pil) if flips[i] else pil
        expected = functional.normalize(functional.to_tensor(pil), MEAN, STD)
        torch.testing.assert_close(image, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("area", [(0.08, 1.0), (0.9, 1.0)])
@pytest.mark.parametrize("size", [(40, 30), (8, 64), (64, 8), (1, 1), (1, 9)])
def test_the_random_part_is_torchvisions_draw_for_draw(size, area):
    picture, ratio = Image.new("RGB", size), (3 / 4, 4 / 3)
    for seed in range(30):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            top, left, height, width = transforms.RandomResizedCrop.get_params(picture, list(area), list(ratio))
        box = random_crop_box(*size, area, ratio, torch.Generator().manual_seed(seed))
        assert box == (left, top, left + width, top + height)


def test_the_parts_shares_are_uniform_over_the_area():
    boxes = [random_crop_box(900, 900, (0.2, 0.7), (3 / 4, 4 / 3), Axes(0).at(i=i).generator()) for i in range(800)]
    shares = [(right - left) * (bottom - top) / 900**2 for left, top, right, bottom in boxes]
    assert stats.kstest(shares, stats.uniform(0.2, 0.5).cdf).pvalue > 0.01
    assert stats.kstest(shares, stats.uniform(0.2, 0.6).cdf).pvalue < 1e-6  # control


@pytest.mark.parametrize(("size", "resize"), [(12, 14), (8, 8), (5, 30), (16, None)])
def test_the_middle_is_torchvisions_resize_and_centre_crop(large, size, resize):
    recipe = transforms.Compose([transforms.Resize(resize or size), transforms.CenterCrop(size)])
    for path in large.paths:
        picture = Image.open(path)
        assert resize_and_center_crop(picture, size, resize).tobytes() == recipe(picture).tobytes()
    assert (
        resized_crop(picture, (1, 2, 9, 8), 7).tobytes()
        == functional.resized_crop(picture, 2, 1, 6, 8, [7, 7]).tobytes()
    )


def test_only_a_few_batches_are_read_ahead_and_leaving_early_ends_the_threads(large, monkeypatch):
    read, before = [], threading.active_count()
    original = image_files_module.read_image
    monkeypatch.setattr(image_files_module, "read_image", lambda path: read.append(path) or original(path))
    files = ImageFiles(large.root, list(large.paths) * 20, 12, 14)
    batches = streamed(files).epoch(1, batch_size=4)
    next(batches)
    assert 4 <= len(read) <= 4 * (PREFETCH_BATCHES + 1)
    batches.close()
    assert threading.active_count() == before
    assert len(read) < len(files)


def test_a_broken_and_a_lost_picture_are_named(small, tmp_path):
    files, _, _ = small
    paths = list(files.paths)
    for content in (b"no picture", None):
        paths[7] = str(tmp_path / "broken.png")
        if content is None:
            (tmp_path / "broken.png").unlink()
        else:
            (tmp_path / "broken.png").write_bytes(content)
        images = streamed(ImageFiles(str(tmp_path), paths, 8))
        with pytest.raises(DataError, match=r"broken\.png") as caught:
            whole(images)
        assert "\n" not in str(caught.value)


def test_pictures_of_unequal_sizes_need_a_size(small, large):
    with pytest.raises(DataError, match=r"40.*14.*3.*--size"):
        ImageFiles(large.root, large.paths)[:]
    files, pixels, _ = small
    assert torch.equal(ImageFiles(files.root, files.paths)[:], pixels)  # of one size they are taken as they are


def test_the_fingerprint_is_of_names_lengths_and_the_cut_but_not_of_the_place(small, tmp_path):
    files, _, _ = small
    elsewhere = [str(tmp_path / path.rpartition("/")[2]) for path in files.paths]
    for path, copied in zip(files.paths, elsewhere, strict=True):
        with open(path, "rb") as source, open(copied, "wb") as copy:
            copy.write(source.read())
    moved = ImageFiles(str(tmp_path), elsewhere, 8)
    assert moved.fingerprint() == files.fingerprint()
    assert ImageFiles(str(tmp_path), elsewhere, 8, 9).fingerprint() != files.fingerprint()
    assert moved.select(range(N - 1)).fingerprint() != files.fingerprint()
    with open(elsewhere[0], "ab") as file:
        file.write(b"!")
    assert moved.fingerprint() != files.fingerprint()


@pytest.mark.parametrize("kind", ["bytes", "files"])
def test_lazy_images_stand_for_the_tensor_of_a_batch(small, kind):
    files, pixels, labels = small
    lazy = LazyImages(files if kind == "files" else pixels, mean=MEAN, std=STD)
    expected = functional.normalize(pixels.float() / 255, MEAN, STD)
    assert lazy.shape == tuple(expected.shape)
    torch.testing.assert_close(lazy[:], expected, rtol=1e-6, atol=1e-6)
    chosen = torch.tensor([3, 1, 3])
    for index in (slice(2, 5), slice(None, 2), chosen):
        assert torch.equal(lazy[index], lazy[:][index])
    assert torch.equal(torch.cat(list(lazy.to("cpu").split(5))), lazy[:])
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, N))
    batches = split_batches((lazy, labels), 6)
    assert [len(y) for _, y in batches] == [6, 6, 6, 5]
    assert measure(model, batches) == measure(model, batches)  # as often as needed
    assert measure(model, batches) == measure(model, split_batches((lazy[:], labels), 6))
    with pytest.raises(DataError, match="label"):
        split_batches((lazy, labels[:-1]), 6)


def test_a_training_is_the_same_from_files_and_from_memory_and_goes_on_after_a_stop(small, tmp_path):
    files, pixels, _ = small
    _, labels = digits()

    def trained(training, validation, **options):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
        config = TrainingConfig(epochs=2, batch_size=6, lr=0.1)
        return train(model, SGD(), config, training_set=training, validation_set=validation, **options)

    def stop(row):
        raise KeyboardInterrupt

    lazy = LazyImages(files, mean=MEAN, std=STD)
    here = streamed(files, labels, StreamedAugmentation(flip=True))
    there = Images(pixels, labels, mean=MEAN, std=STD, augmentation=Augmentation(flip=True))
    with pytest.raises(KeyboardInterrupt):
        trained(here, (lazy, labels), folder=tmp_path, on_epoch=stop)  # after its first epoch
    resumed, expected = trained(here, (lazy, labels), folder=tmp_path), trained(there, (lazy[:], labels))
    assert torch.equal(resumed.model[1].weight, expected.model[1].weight)
    assert [row["accuracy"] for row in resumed.history] == [row["accuracy"] for row in expected.history]
    plain = trained(streamed(files, labels, StreamedAugmentation()), (lazy, labels))
    assert not torch.equal(plain.model[1].weight, expected.model[1].weight)  # control: the flip does something


def test_what_cannot_be_right_is_refused(small):
    files, _, labels = small
    with pytest.raises(DataError, match=r"got 23.*22"):
        streamed(files, labels[:-1])
    with pytest.raises(DataError, match="labels"):
        streamed(files, labels.float())
    with pytest.raises(InputError, match="`size`"):
        streamed(ImageFiles(files.root, files.paths), labels)
    with pytest.raises(InputError, match=r"4 images.*3"):
        streamed(files, labels).epoch(1, batch_size=4, num_shards=3)  # before the first batch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"area": (0.5,)}, r"area.*got \(0\.5,\)"),
        ({"area": (0.5, 1.5)}, "area"),
        ({"area": (0.0, 1.0)}, "area"),
        ({"area": (1.0, 0.5)}, r"area.*got \(1\.0, 0\.5\)"),
        ({"area": 0.5}, r"area.*got 0\.5"),
        ({"ratio": ()}, "ratio"),
        ({"ratio": ("a", "b")}, "ratio"),
        ({"flip": 1}, "flip"),
    ],
    ids=str,
)
def test_an_augmentation_that_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        StreamedAugmentation(**options)


@pytest.mark.gpu
def test_on_a_gpu_the_batches_are_the_same(large, accelerator):
    images = streamed(large)
    expected, got = whole(images), whole(images.to(accelerator))
    assert got[0].device == got[1].device == accelerator
    assert torch.equal(got[1].cpu(), expected[1])
    torch.testing.assert_close(got[0].cpu(), expected[0], rtol=1e-6, atol=1e-6)
    lazy = images.unaugmented()[0].to(accelerator)
    torch.testing.assert_close(torch.cat(list(lazy.split(5))).cpu(), images.unaugmented()[0][:], rtol=1e-6, atol=1e-6)
