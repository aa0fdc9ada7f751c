"""fold=False: every BatchNorm stays digital and exact, and the weights are programmed without its gain."""

import pytest
import torch
from support.folding import stirred
from support.models import fill
from torch import Tensor, nn
from torch.nn import functional as F

from aimc_robust import (
    ADC,
    DAC,
    Axes,
    Crossbar,
    Deployment,
    attribute,
    calibrate,
    coverage,
    evaluate,
    evaluate_grid,
    layer_errors,
    predict_loss,
    program,
)
from aimc_robust.errors import InputError
from aimc_robust.hardware.programming.moments import weight_moments

UNFOLDED = Deployment(fold=False)
WAN = Crossbar("rram-wan2022")


def network() -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6, eps=1e-3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5))
    model = stirred(fill(model)).eval()
    model[1].weight.data.copy_(torch.tensor([0.05, 0.1, 0.5, 1.0, 2.0, 3.0]))  # one weight limit holds all channels
    return model


def images(n: int) -> Tensor:
    return torch.randn(n, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def labelled(n: int) -> list[tuple[Tensor, Tensor]]:
    return [(images(n), torch.arange(n) % 5)]


def by_hand(model: nn.Sequential, chip: int, *, fold: bool) -> tuple[Tensor, Tensor]:
    """(outputs, weights of the convolution): the device's noise on each weight, with the gain or without it."""
    conv, norm, head = model[0], model[1], model[-1]
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    factor = gain.reshape(-1, 1, 1, 1) if fold else 1.0
    axes = Axes(0).at(chip=chip)
    weight = WAN.perturb("0", (conv.weight * factor).detach(), axes.at(layer="0")) / factor
    y = F.conv2d(images(8), weight, conv.bias)
    y = F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps).relu().flatten(1)
    return F.linear(y, WAN.perturb("4", head.weight.detach(), axes.at(layer="4")), head.bias), weight


@pytest.mark.parametrize("dac", [None, DAC(kind="ideal")], ids=["weights", "arrays"])
def test_an_ideal_chip_computes_the_digital_outputs(dac):
    model = network()
    chip = program(model, Crossbar("ideal", dac=dac), deployment=UNFOLDED)
    assert type(chip[1]) is nn.BatchNorm2d
    torch.testing.assert_close(chip(images(8)), model(images(8)), rtol=0, atol=1e-10)


def test_a_chip_is_what_the_device_makes_of_the_weights_without_and_with_the_gain():
    model, conv = network(), network()[0].weight
    errors = {}
    for fold in (False, True):
        outputs, weight = by_hand(model, 3, fold=fold)
        chip = program(model, WAN, chip=3, deployment=Deployment(fold=fold))
        torch.testing.assert_close(chip(images(8)), outputs, rtol=0, atol=1e-9)
        errors[fold] = (weight - conv).detach().flatten(1).square().mean(dim=1).sqrt()
    # One limit for all channels: a channel of a small gain has few of a folded layer's states, and a larger error.
    assert (errors[True][:2] > 3.0 * errors[False][:2]).all()
    assert errors[True][-1] < errors[False][-1]


def test_evaluate_and_its_relatives_do_not_fold_either():
    model, batches = network(), labelled(40)
    losses = [
        F.cross_entropy(program(model, WAN, chip=chip, deployment=UNFOLDED)(images(40)), batches[0][1]).item()
        for chip in range(2)
    ]
    estimate = evaluate(model, batches, WAN, chips=2, deployment=UNFOLDED)
    assert estimate.table["loss"].tolist() == pytest.approx(losses, rel=1e-6)
    grid = evaluate_grid(model, batches, {"wan": WAN}, chips=2, deployment={"wan": UNFOLDED})
    assert grid["wan", 0.0].table["loss"].tolist() == estimate.table["loss"].tolist()
    attribution = attribute(model, batches, WAN, chips=2, deployment=UNFOLDED)
    assert attribution.crossbar == pytest.approx(estimate.mean)


def test_prediction_and_layer_errors_are_of_the_weights_without_the_gain():
    model = network()
    without_norm = layer_errors(model[0], WAN)["rms_layer_max"][0]
    errors = {fold: layer_errors(model, WAN, fold=fold)["rms_layer_max"][0] for fold in (False, True)}
    assert errors[False] == pytest.approx(without_norm)
    assert errors[True] != pytest.approx(without_norm, rel=1e-3)
    prediction = predict_loss(model, labelled(40), {"wan": WAN}, deployment=UNFOLDED)
    mean = network()
    for layer in (mean[0], mean[-1]):
        moments = weight_moments(WAN, layer.weight.detach().flatten(1))
        layer.weight.data.copy_(moments.mean.reshape(layer.weight.shape))
    expected = F.cross_entropy(mean(images(40)), torch.arange(40) % 5).item()
    assert prediction.table["mean_weight_loss"][0] == pytest.approx(expected, rel=1e-6)
    folded = predict_loss(model, labelled(40), {"wan": WAN})
    assert folded.table["mean_weight_loss"][0] != pytest.approx(expected, rel=1e-5)
    assert folded.table["curvature"][0] != pytest.approx(prediction.table["curvature"][0], rel=1e-2)


CONVERTERS = Crossbar("rram-milo2021", rows=7, dac=DAC(bits=8), adc=ADC(bits=8))


def test_ranges_are_found_without_folding_and_belong_to_such_a_deployment():
    model = network()
    ranges = {fold: calibrate(model, CONVERTERS, [images(8)], fold=fold) for fold in (False, True)}
    assert ranges[False]["4"].inputs == pytest.approx(ranges[True]["4"].inputs, rel=0.1)  # both see the same inputs
    assert ranges[False]["0"].outputs != ranges[True]["0"].outputs
    for fold in (False, True):
        program(model, CONVERTERS, deployment=Deployment(fold=fold, ranges=ranges[fold]))
        with pytest.raises(InputError, match=rf"fold={not fold}.*deployment.*fold={fold}.*calibrate"):
            program(model, CONVERTERS, deployment=Deployment(fold=fold, ranges=ranges[not fold]))


def test_ranges_of_a_model_without_batchnorm_fit_either():
    model = nn.Sequential(nn.Linear(3, 2))
    found = [calibrate(model, CONVERTERS, [torch.ones(4, 3)], fold=fold) for fold in (True, False)]
    chips = [program(model, CONVERTERS, deployment=Deployment(ranges=ranges)) for ranges in found]
    assert torch.equal(*(chip(torch.ones(1, 3)) for chip in chips))


def test_coverage_says_that_it_is_by_choice():
    model = network()
    found = coverage(model, fold=False)
    assert found.folding.folded == {}
    assert found.folding.not_folded == {"1": "fold=False"}
    assert found.digital_parameters == {"1": 12}
    assert "BatchNorm not folded: 1 (fold=False)" in found.summary()
    many = nn.Sequential(*[module for _ in range(10) for module in (nn.Linear(3, 3), nn.BatchNorm1d(3))])
    assert "1, 3, 5, 7, 9, 11, 13, 15 and 2 more (fold=False)" in coverage(many, fold=False).summary()


@pytest.mark.parametrize("call", [lambda v: Deployment(fold=v), lambda v: coverage(network(), fold=v),
                                  lambda v: calibrate(network(), CONVERTERS, [images(4)], fold=v)],
                         ids=["Deployment", "coverage", "calibrate"])  # fmt: skip
def test_another_value_is_refused_by_name(call):
    with pytest.raises(InputError, match=r"fold must be True or False, got 'no'"):
        call("no")
