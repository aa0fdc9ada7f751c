"""What the finite test set leaves, against its closed form and against test sets drawn anew."""

import numpy as np
import pytest

from aimc_robust.errors import InputError
from aimc_robust.statistics.binomial import sampling_half_width


def test_10_000_images_leave_0_85_points_at_75_percent():
    # One standard error is 0.43 points.
    assert sampling_half_width(75.0, 10_000) == pytest.approx(1.96 * 100 * np.sqrt(0.75 * 0.25 / 10_000))
    assert sampling_half_width(75.0, 10_000) == pytest.approx(0.85, abs=0.005)


@pytest.mark.parametrize(("accuracy", "near"), [(0.0, 0.5), (100.0, 99.5)])
def test_at_the_ends_it_is_that_of_one_image(accuracy, near):
    assert sampling_half_width(accuracy, 200) == sampling_half_width(near, 200) > 0


def test_one_image_says_nothing():
    assert sampling_half_width(100.0, 1) == pytest.approx(98.0)


def test_95_of_100_test_sets_score_within_it():
    scores = 100 * np.random.default_rng(0).binomial(2000, 0.8, 20_000) / 2000
    inside = np.abs(scores - 80.0) <= sampling_half_width(80.0, 2000)
    assert inside.mean() == pytest.approx(0.95, abs=0.01)


def test_a_mean_over_chips_is_moved_by_no_more_than_that():
    # Images differ in how often a chip gets them right; a test set draws images, chips stay the same in the mean.
    rng = np.random.default_rng(1)
    difficulty = rng.beta(2.0, 1.0, (4000, 500))
    spread = 1.96 * (100 * difficulty.mean(1)).std()
    assert spread < 0.6 * sampling_half_width(100 * 2 / 3, 500)
    certain = rng.random((4000, 500)) < 2 / 3  # each image always right or always wrong: the bound is reached
    assert 1.96 * (100 * certain.mean(1)).std() == pytest.approx(sampling_half_width(100 * 2 / 3, 500), rel=0.05)


@pytest.mark.parametrize(
    ("accuracy", "images", "message"),
    [
        (101.0, 10, "accuracy"),
        (-1.0, 10, "accuracy"),
        (50.0, 0, "images"),
        (50.0, 1.5, "images"),
    ],
)
def test_what_cannot_be_is_refused(accuracy, images, message):
    with pytest.raises(InputError, match=message):
        sampling_half_width(accuracy, images)
