"""Verdicts on a predicted loss, and the chips that it is compared with."""

import math

import numpy as np
import pytest
import torch
from support.small_net import data, net

from aimc_robust.data.batches import split_batches
from aimc_robust.evaluation.controlled_losses import controlled_losses
from aimc_robust.evaluation.monte_carlo import chip_evaluation, evaluate_chips
from aimc_robust.evaluation.prediction_check import Rise, check_prediction, judge, scale_errors
from aimc_robust.hardware.config.converters import ADC, DAC
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.distributions import Gaussian


@pytest.mark.parametrize(
    ("predicted", "simulated", "verdict"),
    [
        ((1.0, 0.01), (1.0, 0.01), "holds"),
        ((1.08, 0.01), (1.0, 0.01), "holds"),
        ((1.08, 0.03), (1.0, 0.01), "cannot tell"),  # the prediction's own error
        ((1.0, 0.0), (1.0, 0.2), "cannot tell"),  # equal, but too few chips to tell
        ((0.59, 0.01), (1.0, 0.02), "does not hold"),
        ((0.59, 0.01), (1.0, 0.6), "cannot tell"),  # within a wide interval: no evidence that it holds
        ((0.59, 0.0), (1.0, 0.34), "does not hold"),  # 0.31 from 0.9, by a half-width of 0.9 x 0.34
        ((0.59, 0.0), (1.0, 0.36), "cannot tell"),
        ((1.3, 0.01), (1.0, 0.02), "does not hold"),
        ((-1.02, 0.01), (-1.0, 0.01), "holds"),  # a loss that falls
        ((-0.59, 0.01), (-1.0, 0.02), "does not hold"),
        ((1.0, 0.01), (-1.0, 0.01), "does not hold"),
        ((0.001, 0.001), (0.0, 0.2), "cannot tell"),
        ((0.0, 0.0), (0.0, 0.0), "holds"),
        ((math.nan, 0.1), (1.0, 0.1), "does not hold"),
        ((1.0, 0.1), (math.inf, math.nan), "does not hold"),
        ((1.0, math.nan), (1.0, 0.01), "cannot tell"),
    ],
)
def test_a_verdict_needs_evidence_for_and_against(predicted, simulated, verdict):
    assert judge(Rise(*predicted), Rise(*simulated)) == verdict


def test_rises_that_differ_by_rounding_are_equal():
    assert judge(Rise(3e-8, 0.0), Rise(1e-8, 0.0)) == "does not hold"
    assert judge(Rise(3e-8, 0.0), Rise(1e-8, 0.0), rounding=1e-7) == "holds"


def test_a_prediction_that_is_wrong_by_an_eighth_seldom_holds_and_a_right_one_seldom_fails():
    generator, wrong, right = np.random.default_rng(0), [], []
    for _ in range(400):
        chips = generator.normal(1.0, 0.15, 30)
        half_width = 2.045 * chips.std(ddof=1) / 30**0.5
        noise = 0.02 * generator.normal()
        for size, verdicts in ((0.875, wrong), (1.0, right)):
            verdicts.append(judge(Rise(size + noise, 1.96 * 0.02), Rise(chips.mean(), half_width)))
    assert wrong.count("holds") <= 0.05 * 400
    assert right.count("does not hold") <= 0.05 * 400
    assert right.count("holds") > 0.3 * 400


@pytest.mark.parametrize("condition", [Gaussian(0.03), Crossbar("rram-milo2021")])
def test_the_control_variate_keeps_the_mean_and_takes_most_of_the_spread(condition):
    x, y = data(60)
    batches = split_batches((x, (y + 1) % 3), 60)  # wrong labels: a steep loss
    plain = np.array([m.loss for _, m in evaluate_chips(net(), batches, condition, chips=range(40))])
    controlled = controlled_losses(chip_evaluation(net(), batches, condition), range(40))
    assert controlled.std() < 0.5 * plain.std()
    assert abs((plain - controlled).mean()) < 3.5 * (plain - controlled).std() / 40**0.5


class Shifted(WeightNoise):
    """A noise without closed form."""

    def perturb(self, name, weight, generator):
        return weight + 0.05 * torch.randn(weight.shape, generator=generator)


def test_a_noise_without_closed_form_has_its_chips_plain_losses():
    batches = split_batches(data(60), 60)
    plain = [m.loss for _, m in evaluate_chips(net(), batches, Shifted(), chips=range(3))]
    assert controlled_losses(chip_evaluation(net(), batches, Shifted()), range(3)).tolist() == plain


def test_processes_measure_the_same_chips():
    batches = split_batches(data(60), 60)
    alone, together = (
        controlled_losses(chip_evaluation(net(), batches, Gaussian(0.1)), range(4), jobs=jobs) for jobs in (None, 2)
    )
    assert together == pytest.approx(alone, rel=1e-6)


def test_means_that_chips_contradict_are_not_used(monkeypatch):
    from aimc_robust.evaluation import controlled_losses as module

    moments = module.model_moments
    monkeypatch.setattr(
        module,
        "model_moments",
        lambda *args, **options: {n: m._replace(mean=m.mean * 1.5) for n, m in moments(*args, **options).items()},
    )
    x, y = data(60)
    batches = split_batches((x, (y + 1) % 3), 60)
    plain = [m.loss for _, m in evaluate_chips(net(), batches, Gaussian(0.01), chips=range(8))]
    assert controlled_losses(chip_evaluation(net(), batches, Gaussian(0.01)), range(8)).tolist() == plain


def test_what_is_no_weight_error_is_off_on_both_sides():
    crossbar = Crossbar("sonos-agrawal2022", dac=DAC(bits=4), adc=ADC(bits=4), output_noise=0.1)
    assert not scale_errors(crossbar, 1.0).computes_in_arrays
    assert crossbar.computes_in_arrays


class Exploding(WeightNoise):
    """Weights that overflow."""

    def perturb(self, name, weight, generator):
        return weight + torch.randn(weight.shape, generator=generator) * 1e38


def test_losses_that_are_not_finite_break_and_are_told():
    table = check_prediction(net(), split_batches(data(), 50), {"it": Exploding()}, scales=(1.0,), chips=2).table
    assert not math.isfinite(table.mc_loss[0]) or not math.isfinite(table.predicted[0])
    assert table.verdict[0] == "does not hold"
