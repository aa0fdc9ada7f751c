"""The effective error of a device on a model's weights, and the Gaussian noise that costs as much accuracy."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from support.small_net import data, net, state_of
from torch import nn

from aimc_robust.data.batches import split_batches
from aimc_robust.errors import InputError
from aimc_robust.evaluation.equivalent_noise import equivalent_sigma, layer_errors, network_rms
from aimc_robust.hardware.config.crossbar import Crossbar
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.program import program
from aimc_robust.noise.base import WeightNoise
from aimc_robust.noise.distributions import Gaussian, Laplace

WAN = Crossbar("rram-wan2022")


@pytest.mark.slow
def test_the_errors_are_those_of_programmed_chips():
    model, crossbar = net(), Crossbar("rram-wan2022", weight_percentile=0.8)
    clean = prepare(model)[0]
    errors = layer_errors(model, crossbar).set_index("layer")
    chips = [program(model, crossbar, chip=chip) for chip in range(200)]
    for layer in ("0", "4"):
        w = clean.get_submodule(layer).weight.detach().flatten(1)
        drawn = torch.stack([chip.get_submodule(layer).weight.flatten(1) for chip in chips]).detach()
        largest = w.abs().amax(dim=1, keepdim=True)
        for scale, size in (("layer_max", largest.max()), ("filter_max", largest)):
            rms = float(((drawn - w) / size).square().mean().sqrt())
            std = float((drawn.var(0) / size**2).mean().sqrt())
            assert errors.loc[layer, f"rms_{scale}"] == pytest.approx(rms, rel=0.02)
            assert errors.loc[layer, f"std_{scale}"] == pytest.approx(std, rel=0.02)
        assert errors.loc[layer, "rms_layer_max"] > 1.02 * errors.loc[layer, "std_layer_max"]  # clipping is no chance
    assert errors["weights"].tolist() == [36, 192]


@pytest.mark.parametrize("scale", ["filter_max", "filter_norm", "layer_max"])
def test_gaussian_noise_errs_by_its_sigma(scale):
    errors = layer_errors(net(), Gaussian(0.07, scale))
    assert errors[f"rms_{scale}"].tolist() == pytest.approx([0.07, 0.07])
    assert network_rms(errors, scale) == pytest.approx(0.07)
    laplace = layer_errors(net(), Laplace(0.07, scale))
    assert network_rms(laplace, scale) == pytest.approx(0.07 * math.sqrt(2))


def test_the_network_counts_each_weight_once():
    errors = pd.DataFrame({"weights": [1, 3], "rms_layer_max": [0.2, 0.1]})
    assert network_rms(errors, "layer_max") == pytest.approx(math.sqrt((0.04 + 0.03) / 4))


def test_digital_weights_have_no_errors_and_filters_of_zeros_no_scale():
    assert layer_errors(net(), None)[["rms_filter_max", "std_layer_max"]].to_numpy().tolist() == [[0, 0], [0, 0]]
    model = nn.Sequential(nn.Linear(3, 2))
    model[0].weight.data = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.5, 0.1]])
    with_zeros = layer_errors(model, Gaussian(0.1))
    assert with_zeros["rms_filter_max"].tolist() == pytest.approx([0.1])
    model[0].weight.data.zero_()
    assert math.isnan(layer_errors(model, Gaussian(0.1))["rms_filter_max"][0])
    assert math.isnan(network_rms(layer_errors(model, Gaussian(0.1)), "filter_max"))


class OtherDraws(WeightNoise):
    """Gaussian noise whose draws are not those that Gaussian would take."""

    def __init__(self, sigma):
        self.noise = Gaussian(sigma)

    def perturb(self, name, weight, generator):
        return self.noise.perturb(name, weight, torch.Generator().manual_seed(generator.initial_seed() % 2**31 + 1))


def test_noise_of_a_known_sigma_is_found_again_within_its_interval():
    batches = [data(400)]
    found = [equivalent_sigma(net(), batches, OtherDraws(0.3), chips=20, chip_seed=seed) for seed in range(4)]
    assert all(one.identified and not one.reason for one in found)
    assert sum(one.low <= 0.3 <= one.high for one in found) >= 3
    assert np.mean([one.sigma for one in found]) == pytest.approx(0.3, rel=0.15)
    other = equivalent_sigma(net(), batches, OtherDraws(0.6), chips=20)
    assert not other.low <= 0.3 <= other.high  # twice as much is told apart
    for one in (*found, other):
        assert one.low < one.sigma < one.high


def test_the_same_draws_give_sigma_exactly():
    found = equivalent_sigma(net(), [data()], Gaussian(0.3), chips=6)
    assert found.sigma == pytest.approx(0.3)
    assert found.rms == pytest.approx(0.3)


def test_a_device_has_an_equivalent_sigma_and_a_curve_that_brackets_it():
    found = equivalent_sigma(net(), split_batches(data(300), 100), Crossbar("rram-wan2022", error_scale=4.0), chips=15)
    assert found.identified
    assert found.device.mean < found.digital
    assert found.curve["sigma"].is_monotonic_increasing
    assert found.curve["fitted"].is_monotonic_decreasing
    assert found.curve["low"].iloc[-1] > 0 > found.curve["high"].iloc[0]
    assert found.curve["sigma"].iloc[0] == 0.0
    assert found.curve["value"].iloc[0] == found.digital
    assert found.device.chips == 15
    assert np.interp(found.sigma, found.curve["sigma"], found.curve["fitted"]) == pytest.approx(found.device.mean)


def test_an_error_that_costs_nothing_is_not_identified():
    found = equivalent_sigma(net(), [data()], Crossbar("rram-milo2021", error_scale=0.01), chips=5)
    assert not found.identified
    assert "does not differ significantly from that of digital weights" in found.reason
    assert found.sigma == found.rms
    assert found.low == 0.0 < found.sigma < found.high


def test_an_ideal_device_is_not_identified():
    found = equivalent_sigma(net(), [data()], Crossbar("ideal"), chips=3)
    assert not found.identified
    assert found.rms < 1e-4
    assert found.low == 0.0


class Ruin(WeightNoise):
    """Every weight negated, and a trace of chance: always wrong, worse than noise can be."""

    def perturb(self, name, weight, generator):
        sign = -1.0 if name == "4" else 1.0
        return weight * sign + 1e-3 * torch.randn(weight.shape, generator=generator)


def test_a_condition_worse_than_any_noise_is_not_identified():
    found = equivalent_sigma(net(), [data()], Ruin(), chips=4)
    assert not found.identified
    assert "never costs more than the condition" in found.reason
    assert found.high == math.inf


def test_the_model_is_left_bit_for_bit():
    model = net()
    before = state_of(model)
    equivalent_sigma(model, [data()], WAN, chips=2)
    layer_errors(model, WAN)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


@pytest.mark.parametrize(
    ("condition", "options", "message"),
    [
        (None, {}, "condition"),
        (WAN, {"scale": "absolute"}, "scale"),
        (WAN, {"chips": 1}, "chips"),
        (Gaussian(0.1), {"time_s": 1.0}, "crossbar"),
    ],
)
def test_what_cannot_be_compared_is_refused(condition, options, message):
    with pytest.raises(InputError, match=message):
        equivalent_sigma(net(), [data()], condition, **options)
