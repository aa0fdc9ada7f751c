"""The PAC-Bayes bound: its terms derived again from the divergence of two Gaussians, its losses from closed forms."""

import math

import numpy as np
import pytest
import torch
from support.two_classes import expected_error, two_classes
from torch import nn

from aimc_robust.analysis.pac_bayes import bound_terms, pac_bayes_bound
from aimc_robust.errors import AimcError, InputError
from aimc_robust.seeding import global_seed

SIGMAS = {"sigma_train": [0.2, 0.5], "sigma_test": [0.1, 0.2, 0.4]}


def derived_complexity(k, n, squared_norm, sigma, delta):
    """The root, from KL(Q || P) with the prior's variance on the grid of Foret et al. (2021), App. A.

    E_Q[L_D] <= E_Q[L_S] + sqrt((KL + log(n / delta_j)) / (2 (n - 1))), with delta_j = 6 delta / (pi^2 j^2).
    """
    log_top = 2 * math.log(sigma) + np.logaddexp(0.0, 4 * n / k)  # of the largest variance of the grid
    best = math.log(sigma**2 + squared_norm / k)
    j = math.floor(1 + k * (log_top - best))
    variance = math.exp(log_top + (1 - j) / k)
    kl = 0.5 * ((k * sigma**2 + squared_norm) / variance - k + k * math.log(variance / sigma**2))
    return math.sqrt((kl + math.log(n * math.pi**2 * j**2 / (6 * delta))) / (2 * (n - 1)))


@pytest.mark.parametrize("k", [10, 650, 10**6])
@pytest.mark.parametrize("n", [100, 50_000])
@pytest.mark.parametrize("sigma", [0.01, 0.1, 3.0])
def test_the_printed_constants_are_those_of_the_derivation_or_larger(k, n, sigma):
    squared_norm = 0.05 * k
    printed = math.sqrt(sum(bound_terms(k, n, squared_norm, sigma, 0.05).values()) / (n - 1))
    if printed >= 1.0:
        return  # the grid may end below the best variance where the bound is vacuous
    derived = derived_complexity(k, n, squared_norm, sigma, 0.05)
    assert derived <= printed
    # What the paper's printed form loses is at most the half of the logarithms and the rounding of its grid.
    logarithms = math.log(n / 0.05) + 2 * math.log(6 * n + 3 * k)
    assert printed**2 - derived**2 <= (logarithms + 0.5) / (n - 1)


def test_every_term_is_the_papers():
    model, batch = two_classes()
    row = pac_bayes_bound(model, batch, sigma_train=[0.5], sigma_test=[0.5], delta=0.1).iloc[0]
    norm = float(model.weight.detach().square().sum())
    assert (row.weights, row.examples) == (8, 60)
    assert row.squared_norm == pytest.approx(norm)
    assert row.weight_term == pytest.approx(2 * np.log(1 + norm / (8 * 0.25)))
    assert row.constant_term == 0.25
    assert row.delta_term == pytest.approx(np.log(600))
    assert row.size_term == pytest.approx(2 * np.log(360 + 24))
    total = row.weight_term + row.constant_term + row.delta_term + row.size_term
    assert row.complexity == pytest.approx(np.sqrt(total / 59))
    assert row.bound == pytest.approx(row.empirical + row.complexity)
    assert row.bound_high == pytest.approx(row.empirical_high + row.complexity)


def test_losses_are_those_of_the_closed_form():
    model, batch = two_classes()
    other = batch[0].flip(1), batch[1]
    table = pac_bayes_bound(model, batch, **SIGMAS, held_out=other, draws=60)
    assert len(table) == 6
    for row in table.itertuples():
        width, width_out = row.empirical_high - row.empirical_low, row.held_out_high - row.held_out_low
        assert row.empirical == pytest.approx(expected_error(model, batch, row.sigma_train), abs=width)
        assert row.held_out == pytest.approx(expected_error(model, other, row.sigma_test), abs=width_out)
        assert abs(row.empirical - expected_error(model, batch, 3 * row.sigma_train)) > width


def test_it_says_nothing_of_more_noise_than_it_was_measured_with():
    table = pac_bayes_bound(*two_classes(), **SIGMAS, draws=2)
    more = table.sigma_test > table.sigma_train
    assert more.tolist() == [False, False, True, False, False, False]
    assert table.bound.isna().tolist() == more.tolist()
    assert table.vacuous[more].all()


def test_few_examples_are_vacuous_and_many_are_not():
    model, (x, y) = two_classes()
    few = pac_bayes_bound(model, (x[:5], y[:5]), sigma_train=[0.5], sigma_test=[0.5], draws=5).iloc[0]
    many = pac_bayes_bound(model, (x.repeat(50, 1), y.repeat(50)), sigma_train=[0.5], sigma_test=[0.5], draws=5).iloc[0]
    assert few.vacuous
    assert few.bound >= 1.0
    assert not many.vacuous
    assert many.empirical < many.bound_high < 1.0


def test_a_monte_carlo_interval_that_reaches_the_largest_loss_is_vacuous():
    model, (x, y) = two_classes()
    data = x.repeat(2, 1), y.repeat(2)
    row = pac_bayes_bound(model, data, sigma_train=[0.8], sigma_test=[0.8], draws=2).iloc[0]
    assert row.bound < 1.0 <= row.bound_high
    assert row.vacuous


def test_a_loss_of_another_unit_scales_the_bound_and_its_clipping():
    model, batch = two_classes()
    arguments = {"sigma_train": [0.5], "sigma_test": [0.5], "draws": 3}

    def entropies(outputs, labels):
        return 10 * nn.functional.cross_entropy(outputs, labels, reduction="none")

    plain = pac_bayes_bound(model, batch, loss="cross-entropy", max_loss=0.7, **arguments).iloc[0]
    scaled = pac_bayes_bound(model, batch, loss=entropies, max_loss=7.0, **arguments).iloc[0]
    for column in ("empirical", "complexity", "bound", "bound_high"):
        assert scaled[column] == pytest.approx(10 * plain[column])
    wide = pac_bayes_bound(model, batch, loss="cross-entropy", max_loss=100.0, **arguments).iloc[0]
    assert plain.empirical < 0.7 < wide.complexity
    assert plain.empirical < wide.empirical


def batchnorm_model(*, first):
    with global_seed(0):
        norm = nn.BatchNorm2d(1 if first else 4)
        norm.running_mean += 0.3
        norm.running_var *= 2.0
        layers = [norm, nn.Conv2d(1, 4, 3)] if first else [nn.Conv2d(1, 4, 3), norm]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 3))


def test_running_statistics_become_weights_or_are_refused():
    batch = torch.randn(30, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    model = batchnorm_model(first=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    row = pac_bayes_bound(model, batch, sigma_train=[0.1], sigma_test=[0.1], draws=2).iloc[0]
    conv, norm, _, linear = model
    gain = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    weight, bias = conv.weight * gain[:, None, None, None], (conv.bias - norm.running_mean) * gain + norm.bias
    parts = [part.detach() for part in (weight, bias, linear.weight, linear.bias)]
    assert row.weights == sum(part.numel() for part in parts) == 40 + 195
    assert row.squared_norm == pytest.approx(float(sum(part.square().sum() for part in parts)), rel=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with pytest.raises(InputError, match="running statistics"):
        pac_bayes_bound(batchnorm_model(first=True), batch, sigma_train=[0.1], sigma_test=[0.1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"sigma_train": [0.0]},
        {"sigma_train": []},
        {"sigma_test": [math.nan]},
        {"sigma_test": 0.1},
        {"delta": 0.0},
        {"delta": 1.0},
        {"draws": 1},
        {"loss": "cross-entropy"},
        {"loss": lambda outputs, labels: outputs[:, 0] - 100, "max_loss": 1.0},
        {"max_loss": 2.0},
        {"loss": "cross-entropy", "max_loss": 0.0},
        {"loss": "cross-entropy", "max_loss": math.inf},
        {"batches": (torch.zeros(1, 4, dtype=torch.float64), torch.zeros(1, dtype=torch.long))},
        {"batches": []},
        {"model": nn.Flatten()},
    ],
    ids=", ".join,
)
def test_arguments_that_make_no_bound_are_refused(wrong):
    model, batch = two_classes()
    arguments = {"model": model, "batches": batch, "sigma_train": [0.1], "sigma_test": [0.1], "draws": 2} | wrong
    with pytest.raises(AimcError):
        pac_bayes_bound(arguments.pop("model"), arguments.pop("batches"), **arguments)
