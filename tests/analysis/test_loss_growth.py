"""Perturbed loss over sigma, against closed forms: quadratic losses, and the error of a linear classifier."""

import numpy as np
import pytest
import torch
from support.quadratic import INPUTS, SAMPLES, batchnorm_net, example, hessian
from support.two_classes import expected_error, two_classes
from torch import nn
from torch.nn.utils import parametrizations

from aimc_robust.analysis.loss_growth import loss_growth
from aimc_robust.errors import AimcError, DivergenceError, InputError

SIGMAS = [0.1, 0.3, 0.6]
SCALES = {
    "absolute": lambda w: np.ones_like(w),
    "filter_max": lambda w: np.repeat(np.abs(w).max(1, keepdims=True), INPUTS, axis=1),
    "layer_max": lambda w: np.full_like(w, np.abs(w).max()),
}


def squares(outputs, labels):
    return (outputs - labels).square().mean(dim=1)


def half_trace(model, x, scale):
    """1/2 sum_i s_i^2 H_ii, and the variance of 1/2 e'He for e ~ N(0, diag(s^2))."""
    size = SCALES[scale](model.weight.detach().numpy()).ravel()
    scaled = hessian(x) * np.outer(size, size)
    return np.trace(scaled) / 2, np.sum(scaled**2) / 2


@pytest.mark.parametrize("scale", SCALES)
def test_a_quadratic_loss_grows_by_half_the_scaled_trace(scale):
    model, batch = example()
    draws = 60
    table = loss_growth(model, batch, SIGMAS, loss=squares, scale=scale, scope="weights", draws=draws, probes=20)
    clean = float(squares(model(batch[0]), batch[1]).mean().detach())
    slope, variance = half_trace(model, batch[0], scale)
    for row in table.itertuples():
        tolerance = 4 * row.sigma**2 * np.sqrt(variance / draws)
        assert row.loss == pytest.approx(clean + row.sigma**2 * slope, abs=tolerance + 1e-12)
        assert row.second_order == pytest.approx(clean + row.sigma**2 * slope, abs=4 * row.second_order_se + 1e-12)
        assert row.sigma == 0 or row.loss != pytest.approx(clean + 2 * row.sigma**2 * slope, abs=tolerance)
    assert list(table.verdict) == ["", "grows", "grows", "grows"]
    # No gradient's part: the interval is that of 1/2 e'He alone.
    width = (table.high - table.low).to_numpy()[1:] / 2
    assert width == pytest.approx(1.966 * np.square(SIGMAS) * np.sqrt(variance / draws), rel=0.25)


def test_a_loss_with_negative_curvature_falls_and_is_not_said_to_grow():
    model, batch = example()
    table = loss_growth(model, batch, SIGMAS, loss=lambda o, y: -squares(o, y), draws=50)
    assert list(table.verdict) == ["", "falls", "falls", "falls"]
    assert table.second_order.is_monotonic_decreasing


@pytest.mark.parametrize("flipped", [False, True], ids=["mostly right", "mostly wrong"])
def test_the_error_of_a_linear_classifier_is_its_closed_form(flipped):
    model, batch = two_classes(flipped=flipped)
    table = loss_growth(model, batch, [0.3, 1.0, 4.0], loss="error", draws=60)
    for row in list(table.itertuples())[1:]:
        expected = expected_error(model, batch, row.sigma)
        assert row.loss == pytest.approx(expected, abs=(row.high - row.low))  # four standard errors
        assert abs(row.loss - expected_error(model, batch, 2 * row.sigma)) > row.high - row.low
    assert list(table.verdict[1:]) == ["falls" if flipped else "grows"] * 3
    assert table.second_order.isna().all()


def test_draws_do_not_depend_on_the_grid_or_the_batches():
    model, (x, y) = two_classes()
    whole = loss_growth(model, (x, y), SIGMAS, loss="error", draws=5)
    parts = loss_growth(model, [(x[:7], y[:7]), (x[7:], y[7:])], SIGMAS[::-1], loss="error", draws=5)
    assert parts.drop(columns=["second_order", "second_order_se"]).equals(
        whole.drop(columns=["second_order", "second_order_se"])
    )
    one = loss_growth(model, (x, y), SIGMAS[1:2], loss="error", draws=5)
    assert one.loss[1] == whole.loss[2]
    assert loss_growth(model, (x, y), SIGMAS, loss="error", draws=5, seed=1).loss[2] != whole.loss[2]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_bit_for_bit_and_in_its_mode(training):
    model = batchnorm_net().train(training)
    batch = torch.randn(20, 1, 6, 6), torch.arange(20) % 3
    before = {name: value.clone() for name, value in model.state_dict().items()}
    table = loss_growth(model, batch, [0.5], draws=3)
    assert table.loss[1] > table.loss[0]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training == training for module in model.modules())


def test_the_curvature_of_computed_weights_is_not_guessed():
    layer = parametrizations.weight_norm(nn.Linear(3, 2))
    table = loss_growth(layer, (torch.randn(8, 3), torch.arange(8) % 2), [0.3], scope="weights", draws=2)
    assert table.second_order.isna().all()
    assert table.loss[1] != table.loss[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"sigmas": []},
        {"sigmas": [0.0, 0.1]},
        {"sigmas": [0.1, 0.1]},
        {"sigmas": "0.1"},
        {"sigmas": [-0.1]},
        {"sigmas": 0.1},
        {"draws": 1},
        {"probes": -1},
        {"loss": "hinge"},
        {"loss": lambda outputs, labels: outputs.mean()},
        {"scale": "relative"},
        {"scope": "biases"},
        {"batches": []},
        {"batches": (torch.zeros(3, 4, dtype=torch.float64), torch.tensor([0, 1, 2]))},
        {"batches": (torch.zeros(3, 4, dtype=torch.float64), torch.zeros(3, 2))},
    ],
    ids=", ".join,
)
def test_arguments_that_make_no_sense_are_refused(wrong):
    model, batch = two_classes()
    arguments = {"model": model, "batches": batch, "sigmas": [0.1], "draws": 2, "loss": "error"} | wrong
    with pytest.raises(AimcError):
        loss_growth(**arguments)


def test_a_loss_that_is_not_finite_is_refused():
    model, batch = example()
    clean = model(batch[0]).detach()
    with pytest.raises(DivergenceError, match=r"sigma 0\.1"):
        loss_growth(model, batch, [0.1], loss=lambda o, y: squares(o, y) / (o == clean).all(), draws=2)
    with pytest.raises(InputError, match=str(SAMPLES)):
        loss_growth(model, batch, [0.1], loss=lambda o, y: (o - y).square(), draws=2)
