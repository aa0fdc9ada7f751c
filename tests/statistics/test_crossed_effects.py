"""Crossed models and chips: every variance estimate is unbiased, and sums of squares are those of the linear model."""

import itertools
import math

import numpy as np
import pytest

from aimc_robust.statistics.crossed_effects import CrossedEffects, chip_matrix
from aimc_robust.statistics.t_interval import mean_error

PRESENT = {
    "balanced": np.ones((3, 4), bool),
    "stopped after different numbers of chips": np.arange(6) < np.array([2, 6, 1, 4])[:, None],
    "chips that some models lack": np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1], [1, 0, 1, 0, 1]], bool),
    "two blocks": np.kron(np.eye(2), np.ones((2, 3))).astype(bool),
}


def matrix_of(present, values):
    matrix = np.full(present.shape, np.nan)
    matrix[present] = values
    return matrix


def quadratic_form(function, size):
    """The matrix M of a function x'Mx, from its values at sums of unit vectors."""
    unit = np.eye(size)
    squares = np.array([function(row) for row in unit])
    form = np.diag(squares).astype(float)
    for i, j in itertools.combinations(range(size), 2):
        form[i, j] = form[j, i] = (function(unit[i] + unit[j]) - squares[i] - squares[j]) / 2
    return form


@pytest.fixture(params=PRESENT.values(), ids=PRESENT)
def present(request):
    return request.param


@pytest.fixture
def covariances(present):
    """Covariance of the values that a unit variance of models, of chips and of residuals gives."""
    models, chips = np.nonzero(present)
    return [np.equal.outer(models, models), np.equal.outer(chips, chips), np.eye(len(models))]


@pytest.mark.parametrize("name", ["model_variance", "chip_variance", "residual_variance"])
def test_each_variance_is_unbiased(name, present, covariances):
    form = quadratic_form(lambda x: getattr(CrossedEffects(matrix_of(present, x)), name), present.sum())
    expectations = [np.trace(form @ covariance) for covariance in covariances]
    expected = [float(name == which) for which in ("model_variance", "chip_variance", "residual_variance")]
    assert expectations == pytest.approx(expected, abs=1e-8)


def test_the_variance_of_the_mean_is_unbiased(present, covariances):
    def estimated(x):
        error = CrossedEffects(matrix_of(present, x)).mean_error()
        return error.variance + error.chip_variance - error.noise_variance

    form = quadratic_form(estimated, present.sum())
    weights = (present / present.sum(axis=1, keepdims=True) / len(present))[present]
    for covariance in covariances:
        assert np.trace(form @ covariance) == pytest.approx(weights @ covariance @ weights)


def test_the_sums_of_squares_are_those_of_least_squares(present):
    x = np.random.default_rng(0).normal(70.0, 3.0, present.sum())
    models, chips = (np.equal.outer(keys, np.unique(keys)).astype(float) for keys in np.nonzero(present))
    found = CrossedEffects(matrix_of(present, x))
    for (square, df), design in ((found.within, models), (found.residual, np.hstack([models, chips]))):
        coefficients, _, rank, _ = np.linalg.lstsq(design, x, rcond=None)
        assert square == pytest.approx(((x - design @ coefficients) ** 2).sum())
        assert df == len(x) - rank


def test_a_balanced_table_has_the_textbook_mean_squares():
    x = np.random.default_rng(1).normal(70.0, 3.0, (3, 8))
    error = CrossedEffects(x).mean_error()
    chips = 3 * x.mean(axis=0).var(ddof=1)
    residual = ((x - x.mean(1, keepdims=True) - x.mean(0) + x.mean()) ** 2).sum() / 14
    expected = (x.mean(axis=1).var(ddof=1) / 3, 2, chips / 24, 7, residual / 24, 14)
    assert error == pytest.approx(expected)


def test_one_model_is_the_t_interval_of_its_chips_after_a_pilot_too():
    x = np.random.default_rng(2).normal(70.0, 3.0, 30)
    for pilot in (None, 10):
        assert CrossedEffects(x[None]).mean_error(pilot) == mean_error(x, pilot)


@pytest.mark.parametrize(
    "matrix", [np.array([[1.0], [3.0], [8.0]]), np.kron(np.eye(3), np.ones((1, 4)))], ids=["one chip", "own chips"]
)
def test_without_shared_chips_it_is_the_t_interval_of_the_models(matrix):
    x = np.where(matrix == 0.0, np.nan, matrix * np.arange(1.0, 1.0 + matrix.size).reshape(matrix.shape))
    found, expected = CrossedEffects(x).mean_error(), mean_error(np.nanmean(x, axis=1))
    assert found.half_width() == pytest.approx(expected.half_width())
    assert found.p_value(2.0) == pytest.approx(expected.p_value(2.0))


def test_one_chip_per_model_separates_nothing():
    effects = CrossedEffects(np.array([[1.0], [3.0], [8.0]]))
    assert all(map(math.isnan, (effects.model_variance, effects.residual_variance)))


def test_values_are_placed_by_their_model_and_chip():
    seeds, chips = np.array([3, 3, 5, 5]), np.array([0, 1, 0, 1])
    assert chip_matrix(seeds, chips, np.arange(4.0)).tolist() == [[0.0, 1.0], [2.0, 3.0]]
    placed = chip_matrix(seeds, np.array([0, 2, 1, 2]), np.arange(4.0))
    np.testing.assert_array_equal(placed, [[0.0, np.nan, 1.0], [np.nan, 2.0, 3.0]])


def test_equal_values_but_for_rounding_have_no_variance():
    x = np.full((3, 4), 0.1 * 3 * 100)
    x[1] = 30.0
    effects = CrossedEffects(x)
    assert (effects.within[0], effects.residual[0], effects.mean_error().half_width()) == (0.0, 0.0, 0.0)
    assert math.isnan(effects.mean_error().p_value(30.0))
