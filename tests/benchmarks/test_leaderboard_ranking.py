"""The interval of the worst device covers it, and methods are ordered only where they differ."""

import numpy as np
import pandas as pd
import pytest
from leaderboard.ranking import mean_of_devices, p_better, places, settled_order, worst_device

from aimc_robust.statistics.estimate import Estimate
from aimc_robust.statistics.t_interval import mean_error

MODELS, CHIPS = 5, 4


def devices(means, rng, *, model_sd=1.0, chip_sd=1.0, shared=None):
    """Accuracies of one method on devices with these true means."""
    seeds, chips = np.repeat(np.arange(MODELS), CHIPS), np.tile(np.arange(CHIPS), MODELS)
    made = {}
    for number, mean in enumerate(means):
        model = rng.normal(0, model_sd, MODELS) if shared is None else shared
        values = mean + model[seeds] + rng.normal(0, chip_sd, MODELS * CHIPS)
        made[f"device-{number}"] = Estimate(pd.DataFrame({"train_seed": seeds, "chip": chips, "accuracy": values}))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("means", [[60.0] * 6, [60.0, 61.0, 62.0, 70.0], [50.0, 80.0, 80.0]])
def test_the_interval_covers_the_truly_worst_device(means):
    rng = np.random.default_rng(1)
    intervals = [worst_device(devices(means, rng)).ci for _ in range(150)]
    missed = np.mean([not low <= min(means) <= high for low, high in intervals])
    assert missed <= 0.05 + 2.0 * np.sqrt(0.05 * 0.95 / 150)


@pytest.mark.slow
def test_the_interval_of_the_lowest_mean_alone_would_not_cover():
    """The negative control: where devices are alike, the lowest mean is below the truth by chance."""
    rng = np.random.default_rng(2)
    missed = 0
    for _ in range(120):
        made = devices([60.0] * 10, rng)
        missed += not made[worst_device(made).device].ci[0] <= 60.0 <= made[worst_device(made).device].ci[1]
    assert missed / 120 > 0.08


def test_one_device_has_the_interval_of_its_mean():
    made = devices([60.0], np.random.default_rng(3))
    worst = worst_device(made)
    assert (worst.device, worst.mean) == ("device-0", made["device-0"].mean)
    assert worst.ci == pytest.approx(made["device-0"].ci)


def test_methods_that_are_alike_are_tied_and_a_better_one_is_above():
    rng = np.random.default_rng(4)
    alike = [devices([60.0, 61.0], rng) for _ in range(3)]
    better = devices([80.0, 90.0], rng)
    order = settled_order([better, *alike])
    assert order.tolist() == [[False, True, True, True], *[[False] * 4] * 3]
    assert places(order) == [(1, 1), (2, 4), (2, 4), (2, 4)]


def test_a_method_must_be_better_on_each_of_its_devices():
    """Better on one device, worse on another: the worst device decides, whichever it is."""
    rng = np.random.default_rng(5)
    first, second = devices([90.0, 50.0], rng), devices([60.0, 60.0], rng)
    assert p_better(second, first) < 0.01
    assert p_better(first, second) > 0.9


@pytest.mark.slow
def test_few_false_orders_of_equal_methods():
    rng = np.random.default_rng(6)
    wrong = [settled_order([devices([60.0, 60.5, 75.0], rng) for _ in range(3)]).any() for _ in range(50)]
    assert np.mean(wrong) <= 0.05 + 2.0 * np.sqrt(0.05 * 0.95 / 50)


def test_pairs_share_models_so_that_what_both_lose_cancels():
    rng = np.random.default_rng(7)
    shared = rng.normal(0, 10.0, MODELS)
    first, second = (devices([mean], rng, chip_sd=0.5, shared=shared) for mean in (63.0, 60.0))
    assert p_better(first, second) < 0.01
    assert worst_device(first).ci[0] < worst_device(second).ci[1]  # the single intervals overlap


def test_the_mean_of_devices_is_that_of_each_model_and_chip():
    made = devices([60.0, 80.0], np.random.default_rng(8))
    mean = mean_of_devices(made)
    assert mean.mean == pytest.approx(np.mean([estimate.mean for estimate in made.values()]))
    assert mean.seeds == MODELS
    assert mean.ci[0] <= mean.mean <= mean.ci[1]
    assert np.isfinite(mean_error(mean.effects.model_means).variance)
