"""Draws are distributed as those of other code and independent of each other; the checks can tell when they are not."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from aimc_robust.data.augmentation import Augmentation, AugmentationDraws, apply_cutout_
from aimc_robust.data.in_memory import Images
from aimc_robust.errors import InputError
from aimc_robust.seeding import Axes, global_seed

ALPHA = 1e-3
IMAGES = 8000
CROP = Augmentation(crop=4, flip=True)
CUTOUT = Augmentation(cutout=3)
HOLED = (7, 9)  # height and width of the images that holes are cut in
HALF = Augmentation(cutout=4, cutout_probability=0.5)


def probe(height, width):
    """An image that shows which of its pixels is where: 1, 2, 3, ..."""
    return torch.arange(1.0, height * width + 1).reshape(1, height, width)


def crops_seen(images):
    """How often each (top, left, flip) occurs in crops (N, 1, 32, 32) of the probe, read off the two middle pixels."""
    here, right = images[:, 0, 16, 15].long() - 1, images[:, 0, 16, 16].long() - 1
    flip = (right < here).long()
    top, left = here // 32 - 16 + 4, here % 32 - 15 - flip + 4
    return torch.bincount((top * 9 + left) * 2 + flip, minlength=162).numpy()


def holes_seen(images):
    """How often each center of a 3 x 3 hole occurs in images (N, 1, 7, 9); at the border a part of it lies outside."""
    empty = images[:, 0] == 0
    centers = []
    for sides in (empty.any(dim=2), empty.any(dim=1)):
        first, size = sides.int().argmax(dim=1), sides.sum(dim=1)
        assert ((size == 3) | ((size == 2) & (sides[:, 0] | sides[:, -1]))).all()
        centers.append(torch.where(sides[:, 0] & (size == 2), 0, first + 1))
    return torch.bincount(centers[0] * 9 + centers[1], minlength=63).numpy()


def ours(augmentation, size, change=None):
    """The probe after 8000 draws, some of which may be changed first."""
    images = Images(probe(*size).expand(IMAGES, -1, -1, -1), torch.arange(IMAGES), augmentation=augmentation)
    draws = images.sample_augmentation(1, seed=7)
    return images.augment(torch.arange(IMAGES), draws if change is None else draws._replace(**change(draws)))


def torchvisions(case):
    if case == "crop and flip":
        transforms = pytest.importorskip("torchvision.transforms")
        made = transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()])
        return torch.stack([made(probe(32, 32)) for _ in range(IMAGES)])
    return torch.stack([cut_out(probe(*HOLED), side=3) for _ in range(IMAGES)])


def cut_out(image, side):
    """The Cutout paper's transform, by slices: a center anywhere in the image, the square clipped at its edges."""
    height, width = image.shape[1:]
    y, x = int(torch.randint(height, ())), int(torch.randint(width, ()))
    image[:, max(0, y - side // 2) : y - side // 2 + side, max(0, x - side // 2) : x - side // 2 + side] = 0.0
    return image


CASES = {"crop and flip": (CROP, (32, 32), crops_seen), "cutout": (CUTOUT, HOLED, holes_seen)}
FAULTS = {
    "the last corner is never drawn": ("crop and flip", lambda d: {"top": d.top.clamp(max=7)}),
    "too few are mirrored": ("crop and flip", lambda d: {"flip": d.flip & (torch.arange(IMAGES) % 5 > 0)}),
    "rows and columns go together": ("crop and flip", lambda d: {"left": d.top}),
    "the flip knows the crop": ("crop and flip", lambda d: {"flip": d.left % 2 == 0}),
    "a hole is never at the right": ("cutout", lambda d: {"hole_left": d.hole_left.clamp(max=6)}),
    "holes keep to the diagonal": ("cutout", lambda d: {"hole_left": d.hole_top}),
}


@pytest.fixture(scope="module")
def references():
    """Torchvision's counts."""
    with global_seed(0):
        return {case: CASES[case][2](torchvisions(case)) for case in CASES}


def same_distribution(counts, others):
    """p-value of two rows of counts coming from one distribution."""
    return stats.chi2_contingency(np.stack([counts, others])[:, counts + others > 0]).pvalue


@pytest.mark.parametrize("case", CASES)
def test_places_and_flips_are_distributed_as_those_of_other_code(case, references):
    augmentation, size, seen = CASES[case]
    counts = seen(ours(augmentation, size))
    assert counts.sum() == IMAGES
    assert same_distribution(counts, references[case]) > ALPHA
    assert stats.chisquare(counts).pvalue > ALPHA  # every place alike
    assert stats.chisquare(references[case]).pvalue > ALPHA


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_fails_for_a_biased_draw(fault, references):
    case, change = FAULTS[fault]
    augmentation, size, seen = CASES[case]
    counts = seen(ours(augmentation, size, change))
    assert same_distribution(counts, references[case]) < ALPHA
    assert stats.chisquare(counts).pvalue < ALPHA


EVERYTHING = Augmentation(crop=2, flip=True, cutout=4, cutout_probability=0.5)


def draws_of(augmentation=EVERYTHING, n=20_000, **axes):
    return augmentation.sample(Axes(0).at(**({"epoch": 1} | axes)), n, 8, 9)


def independent(one, other):
    """p-value of two rows of draws being independent."""
    one, other = (draws.long() - draws.long().min() for draws in (one, other))
    table = np.zeros((int(one.max()) + 1, int(other.max()) + 1))
    np.add.at(table, (one.numpy(), other.numpy()), 1)
    return stats.chi2_contingency(table).pvalue


@pytest.mark.parametrize("pair", list(itertools.combinations(AugmentationDraws._fields, 2)), ids=" and ".join)
def test_the_kinds_are_independent(pair):
    draws = draws_of()
    assert independent(*[getattr(draws, name) for name in pair]) > ALPHA
    assert independent(draws.top, draws.top) < ALPHA  # the check can fail


@pytest.mark.parametrize("name", AugmentationDraws._fields)
def test_epochs_and_neighbours_are_independent(name):
    draws, later = getattr(draws_of(), name), getattr(draws_of(epoch=2), name)
    assert independent(draws, later) > ALPHA
    assert independent(draws[1:], draws[:-1]) > ALPHA


def test_switching_a_kind_on_or_off_does_not_move_the_others():
    everything = draws_of()
    alone = {
        Augmentation(crop=2): ("top", "left"),
        Augmentation(flip=True): ("flip",),
        HALF: ("hole", "hole_top", "hole_left"),
        Augmentation(): (),
    }
    for augmentation, names in alone.items():
        draws = draws_of(augmentation)
        for name, draw in draws._asdict().items():
            assert torch.equal(draw, getattr(everything, name)) if name in names else draw is None


RECORDED = {
    "top": [2, 2, 1, 2, 1, 0, 4, 1],
    "left": [4, 1, 2, 1, 4, 2, 3, 3],
    "flip": [1, 0, 1, 1, 1, 0, 1, 1],
    "hole": [0, 1, 1, 0, 0, 0, 0, 1],
    "hole_top": [2, -1, 2, 1, 0, -2, -2, -1],
    "hole_left": [0, 2, -1, 4, -2, -1, 0, 2],
}


def test_draws_are_the_recorded_ones_so_that_an_old_training_can_go_on():
    draws = EVERYTHING.sample(Axes(3).at(epoch=2), 8, 6, 7)
    assert {name: draw.int().tolist() for name, draw in draws._asdict().items()} == RECORDED


def test_a_hole_has_its_center_at_every_pixel_of_the_image_and_no_other():
    draws = draws_of()
    assert sorted(set(draws.hole_top.tolist())) == list(range(-2, 6))
    assert sorted(set(draws.hole_left.tolist())) == list(range(-2, 7))
    odd = draws_of(Augmentation(cutout=3))
    assert (int(odd.hole_top.min()), int(odd.hole_top.max())) == (-1, 6)


def test_a_square_is_cut_out_with_its_probability():
    for probability in (0.0, 0.25, 1.0):
        share = draws_of(Augmentation(cutout=4, cutout_probability=probability)).hole.double().mean().item()
        assert share == pytest.approx(probability, abs=4 * (probability * (1 - probability) / 20_000) ** 0.5)
    images = Images(torch.ones(500, 1, 8, 9), torch.arange(500), augmentation=HALF)
    draws = images.sample_augmentation(1)
    empty = images.augment(torch.arange(500), draws).eq(0).any(dim=(1, 2, 3)).squeeze()
    assert torch.equal(empty, draws.hole)
    assert 0 < empty.sum() < 500


def test_a_square_is_clipped_at_the_edges():
    hole, top, left = torch.tensor([True, True, False]), torch.tensor([-2, 6, 0]), torch.tensor([-3, 5, 0])
    holed = apply_cutout_(torch.ones(3, 2, 8, 9), hole, top, left, 4)
    expected = torch.ones(3, 2, 8, 9)
    expected[0, :, :2, :1] = 0.0
    expected[1, :, 6:, 5:] = 0.0
    assert torch.equal(holed, expected)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    draws_of()
    assert torch.equal(torch.get_rng_state(), before)


FIELDS = {
    "crop below 0": ({"crop": -1}, "crop must be a whole number from 0 to 1024, got -1"),
    "half a pixel": ({"crop": 0.5}, "crop must be a whole number from 0 to 1024, got 0.5"),
    "a switch for pixels": ({"cutout": True}, "cutout must be a whole number from 0, got True"),
    "more than always": ({"cutout_probability": 1.5}, "cutout_probability must be .*, got 1.5"),
    "pixels for a switch": ({"flip": 1}, "flip must be true or false, got 1"),
}


@pytest.mark.parametrize("fault", FIELDS)
def test_fields_that_cannot_be_right_are_refused(fault):
    fields, message = FIELDS[fault]
    with pytest.raises(InputError, match=message):
        Augmentation(**fields)


def test_a_hole_larger_than_the_image_is_refused():
    Augmentation(cutout=6).check_size(6, 9)
    with pytest.raises(InputError, match="cutout 7 is larger than the images, 6 x 9"):
        Augmentation(cutout=7).check_size(6, 9)
