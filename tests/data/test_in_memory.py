"""Images in memory: batches equal a pixel-by-pixel loop and torchvision, and depend on (seed, epoch, stream) alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aimc_robust.data.augmentation import Augmentation
from aimc_robust.data.in_memory import Images
from aimc_robust.errors import DataError, InputError

ALL = Augmentation(crop=2, flip=True, cutout=3, cutout_probability=0.5)
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


def floats(n=11, shape=(3, 6, 8), seed=0):
    """Random images, none of whose pixels is 0, and their indices for labels."""
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)) + 0.5, torch.arange(n)


def raw(n=11, shape=(3, 6, 8), seed=0):
    """The same as bytes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, *shape), generator=generator, dtype=torch.uint8), torch.arange(n)


def whole(images, epoch=1, batch_size=4, **options):
    """All batches of an epoch in a row."""
    inputs, labels = zip(*images.epoch(epoch, batch_size=batch_size, **options), strict=True)
    return torch.cat(inputs), torch.cat(labels)


def by_loop(image, black, augmentation, draws, index):
    """One augmented image, pixel by pixel in float64."""
    channels, height, width = image.shape
    out = np.empty(image.shape)
    for c, row, column in np.ndindex(channels, height, width):
        mirrored = augmentation.flip and bool(draws.flip[index])
        y, x = row, width - 1 - column if mirrored else column
        if augmentation.crop:
            y, x = y + int(draws.top[index]) - augmentation.crop, x + int(draws.left[index]) - augmentation.crop
        value = image[c, y, x] if 0 <= y < height and 0 <= x < width else black[c]
        if augmentation.cutout and bool(draws.hole[index]):
            down, right = row - int(draws.hole_top[index]), column - int(draws.hole_left[index])
            value = 0.0 if 0 <= down < augmentation.cutout and 0 <= right < augmentation.cutout else value
        out[c, row, column] = value
    return out


@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 8), st.integers(1, 8)),
    crop=st.integers(0, 9),
    flip=st.booleans(),
    cutout=st.integers(0, 8),
    probability=st.sampled_from([0.5, 1.0]),
    batch_size=st.integers(1, 8),
    axes=st.fixed_dictionaries({"seed": st.integers(0, 2**40), "stream": st.integers(0, 2)}),
    normalize=st.booleans(),
)
def test_batches_equal_a_loop_over_pixels(shape, crop, flip, cutout, probability, batch_size, axes, normalize):
    n, channels, height, width = shape
    side = min(cutout, height, width)
    augmentation = Augmentation(crop=crop, flip=flip, cutout=side, cutout_probability=probability)
    mean, std = np.array(MEAN[:channels]), np.array(STD[:channels])
    if normalize:
        inputs, labels = raw(n, shape[1:])
        images = Images(inputs, labels, mean=MEAN[:channels], std=STD[:channels], augmentation=augmentation)
        expected = (inputs.double().numpy() / 255 - mean[:, None, None]) / std[:, None, None]
        black, tolerance = -mean / std, 1e-5
    else:
        inputs, labels = floats(n, shape[1:])
        black, tolerance = np.array([-1.5, 0.25, -2.0])[:channels], 0.0  # exact in float32
        images = Images(inputs, labels, augmentation=augmentation, black=black)
        expected = inputs.double().numpy()
    draws = images.sample_augmentation(3, **axes)
    seen = 0
    for batch, which in images.epoch(3, batch_size=batch_size, **axes):
        assert batch.shape == (min(batch_size, n), *shape[1:])
        for image, index in zip(batch, which.tolist(), strict=True):
            reference = by_loop(expected[index], black, augmentation, draws, index)
            np.testing.assert_allclose(image.double().numpy(), reference, rtol=tolerance, atol=tolerance)
            seen += 1
    assert seen == n // min(batch_size, n) * min(batch_size, n)
    plain, plain_labels = images.unaugmented()
    np.testing.assert_allclose(plain.double().numpy(), expected, rtol=tolerance, atol=tolerance)
    assert torch.equal(plain_labels, labels)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 7, 12)])
def test_a_batch_equals_torchvisions_functions_on_pil_images(shape):
    """Padded with black and normalised afterwards, as its pipelines do."""
    functional = pytest.importorskip("torchvision.transforms.functional")
    inputs, labels = raw(20, shape)
    mean, std = MEAN[: shape[0]], STD[: shape[0]]
    augmentation = Augmentation(crop=4, flip=True, cutout=5)
    images = Images(inputs, labels, mean=mean, std=std, augmentation=augmentation)
    draws = images.sample_augmentation(1)
    for batch, which in images.epoch(1, batch_size=20):
        for image, i in zip(batch, which.tolist(), strict=True):
            pil = functional.pad(functional.to_pil_image(inputs[i]), 4)
            pil = functional.crop(pil, int(draws.top[i]), int(draws.left[i]), *shape[1:])
            pil = functional.hflip(pil) if draws.flip[i] else pil
            expected = functional.normalize(functional.to_tensor(pil), mean, std)
            top, left = int(draws.hole_top[i]), int(draws.hole_left[i])
            size = (min(top, 0) + 5, min(left, 0) + 5)  # its slices end at the image's edges, but may not begin outside
            expected = functional.erase(expected, max(top, 0), max(left, 0), *size, 0.0)
            torch.testing.assert_close(image, expected, rtol=1e-6, atol=1e-6)


def test_images_normalised_before_and_here_are_the_same():
    inputs, labels = raw()
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    before = (inputs.float() / 255 - mean[:, None, None]) / std[:, None, None]
    here = Images(inputs, labels, mean=MEAN, std=STD, augmentation=ALL)
    there = Images(before, labels, black=-mean / std, augmentation=ALL)
    assert torch.equal(whole(here)[0], whole(there)[0])
    assert not torch.equal(whole(here)[0], whole(Images(before, labels, augmentation=ALL))[0])  # border of 0 instead


@pytest.mark.parametrize("augmentation", [None, ALL])
def test_plain_gives_the_images_back_bit_for_bit_and_nothing_writes_to_them(augmentation):
    inputs, labels = floats()
    kept = inputs.clone()
    images = Images(inputs, labels, augmentation=augmentation)
    for batch, _ in images.epoch(1, batch_size=3):
        batch.zero_()
    assert torch.equal(inputs, kept)
    assert torch.equal(images.unaugmented()[0], kept)
    assert len(images) == 11


def test_every_image_comes_once_and_a_partial_batch_only_when_it_is_all():
    images = Images(*floats(11))
    assert [len(labels) for _, labels in images.epoch(1, batch_size=4)] == [4, 4]
    assert len(set(whole(images)[1].tolist())) == 8
    assert sorted(whole(images, batch_size=1)[1].tolist()) == list(range(11))
    assert sorted(whole(images, batch_size=100)[1].tolist()) == list(range(11))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 11, 64])
def test_numbers_do_not_depend_on_the_batch_size(batch_size):
    images = Images(*floats(11), augmentation=ALL)
    reference, order = whole(images, batch_size=11)
    got, labels = whole(images, batch_size=batch_size)
    assert torch.equal(labels, order[: len(labels)])
    assert torch.equal(got, reference[: len(labels)])


@pytest.mark.parametrize(("batch_size", "parts"), [(6, 2), (6, 3), (6, 6), (100, 11), (4, 1)])
def test_the_processes_shares_make_up_the_batch(batch_size, parts):
    images = Images(*floats(11), augmentation=ALL)
    shares = [images.epoch(2, batch_size=batch_size, seed=5, shard=part, num_shards=parts) for part in range(parts)]
    batches = list(images.epoch(2, batch_size=batch_size, seed=5))
    for batch, *handed in zip(batches, *shares, strict=True):
        assert len({len(labels) for _, labels in handed}) == 1
        assert torch.equal(batch[0], torch.cat([inputs for inputs, _ in handed]))
        assert torch.equal(batch[1], torch.cat([labels for _, labels in handed]))


def test_the_order_is_the_recorded_one_so_that_an_old_training_can_go_on():
    _, labels = whole(Images(*floats(11)), epoch=2, seed=3, stream=1, batch_size=11)
    assert labels.tolist() == [5, 6, 4, 3, 0, 1, 7, 2, 10, 8, 9]


def test_same_axes_same_numbers_and_any_other_axis_others():
    images = Images(*floats(40), augmentation=ALL)
    reference = {"epoch": 1, "seed": 0, "stream": 0}
    inputs, labels = whole(images, **reference)
    before = torch.get_rng_state()
    again = whole(Images(*floats(40), augmentation=ALL), **reference)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(inputs, again[0])
    assert torch.equal(labels, again[1])
    for axis in reference:
        changed = reference | {axis: reference[axis] + 1}
        assert not torch.equal(labels, whole(images, **changed)[1]), axis
        draws = [images.sample_augmentation(**axes) for axes in (reference, changed)]
        for one, other in zip(*draws, strict=True):
            assert not torch.equal(one, other), axis


def test_two_passes_at_once_do_not_disturb_each_other():
    images = Images(*floats(), augmentation=ALL)
    streams = [images.epoch(1, batch_size=4, stream=stream) for stream in (0, 1)]
    together = [torch.cat(parts) for parts in zip(*[(a[0], b[0]) for a, b in zip(*streams, strict=True)], strict=True)]
    assert torch.equal(together[0], whole(images, stream=0)[0])
    assert torch.equal(together[1], whole(images, stream=1)[0])


@pytest.mark.parametrize("shape", [(), (5,), (4, 7), (2, 3, 4), (2, 3, 4, 5)])
def test_inputs_of_any_shape_do_without_augmentation(shape):
    images = Images(*floats(9, shape))
    inputs, labels = whole(images)
    assert torch.equal(inputs, images.unaugmented()[0][labels])
    tokens = torch.arange(9)
    assert torch.equal(*whole(Images(tokens, tokens)))


def test_bytes_count_from_0_to_1_and_are_normalised_as_torchvision_does():
    functional = pytest.importorskip("torchvision.transforms.functional")
    inputs, labels = raw()
    tensors = torch.stack([functional.to_tensor(functional.to_pil_image(image)) for image in inputs])
    assert torch.equal(Images(inputs, labels).unaugmented()[0], tensors)
    normalised = Images(inputs, labels, mean=MEAN, std=STD, augmentation=ALL).unaugmented()[0]
    torch.testing.assert_close(normalised, functional.normalize(tensors, MEAN, STD), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_precision_of_the_images_is_kept(dtype):
    inputs, labels = floats()
    images = Images(inputs.to(dtype), labels, augmentation=ALL, black=torch.tensor([-1.0, 0.5, 0.0]))
    reference = Images(inputs.to(dtype).double(), labels, augmentation=ALL, black=[-1.0, 0.5, 0.0])
    assert whole(images)[0].dtype == dtype
    assert torch.equal(whole(images)[0].double(), whole(reference)[0])


def test_to_shares_what_is_there_and_gives_the_same_batches():
    images = Images(*floats(), augmentation=ALL)
    moved = images.to("cpu")
    assert moved.stored is images.stored
    assert torch.equal(whole(moved)[0], whole(images)[0])


@pytest.mark.gpu
def test_on_a_gpu_the_batches_are_the_same(accelerator):
    inputs, labels = raw()
    make = lambda *data: Images(*data, mean=MEAN, std=STD, augmentation=ALL)  # noqa: E731
    reference = make(inputs, labels)
    for images in (
        make(inputs.to(accelerator), labels),
        make(inputs.to(accelerator), labels.to(accelerator)),
        reference.to(accelerator),
    ):
        got = whole(images)
        assert images.device == got[0].device == got[1].device == accelerator
        assert torch.equal(got[1].cpu(), whole(reference)[1])
        torch.testing.assert_close(got[0].cpu(), whole(reference)[0], rtol=1e-6, atol=1e-6)


SMALL = torch.rand(4, 3, 6, 8)
FAULTS = {
    "no labels": (SMALL, {"labels": torch.arange(3)}, DataError, "label for each image.*got 4 and 3"),
    "mean without std": (SMALL, {"mean": MEAN}, InputError, "got only mean"),
    "std without mean": (SMALL, {"std": STD}, InputError, "got only std"),
    "black twice": (SMALL, {"mean": MEAN, "std": STD, "black": MEAN}, InputError, "`black`"),
    "mean of too few": (SMALL, {"mean": [0.5], "std": STD}, InputError, "mean must hold.* 3 channels, got"),
    "std of too many": (SMALL, {"mean": MEAN, "std": [1.0] * 4}, InputError, "std must hold.* 3 channels"),
    "std of 0": (
        SMALL,
        {"mean": MEAN, "std": [1.0, 0.0, 1.0]},
        InputError,
        "std must hold one finite number above 0",
    ),
    "NaN for a mean": (SMALL, {"mean": [0.5, 0.5, float("nan")], "std": STD}, InputError, "finite"),
    "black of too few": (SMALL, {"black": [0.0], "augmentation": ALL}, InputError, "black must hold"),
    "a hole too large": (SMALL, {"augmentation": Augmentation(cutout=7)}, InputError, "larger than the images, 6 x 8"),
    "features cropped": (SMALL[:, 0, 0], {"augmentation": ALL}, DataError, r"\(N, C, H, W\).*got float32 \(4, 8\)"),
    "features normalised": (SMALL[:, 0, 0], {"mean": [0.5], "std": [0.2]}, DataError, r"got float32 \(4, 8\)"),
    "whole numbers": (SMALL.long(), {"mean": MEAN, "std": STD}, DataError, "got int64"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_right_is_refused(fault):
    inputs, options, error, message = FAULTS[fault]
    with pytest.raises(error, match=message):
        Images(inputs, **({"labels": torch.arange(4)} | options))


EPOCH_FAULTS = {
    "no batch": ({"batch_size": 0}, "batch_size must be a whole number from 1, got 0"),
    "a fraction": ({"batch_size": 2.5}, "batch_size.*2.5"),
    "no processes": ({"batch_size": 4, "num_shards": 0}, "num_shards.*from 1"),
    "a process too many": ({"batch_size": 4, "shard": 2, "num_shards": 2}, "shard.*from 0 to 1, got 2"),
    "an unequal share": ({"batch_size": 4, "num_shards": 3}, "4 images.*3 processes"),
    "few images": ({"batch_size": 32, "num_shards": 4}, "11 images.*4 processes"),
}


@pytest.mark.parametrize("fault", EPOCH_FAULTS)
def test_an_impossible_epoch_is_refused_before_its_first_batch(fault):
    options, message = EPOCH_FAULTS[fault]
    with pytest.raises(InputError, match=message):
        Images(*floats(11)).epoch(1, **options)
