"""Evaluation, attribution and prediction of models on several crossbars."""

import pytest
import torch
from support.nets import batches, net

from aimc_robust import (
    ADC,
    DAC,
    Crossbar,
    Deployment,
    Gaussian,
    Placement,
    attribute,
    calibrate,
    check_prediction,
    equivalent_sigma,
    evaluate,
    evaluate_grid,
    predict_loss,
    program,
)
from aimc_robust.errors import InputError
from aimc_robust.tasks.classification import Classification

pytestmark = pytest.mark.filterwarnings("ignore:.*the device has no drift")
STRONG = Crossbar("rram-milo2021", error_scale=3.0)
PCM = Crossbar("pcm-nandakumar2019", rows=16, read_noise=False)
MIXED = Placement({"0": "digital", "4": PCM, "*": STRONG})
HOUR_S = 3600.0


def test_evaluate_measures_the_programmed_chips():
    estimate = evaluate(net(), batches(), STRONG, layers={"0": "digital", "4": PCM}, chips=3, time_s=HOUR_S)
    for chip in range(3):
        on_chip = program(net(), MIXED, chip=chip, time_s=HOUR_S)
        assert estimate.table["accuracy"][chip] == Classification().measure(on_chip, batches()).value
    same = evaluate(net(), batches(), MIXED, chips=3, time_s=HOUR_S, jobs=2)
    assert same.table.equals(estimate.table)


def test_a_grid_takes_placements_and_places_layers_on_every_crossbar():
    grid = evaluate_grid(net(), batches(), {"mixed": MIXED, "digital": None}, chips=2, time_s=[0.0, HOUR_S])
    for time_s in (0.0, HOUR_S):
        assert grid["mixed", time_s].table.equals(evaluate(net(), batches(), MIXED, chips=2, time_s=time_s).table)
    layers = {"0": "digital", "4": "digital"}
    placed = evaluate_grid(net(), batches(), {"strong": STRONG, "pcm": PCM}, layers=layers, chips=2)
    assert placed["pcm", 0.0].table.equals(evaluate(net(), batches(), PCM, layers=layers, chips=2).table)


def test_layers_belong_to_a_crossbar():
    with pytest.raises(InputError, match="layers and deployment belong to a crossbar"):
        evaluate(net(), batches(), Gaussian(0.1), layers={"0": "digital"})
    with pytest.raises(LookupError, match="no layer of the model matches"):
        evaluate(net(), batches(), STRONG, layers={"first": "digital"})


def test_a_failing_chip_names_every_device():
    with pytest.raises(ArithmeticError, match="chip 0 of pcm-nandakumar2019 and rram-milo2021, 0 s after programming"):
        evaluate(net(), [(torch.full((4, 1, 6, 6), torch.nan), torch.zeros(4, dtype=torch.long))], MIXED, chips=1)


def test_attribution_switches_sources_on_every_crossbar_and_skips_digital_layers():
    found = attribute(net(), batches(), STRONG, layers={"0": "digital", "4": PCM}, chips=3, time_s=HOUR_S)
    table = found.table.set_index("name")
    assert set(table.index[table["kind"] == "source"]) == {"programming", "drift"}
    assert set(table.index[table["kind"] == "layer"]) == {"4", "6"}
    only = Placement({"0": "digital", "4": "digital", "*": STRONG})
    assert table.loc["6", "alone"] == evaluate(net(), batches(), only, chips=3).mean
    digital = evaluate(net(), batches(), None)
    assert found.ideal == digital.mean


def test_what_is_not_random_on_its_crossbar_is_measured_on_one_chip():
    totals = []
    layers = {"0": Crossbar("ideal", cell_bits=3), "4": "digital"}
    found = attribute(net(), batches(), STRONG, layers=layers, chips=4, on_chip=lambda _, total: totals.append(total))
    assert set(found.table["name"]) == {"programming", "quantisation", "0", "6"}
    # ideal 1, all 4; programming and layer 6 alone 4, without them 1; quantisation and layer 0 the other way round
    assert len(totals) == totals[-1] == 25


def test_the_predicted_loss_is_that_of_the_placed_layers():
    named = Placement({"4": STRONG, "6": STRONG, "*": "digital"})
    conditions = {"all": STRONG, "placed": Placement({"0": "digital", "*": STRONG}), "named": named}
    prediction = predict_loss(net(), batches(), conditions)
    layers = prediction.layers.set_index(["condition", "layer"])["curvature"]
    assert set(layers["placed"].index) == {"4", "6"}
    assert set(layers["all"].index) == {"0", "4", "6"}
    for layer in ("4", "6"):
        assert layers["placed", layer] == pytest.approx(layers["named", layer], rel=1e-9)
        assert layers["placed", layer] != pytest.approx(layers["all", layer], rel=1e-3)
    assert prediction.left_out == {"all": (), "placed": (), "named": ()}
    reading = Placement({"0": Crossbar("pcm-nandakumar2019"), "*": STRONG})
    assert predict_loss(net(), batches(), {"x": reading}).left_out == {"x": ("read noise",)}


def test_the_prediction_of_a_placement_is_checked_against_monte_carlo():
    check = check_prediction(net(), batches(), {"mixed": MIXED}, scales=(0.5,), chips=4, time_s=HOUR_S)
    assert check.table["condition"].tolist() == ["mixed"]
    assert check.table["mc_loss"].notna().all()


def test_the_equivalent_sigma_of_a_placement():
    found = equivalent_sigma(net(), batches(), Placement({"0": "digital", "*": STRONG}), chips=4)
    assert 0 < found.rms < equivalent_sigma(net(), batches(), STRONG, chips=4).rms


def test_calibrated_ranges_fit_the_placement():
    converters = Crossbar("rram-wan2022", dac=DAC(bits=8), adc=ADC(bits=8))
    placement = Placement({"0": "digital", "4": converters, "*": STRONG})
    inputs = [x for x, _ in batches()]
    ranges = calibrate(net(), placement, inputs)
    assert set(ranges) == {"4", "6"}  # the digital layer has none
    assert [len(ranges[name].outputs) for name in ("4", "6")] == [1, 0]  # an ADC only where there is one
    deployment = Deployment(ranges=ranges)
    measured = evaluate(net(), batches(), placement, chips=1, deployment=deployment)
    on_chip = program(net(), placement, deployment=deployment)
    assert measured.table["accuracy"][0] == Classification().measure(on_chip, batches()).value
    costs = attribute(net(), batches(), placement, chips=2, deployment=deployment).table
    assert {"programming", "dac", "adc"} <= set(costs["name"])
    with pytest.raises(InputError, match="found for a crossbar"):
        evaluate(net(), batches(), placement.map(lambda x: x.replace(rows=8)), chips=1, deployment=deployment)
