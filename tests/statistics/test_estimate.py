"""Means, spreads and intervals against closed forms."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.statistics.binomial import sampling_half_width
from aimc_robust.statistics.crossed_effects import CrossedEffects
from aimc_robust.statistics.estimate import Estimate, WorstChip
from aimc_robust.statistics.t_interval import hall_interval

SHAPES = [(1, 1), (1, 25), (3, 1), (3, 25)]


def accuracies(seeds, chips, *, rng=None, sd_seed=2.0, sd_noise=3.0):
    """Nested: a trained model has its mean, each of its chips scatters around that. Shape (seeds, chips)."""
    rng = np.random.default_rng(seeds * 100 + chips) if rng is None else rng
    return 70.0 + rng.normal(0, sd_seed, (seeds, 1)) + rng.normal(0, sd_noise, (seeds, chips))


def estimate(values):
    rows = [
        {"train_seed": s, "chip": c, "accuracy": values[s, c]}
        for s, c in itertools.product(*map(range, np.shape(values)))
    ]
    # Rows arrive in the order in which they were computed.
    return Estimate(pd.DataFrame(rows).sample(frac=1.0, random_state=0))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mean_is_that_of_the_model_means(shape):
    values = accuracies(*shape)
    assert estimate(values).mean == pytest.approx(values.mean())
    assert (estimate(values).seeds, estimate(values).chips) == shape


def test_every_model_weighs_the_same_however_many_chips_it_has():
    rows = [(0, 0, 10.0), (1, 0, 20.0), (1, 1, 30.0), (1, 2, 40.0)]
    assert Estimate(pd.DataFrame(rows, columns=["train_seed", "chip", "accuracy"])).mean == pytest.approx(20.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_sd_noise_is_the_spread_within_a_model(shape):
    values = accuracies(*shape)
    found = estimate(values).sd_noise
    if shape[1] == 1:
        assert math.isnan(found)
    else:
        within = np.sqrt(((values - values.mean(1, keepdims=True)) ** 2).sum(1) / (shape[1] - 1))
        assert found == pytest.approx(within.mean())


@pytest.mark.parametrize("shape", SHAPES)
def test_sd_seed_is_the_spread_of_model_means(shape):
    values = accuracies(*shape)
    found = estimate(values).sd_seed
    if shape[0] == 1:
        assert math.isnan(found)
    else:
        means = values.mean(1)
        assert found == pytest.approx(np.sqrt(((means - means.mean()) ** 2).sum() / (shape[0] - 1)))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_interval_is_students_over_chips_or_models_and_that_of_crossed_effects_over_both(shape):
    values = accuracies(*shape)
    found = estimate(values)
    repeated = values.mean(1) if shape[0] > 1 else values[0]
    if len(repeated) == 1:
        assert all(map(math.isnan, found.ci))
    elif min(shape) == 1:
        expected = stats.t.interval(0.95, len(repeated) - 1, loc=repeated.mean(), scale=stats.sem(repeated))
        assert found.ci == pytest.approx(expected)
    else:
        half_width = CrossedEffects(values).mean_error().half_width()
        assert found.ci == pytest.approx((values.mean() - half_width, values.mean() + half_width))
    assert found.ci_covers == ("models" if shape[0] > 1 else "chips")


def test_a_chip_effect_that_all_models_share_widens_the_interval():
    chip_effects = np.random.default_rng(0).normal(0.0, 3.0, (1, 10))
    alone, shared = estimate(accuracies(10, 10)), estimate(accuracies(10, 10) + chip_effects)
    assert shared.sd_seed == pytest.approx(alone.sd_seed)  # it does not show between models
    assert np.ptp(shared.ci) > 1.3 * np.ptp(alone.ci)


@pytest.mark.parametrize(("accuracies", "end"), [([[99.0, 99.9], [100.0, 98.0]], 1), ([[1.0, 0.0], [0.1, 2.0]], 0)])
def test_the_interval_of_an_accuracy_ends_at_0_and_100(accuracies, end):
    found = estimate(np.array(accuracies))
    assert found.ci[end] == (0.0, 100.0)[end]
    assert 0.0 <= found.ci[0] < found.mean < found.ci[1] <= 100.0
    assert found.effects.mean_error().half_width() > abs(found.mean - found.ci[end])


@pytest.mark.parametrize("accuracy", [-0.1, 100.1, 1e4])
def test_what_is_no_percentage_is_refused(accuracy):
    with pytest.raises(InputError, match=r"from 0 to 100 %; it holds .*for_column"):
        estimate(np.array([[50.0, accuracy]]))


def test_the_half_width_over_chips_is_the_largest_of_the_models():
    values = accuracies(3, 10)
    halves = [stats.t.ppf(0.975, 9) * stats.sem(row) for row in values]
    assert estimate(values).half_width_over_chips == pytest.approx(max(halves))


def test_skewness_and_its_interval_are_those_of_one_models_chips():
    values = 90.0 - np.random.default_rng(3).gamma(1.0, 2.0, (1, 25))
    found = estimate(values)
    assert found.skewness == pytest.approx(stats.skew(values[0], bias=False))
    assert found.skewed_ci == pytest.approx(hall_interval(values[0]))
    assert found.skewed_ci[0] < found.ci[0]  # the longer arm points to the bad chips
    for other in (estimate(accuracies(2, 25)), Estimate(found.table, pilot=10), estimate(values[:, :4])):
        assert all(map(math.isnan, other.skewed_ci))


def test_the_half_width_over_25_chips_is_0_41_sd():
    found = estimate(accuracies(1, 25))
    low, high = found.ci
    assert (high - low) / 2 / found.sd_noise == pytest.approx(0.413, abs=0.001)


@pytest.mark.parametrize("q", [0.0, 0.05, 0.5, 1.0])
def test_quantiles_are_over_all_chips_and_models(q):
    values = accuracies(3, 25)
    assert estimate(values).quantile(q) == pytest.approx(np.quantile(values, q))


GOOD = {"train_seed": [0, 0], "chip": [0, 1], "accuracy": [50.0, 60.0]}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"train_seed": [0], "chip": [0]}, "'accuracy'"),
        ({"accuracy": [1.0]}, "'chip'.*'train_seed'"),
        ({"train_seed": [], "chip": [], "accuracy": []}, "rows"),
        (GOOD | {"chip": [1, 1]}, "chip"),
        (GOOD | {"accuracy": [50.0, math.nan]}, "accuracy"),
    ],
    ids=["no accuracy", "accuracy alone", "no rows", "a chip twice", "an accuracy of NaN"],
)
def test_a_table_that_cannot_be_estimated_from_is_refused(table, message):
    with pytest.raises(InputError, match=message):
        Estimate(pd.DataFrame(table))


def test_other_columns_are_carried_along():
    table = pd.DataFrame(GOOD | {"target": ["digital", "digital"]})
    assert list(Estimate(table).table["target"]) == ["digital", "digital"]


def test_models_may_have_different_numbers_of_chips():
    rng = np.random.default_rng(0)
    models = [rng.normal(70 + s, 2.0, n) for s, n in enumerate((10, 3, 25))]
    rows = [(s, c, value) for s, values in enumerate(models) for c, value in enumerate(values)]
    found = Estimate(pd.DataFrame(rows, columns=["train_seed", "chip", "accuracy"]))
    means = np.array([values.mean() for values in models])
    assert found.mean == pytest.approx(means.mean())
    half_width = found.effects.mean_error().half_width()
    assert found.ci == pytest.approx((means.mean() - half_width, means.mean() + half_width))
    assert found.sd_noise == pytest.approx(np.mean([values.std(ddof=1) for values in models]))
    assert (found.seeds, found.chips) == (3, 25)


MEASURED = pd.DataFrame(
    {
        "train_seed": [0, 0, 1, 1],
        "chip": [0, 1, 0, 1],
        "accuracy": [90.0, 80.0, 85.0, 70.0],
        "loss": [0.3, 0.6, 0.4, 0.9],
        "top5": [99.0, 98.0, 97.0, 96.0],
        "n": 400,
        "f1": [0.5, None, 0.4, 0.3],
        "note": ["a", "b", "c", "d"],
    }
)


def test_another_column_has_the_same_statistics():
    found = Estimate(MEASURED).for_column("loss")
    alone = Estimate(MEASURED[["train_seed", "chip"]].assign(accuracy=MEASURED["loss"]))
    assert found.ci[0] < 0.0  # the loss has no bounds
    for statistic in ("mean", "sd_noise", "sd_seed", "components"):
        assert getattr(found, statistic) == getattr(alone, statistic)
    assert found.quantile(0.5) == pytest.approx(0.5)
    assert found.mean == pytest.approx(0.55)


def test_the_column_accuracy_is_the_estimate_itself():
    found = Estimate(MEASURED)
    assert found.for_column("accuracy").ci == found.ci
    assert found.for_column("loss").for_column("top5").mean == found.for_column("top5").mean


@pytest.mark.parametrize("column", ["f1", "note"], ids=["a missing value", "text"])
def test_a_column_without_a_number_in_every_row_is_refused(column):
    with pytest.raises(InputError, match=f"{column}.*number in every row"):
        Estimate(MEASURED).for_column(column)


@pytest.mark.parametrize("column", ["los", "train_seed", "chip"])
def test_a_column_that_is_not_there_is_refused_by_name(column):
    with pytest.raises(UnknownNameError, match=f"unknown column '{column}'.*Known: accuracy, f1, loss"):
        Estimate(MEASURED).for_column(column)


def test_the_worst_chip_is_named():
    assert Estimate(MEASURED).worst == WorstChip(70.0, train_seed=1, chip=1)
    tied = MEASURED.assign(accuracy=70.0).sample(frac=1.0, random_state=1)
    assert Estimate(tied).worst == WorstChip(70.0, train_seed=0, chip=0)


def test_the_sampling_error_is_that_of_the_mean_on_the_tables_images():
    found = Estimate(MEASURED)
    assert found.sampling_half_width == sampling_half_width(found.mean, 400)
    assert found.for_column("top5").sampling_half_width == sampling_half_width(97.5, 400)


def test_without_a_number_of_images_or_for_what_is_no_share_of_them_there_is_no_sampling_error():
    assert math.isnan(Estimate(MEASURED.drop(columns="n")).sampling_half_width)
    assert math.isnan(Estimate(MEASURED).for_column("loss").sampling_half_width)
