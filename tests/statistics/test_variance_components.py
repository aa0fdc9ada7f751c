"""Nested variance components against statsmodels' REML, the analysis of variance by hand, and closed intervals."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from support.estimates import estimate

from aimc_robust.errors import InputError
from aimc_robust.statistics.accuracy_estimate import AccuracyEstimate
from aimc_robust.statistics.variance_components import variance_components

UNBALANCED = (2, 7, 1, 12, 5)


def models(counts, *, sd_seed=2.0, sd_noise=1.5, seed=0):
    rng = np.random.default_rng(seed)
    return [70.0 + sd_seed * rng.normal() + rng.normal(0, sd_noise, n) for n in counts]


def nans(interval):
    return all(map(math.isnan, interval))


def test_a_small_table_by_hand():
    # Means 2, 5, 11 around 6: SSB = 2 (16 + 1 + 25) = 84 over 2; SSW = 2 + 8 + 2 = 12 over 3; n0 = 2.
    found = variance_components([[1.0, 3.0], [3.0, 7.0], [10.0, 12.0]])
    assert found.noise == pytest.approx(4.0)
    assert found.seed == pytest.approx((42.0 - 4.0) / 2)
    assert found.share == pytest.approx(19.0 / 23.0)
    assert (found.noise_sd, found.seed_sd) == pytest.approx((2.0, math.sqrt(19.0)))


def test_balanced_and_positive_it_agrees_with_reml_of_statsmodels():
    table = estimate(models([8] * 6)).table
    fit = MixedLM(table["accuracy"], np.ones(len(table)), groups=table["seed"]).fit(
        reml=True, method="bfgs", gtol=1e-10
    )
    found = estimate(models([8] * 6)).components
    assert found.noise == pytest.approx(fit.scale, rel=1e-4)
    assert found.seed == pytest.approx(float(np.asarray(fit.cov_re)[0, 0]), rel=1e-4)


def test_unbalanced_it_solves_the_equations_of_the_expected_mean_squares():
    # E[SSB] as a quadratic form x'Ax in x of covariance V: trace(AV), for V of noise alone and of models alone.
    values = models(UNBALANCED)
    total, s = sum(UNBALANCED), len(UNBALANCED)
    z = np.repeat(np.eye(s), UNBALANCED, axis=0)
    within_models = z @ np.diag(1 / np.array(UNBALANCED)) @ z.T
    between, within = within_models - np.full((total, total), 1 / total), np.eye(total) - within_models
    x = np.concatenate(values)
    coefficients = [[np.trace(form), np.trace(form @ z @ z.T)] for form in (within, between)]
    noise, seed = np.linalg.solve(coefficients, [x @ within @ x, x @ between @ x])
    found = variance_components(values)
    assert (found.noise, found.seed) == pytest.approx((noise, seed))


def test_unbalanced_both_are_unbiased():
    found = [variance_components(models(UNBALANCED, seed=seed)) for seed in range(800)]
    for values, truth in (([c.noise for c in found], 1.5**2), ([c.seed for c in found], 2.0**2)):
        assert np.mean(values) == pytest.approx(truth, abs=4 * np.std(values) / math.sqrt(len(values)))


def test_sd_seed_holds_both_components():
    found = estimate(models([8] * 5))
    components = found.components
    assert found.sd_seed**2 == pytest.approx(components.seed + components.noise / 8)
    within = found.table.groupby("seed")["accuracy"].std()
    assert components.noise == pytest.approx((within**2).mean())


def test_models_closer_than_their_chips_explain_show_a_negative_component():
    found = variance_components([[1.0, 9.0], [9.0, 1.1], [2.0, 8.0]])
    assert found.seed < -10
    assert found.share < 0
    assert math.isnan(found.seed_sd)
    assert found.seed_text == f"negative (variance {found.seed:.2g})"


def test_a_positive_component_is_shown_as_its_standard_deviation():
    assert variance_components([[1.0, 3.0], [3.0, 7.0], [10.0, 12.0]]).seed_text == "4.36"


def test_the_interval_of_the_noise_is_chi_squares():
    values = models(UNBALANCED)
    degrees = sum(UNBALANCED) - len(UNBALANCED)
    within = sum(((v - v.mean()) ** 2).sum() for v in values)
    low, high = variance_components(values).noise_ci
    assert stats.chi2.cdf(within / low, degrees) == pytest.approx(0.975)
    assert stats.chi2.cdf(within / high, degrees) == pytest.approx(0.025)


@pytest.mark.parametrize(("s", "n"), [(2, 25), (3, 10), (6, 2)])
def test_balanced_the_interval_of_the_share_is_the_f_interval(s, n):
    values = np.array(models([n] * s))
    noise = values.var(axis=1, ddof=1).mean()
    f = n * values.mean(1).var(ddof=1) / noise
    ratio = [(f / stats.f.ppf(level, s - 1, s * (n - 1)) - 1) / n for level in (0.975, 0.025)]
    assert variance_components(values).share_ci == pytest.approx([r / (1 + r) for r in ratio])


def test_unbalanced_the_limits_are_where_the_weighted_mean_square_meets_f():
    values = models(UNBALANCED)
    found = variance_components(values)
    means, counts = np.array([v.mean() for v in values]), np.array(UNBALANCED)
    for share, level in zip(found.share_ci, (0.975, 0.025), strict=True):
        variances = share / (1 - share) + 1 / counts
        square = ((means - np.average(means, weights=1 / variances)) ** 2 / variances).sum() / (len(means) - 1)
        degrees = counts.sum() - len(counts)
        assert stats.f.cdf(square / found.noise, len(means) - 1, degrees) == pytest.approx(level)


@pytest.mark.parametrize("counts", [(5, 5, 5), UNBALANCED])
def test_models_of_equal_means_have_an_interval_that_stays_where_variances_are_positive(counts):
    values = [v - v.mean() for v in models(counts)]
    low, high = variance_components(values).share_ci
    assert -1.0 < low <= high <= 0.0


def test_one_model_has_noise_and_nothing_between_models():
    found = variance_components(models([10]))
    assert found.noise == pytest.approx(models([10])[0].var(ddof=1))
    assert not nans(found.noise_ci)
    assert math.isnan(found.seed)
    assert math.isnan(found.share)
    assert nans(found.share_ci)
    assert found.seed_text == "–"


def test_one_chip_per_model_tells_nothing_apart():
    found = variance_components(models([1, 1, 1]))
    assert all(map(math.isnan, (found.noise, found.seed, found.noise_sd, found.seed_sd, found.share)))
    assert nans(found.noise_ci)
    assert nans(found.share_ci)


def test_chips_that_are_all_equal_leave_the_models_alone():
    found = variance_components([[70.0, 70.0], [0.1 * 3 * 100] + [30.0] * 2])  # equal but for rounding
    assert found.noise == 0.0
    assert found.share == 1.0
    assert nans(found.share_ci)


@pytest.mark.parametrize("values", [[], [[1.0, 2.0], []], [1.0, 2.0]], ids=["no model", "an empty one", "no lists"])
def test_what_are_no_models_is_refused(values):
    with pytest.raises(InputError, match="models"):
        variance_components(values)


def test_components_do_not_depend_on_the_order_of_rows_or_names_of_models():
    values = models(UNBALANCED)
    table = estimate(values).table
    renamed = AccuracyEstimate(table.assign(seed=10 - table["seed"]).sort_values("accuracy"))
    assert renamed.components.seed == pytest.approx(variance_components(values).seed)
