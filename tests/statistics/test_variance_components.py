"""Crossed variance components against statsmodels' REML, by hand, and by the coverage of the interval."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from support.estimates import estimate

from aimc_robust.statistics.crossed_effects import CrossedEffects, variance_components


def accuracies(models, chips, *, sd_seed=2.0, sd_chip=1.0, sd_noise=1.5, seed=0):
    rng = np.random.default_rng(seed)
    effects = 70.0 + rng.normal(0, sd_seed, (models, 1)) + rng.normal(0, sd_chip, (1, chips))
    return effects + rng.normal(0, sd_noise, (models, chips))


def components(values):
    return variance_components(CrossedEffects(np.asarray(values, dtype=float)))


def test_a_small_table_by_hand():
    # Model means 2, 5, 11 (variance 21), chip means 14/3, 22/3; residuals +-1/3, +-2/3, +-1/3 (SS 4/3 over 2).
    found = components([[1.0, 3.0], [3.0, 7.0], [10.0, 12.0]])
    assert (found.noise, found.residual) == pytest.approx((12.0 / 3, 2.0 / 3))
    assert found.chip == pytest.approx(4.0 - 2.0 / 3)
    assert found.seed == pytest.approx(21.0 - 1.0 / 3)
    assert found.seed_text == "4.55"


def test_balanced_and_positive_it_agrees_with_reml_of_statsmodels():
    table = estimate(accuracies(6, 8, seed=3)).table.assign(all=1)
    formulas = {"chip": "0 + C(chip)", "train_seed": "0 + C(train_seed)"}
    fit = MixedLM.from_formula("accuracy ~ 1", groups="all", vc_formula=formulas, data=table).fit(
        reml=True, method="powell"
    )
    found = estimate(accuracies(6, 8, seed=3)).components
    assert (found.chip, found.seed) == pytest.approx(tuple(fit.vcomp), rel=1e-3)
    assert found.residual == pytest.approx(fit.scale, rel=1e-3)


def test_sd_seed_holds_both_components():
    found = estimate(accuracies(5, 8))
    assert found.sd_seed**2 == pytest.approx(found.components.seed + found.components.residual / 8)
    within = found.table.groupby("train_seed")["accuracy"].std()
    assert found.components.noise == pytest.approx((within**2).mean())


def test_models_closer_than_their_residuals_explain_show_a_negative_component():
    found = components([[1.0, 9.0], [9.0, 1.1], [2.0, 8.0]])
    assert found.seed < -5
    assert found.seed_text == f"negative (variance {found.seed:.2g})"


def test_a_chip_that_is_bad_for_all_models_is_no_difference_between_models():
    shared = accuracies(8, 10, sd_seed=0.0, sd_chip=5.0, sd_noise=0.1)
    assert components(shared).chip == pytest.approx(np.var(shared.mean(axis=0), ddof=1), rel=0.01)
    assert abs(components(shared).seed) < 0.01


def test_the_interval_of_one_models_noise_is_chi_squares():
    values = accuracies(1, 12)
    found = components(values)
    assert stats.chi2.cdf(11 * found.noise / found.noise_ci[0], 11) == pytest.approx(0.975)
    assert stats.chi2.cdf(11 * found.noise / found.noise_ci[1], 11) == pytest.approx(0.025)
    assert math.isnan(found.seed)
    assert math.isnan(found.chip)
    assert (found.seed_text, found.residual) == ("–", found.noise)


@pytest.mark.parametrize("sd_chip", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(("models", "chips"), [(3, 10), (8, 25)])
def test_the_interval_of_the_noise_covers_95_percent(models, chips, sd_chip):
    found = [components(accuracies(models, chips, sd_chip=sd_chip, seed=seed)).noise_ci for seed in range(800)]
    low, high = np.transpose(found)
    truth = sd_chip**2 + 1.5**2
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.98


def test_chips_taken_for_independent_would_cover_too_little():
    found = [components(accuracies(8, 10, sd_chip=3.0, seed=seed)).noise for seed in range(500)]
    low, high = (72 * np.array(found) / stats.chi2.ppf(level, 72) for level in (0.975, 0.025))
    assert np.mean((low <= 11.25) & (high >= 11.25)) < 0.75


def test_one_chip_per_model_tells_nothing_apart():
    found = components([[1.0], [2.0], [4.0]])
    assert all(map(math.isnan, (found.noise, found.seed, found.chip, found.residual, *found.noise_ci)))


def test_chips_that_are_all_equal_leave_the_models_alone():
    found = components([[70.0, 70.0, 70.0], [0.1 * 3 * 100, 30.0, 30.0]])  # equal but for rounding
    assert (found.noise, found.chip, found.residual) == (0.0, 0.0, 0.0)
    assert found.seed == pytest.approx(800.0)


def test_components_do_not_depend_on_the_order_of_rows_or_names_of_models():
    found = estimate(accuracies(4, 6))
    renamed = type(found)(found.table.assign(train_seed=10 - found.table["train_seed"]).sort_values("accuracy"))
    assert renamed.components.seed == pytest.approx(found.components.seed)
