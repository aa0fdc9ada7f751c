"""Stuck devices of a real chip, and measured states: the chip is what is known of it, on every path."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.models import digest
from support.small_net import data, net
from torch import nn

from aimc_robust import (
    ADC,
    DAC,
    Axes,
    Crossbar,
    Deployment,
    FaultMap,
    Placement,
    attribute,
    calibrate,
    coverage,
    crosssim_json,
    device_states,
    draw_faults,
    evaluate,
    program,
)
from aimc_robust.errors import DataError, InputError, UnknownNameError
from aimc_robust.evaluation.error_sources import active_sources
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.hardware.programming.moments import weight_moments

NAN = float("nan")
MAPPINGS = ["one-sided", "two-sided", "offset", "bit-sliced", "one-sided*2"]


def linear(outputs=5, inputs=7, *, bias=False, dtype=torch.float64):
    torch.manual_seed(3)
    return nn.Linear(inputs, outputs, bias=bias).to(dtype)


def healthy(model, crossbar):
    """A map of the model without stuck devices: layer -> array of NaN."""
    states = device_states(model, crossbar.replace(stuck=(0.0, 0.0)))
    return {layer: np.full(values.shape, NAN) for layer, values in states.target.items()}


@given(mapping=st.sampled_from(MAPPINGS), seed=st.integers(0, 2**32 - 1), bias_rows=st.integers(0, 2))
def test_a_stuck_device_holds_its_state_and_all_others_their_own(mapping, seed, bias_rows):
    # Oracle: states of the healthy chip, overwritten by hand, and the mapping's read-out in numpy.
    random = np.random.default_rng(seed)
    crossbar = Crossbar("pcm-nandakumar2019", mapping=mapping, bias_rows=bias_rows, read_noise=False)
    model = linear(bias=True)
    layers = healthy(model, crossbar)
    stuck = layers["weight"]
    stuck[random.random(stuck.shape) < 0.3] = random.uniform(0.0, 30.0)
    faults = FaultMap(layers)
    high = crossbar.device.programming_window[1]
    for time_s in (0.0, 1e4):
        free = device_states(model, crossbar, chip=2, time_s=time_s)
        states = np.where(np.isnan(stuck), free.programmed["weight"].numpy(), stuck)
        factors, offset = crossbar.factors
        signs = np.array(crossbar.weights.mapping.signs)
        per_device = signs * np.repeat(factors, len(signs) // len(factors))
        limit = float(free.weight_limits["weight"])
        expected = (np.einsum("d,doi->oi", per_device, states / high) + offset) * limit
        on_chip = program(model, crossbar.replace(stuck=faults), chip=2, time_s=time_s)
        np.testing.assert_allclose(on_chip.weight.detach().numpy(), expected[:, :7], rtol=1e-9, atol=1e-12)
        if bias_rows:
            np.testing.assert_allclose(on_chip.bias.detach().numpy(), expected[:, 7:].sum(1), rtol=1e-9, atol=1e-12)
        noisy = program(model, crossbar.replace(stuck=faults, read_noise=True), chip=2, time_s=time_s)
        torch.testing.assert_close(noisy.weight, on_chip.weight)


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_drawn_faults_are_those_that_a_chip_draws(mapping, dtype):
    model, card = net().to(dtype), Crossbar("rram-milo2021", mapping=mapping, stuck=(0.2, 0.1), bias_rows=1)
    faults = draw_faults(model, card, chip=4)
    drawn, known = (program(model, crossbar, chip=4) for crossbar in (card, card.replace(stuck=faults)))
    assert digest(drawn) == digest(known)
    assert digest(drawn) != digest(program(model, card.replace(stuck=draw_faults(model, card, chip=5)), chip=4))
    share = faults.stuck_devices / sum(states.numel() for states in faults.layers.values())
    assert 0.2 < share < 0.4
    assert tuple(faults.layers) == coverage(model).layers


def test_faults_do_not_depend_on_the_chip_and_everything_else_does():
    model, crossbar = linear(), Crossbar("rram-milo2021")
    layers = healthy(model, crossbar)
    layers["weight"][:, 1, 2] = (140.0, 60.0)
    faulty = crossbar.replace(stuck=FaultMap(layers))
    first, second = (program(model, faulty, chip=chip).weight for chip in (0, 1))
    assert first[1, 2] == second[1, 2]
    assert (first != second).sum() == first.numel() - 1


def test_infinity_is_the_end_of_the_window():
    model = linear()
    crossbar = Crossbar("rram-milo2021", window=(60.0, 180.0))
    layers = healthy(model, crossbar)
    layers["weight"][:, 0, 0] = (np.inf, -np.inf)
    by_value = {"weight": layers["weight"].copy()}
    by_value["weight"][:, 0, 0] = (180.0, 60.0)
    ends, values = (program(model, crossbar.replace(stuck=FaultMap(each))) for each in (layers, by_value))
    assert digest(ends) == digest(values)
    assert ends.weight[0, 0].item() == pytest.approx(model.weight.abs().max().item())


def test_a_map_takes_the_place_of_the_cards_fractions():
    model, card = linear(), Crossbar("rram-milo2021", stuck=(0.5, 0.5))
    none = card.replace(stuck=FaultMap(healthy(model, card)))
    assert digest(program(model, none)) == digest(program(model, card.replace(stuck=(0.0, 0.0))))
    assert none.device.stuck_fractions == (0.0, 0.0)


def test_maps_are_values():
    layers = {"a": np.array([[[1.0, NAN]]]), "b": torch.full((1, 1, 1), NAN)}
    first, again, other = FaultMap(layers), FaultMap(layers), FaultMap({**layers, "a": [[[NAN, 1.0]]]})
    assert first == again
    assert hash(first) == hash(pickle.loads(pickle.dumps(again)))
    assert first != other
    assert Crossbar("rram-milo2021", stuck=first) == Crossbar("rram-milo2021", stuck=again)
    assert repr(first) == f"FaultMap(2 layers, 1 stuck devices, digest {first.digest})"
    layers["a"][:] = 5.0
    assert first == again  # a copy


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_files(tmp_path, ending):
    model, crossbar = net(), Crossbar("rram-milo2021", stuck=(0.1, 0.1))
    faults, path = draw_faults(model, crossbar), tmp_path / f"faults.{ending}"
    faults.save(path)
    assert FaultMap.load(path) == faults
    assert Crossbar("rram-milo2021", stuck=str(path)) == crossbar.replace(stuck=faults)
    with pytest.raises(InputError, match=r"fault map is in uS.*nA"):
        Crossbar("sonos-agrawal2022", stuck=path)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read"):
        FaultMap.load(path)


def test_files_of_others(tmp_path):
    path = tmp_path / "map.npz"
    np.savez(path, weight=np.full((2, 5, 7), NAN), **{"weight/window": np.zeros(2)})
    assert FaultMap.load(path).stuck_devices == 0
    for name in ("weight/note", "bias/window", "/units"):
        np.savez(path, weight=np.full((2, 5, 7), NAN), **{name: np.zeros(2)})
        with pytest.raises(InputError, match=f"the (array|text) '{name.removeprefix('/')}'"):
            FaultMap.load(path)
    np.savez(path, weight=np.full((2, 5, 7), NAN), unit="uS")
    assert (FaultMap.load(path).unit, list(FaultMap.load(path).layers)) == ("uS", ["weight"])
    np.savez(path, weight=np.zeros(3))
    with pytest.raises(InputError, match=r"map\.npz.*'weight'.*\(devices, outputs, inputs\)"):
        FaultMap.load(path)
    with pytest.raises(DataError, match="there is no file"):
        FaultMap.load(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"\.npz or \.safetensors"):
        FaultMap.load(tmp_path / "map.csv")
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.with_suffix(".npy").rename(path)
    with pytest.raises(DataError, match="single array"):
        FaultMap.load(path)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([1.0], "layers of a fault map"),
        ({"a": "text"}, "'a'"),
        ({"a": [[1.0]]}, r"'a'.*shape \(1, 2?1?\)|'a'"),
        ({"a": [[[True]]]}, "'a'.*bool"),
        ({"a": [[[-1.0]]]}, "'a'.*negative state, -1"),
        ({"a": [[[1.0], [1.0, 2.0]]]}, "'a'.*numbers"),
    ],
)
def test_what_is_no_map_is_refused(layers, words):
    with pytest.raises(InputError, match=words):
        FaultMap(layers)


def test_maps_of_other_models_are_refused_before_anything_runs():
    model, crossbar = net(), Crossbar("rram-milo2021")
    unknown = crossbar.replace(stuck=FaultMap({"44": [[[1.0]]]}))
    wrong = crossbar.replace(stuck=FaultMap({"4": np.full((2, 64, 3), NAN)}))
    for call in (lambda c: program(model, c), lambda c: evaluate(model, data(), c, chips=2)):
        with pytest.raises(UnknownNameError, match=r"'44'.*did you mean '4'"):
            call(unknown)
        with pytest.raises(InputError, match=r"'4' has shape \(2, 64, 3\).*\(2, 3, 64\)"):
            call(wrong)


def test_states_outside_the_cards_limits_are_told_by_layer():
    model, crossbar = linear(), Crossbar("rram-milo2021")
    layers = healthy(model, crossbar)
    layers["weight"][0, 0, 0] = 1e4
    faulty = crossbar.replace(stuck=FaultMap(layers))
    with pytest.warns(UserWarning, match=r"1 states of the layer 'weight'.*10000"):
        program(model, faulty)
    with pytest.raises(InputError, match="'weight'"):
        program(model, faulty.replace(on_out_of_range="error"))


def test_a_layer_that_shares_its_weight_shares_its_stuck_devices():
    shared = nn.Linear(4, 4, bias=False)
    model = nn.Sequential(shared, nn.ReLU(), nn.Linear(4, 4, bias=False))
    model[2].weight = shared.weight
    crossbar = Crossbar("rram-milo2021", stuck=FaultMap({"0": np.full((2, 4, 4), 60.0)}))
    for on_chip in (program(model, crossbar), program(model, crossbar.replace(read_noise=True, rows=2))):
        assert on_chip[0].weight.abs().max() < 1e-6
        assert on_chip[2].weight.abs().max() < 1e-6


def test_evaluation_attribution_and_prediction_know_the_map():
    model, crossbar = net(), Crossbar("rram-milo2021", programming=False, drift=False, read_noise=False)
    faults = crossbar.replace(stuck=draw_faults(model, crossbar.replace(stuck=(0.2, 0.2))))
    estimate = evaluate(model, data(), faults, chips=3)
    assert estimate.sd_noise == 0.0
    assert estimate.mean < 90.0
    assert active_sources(faults) == ("stuck",)
    noisy = faults.replace(programming=True)
    table = attribute(model, data(), noisy, chips=3).table.set_index("name")
    assert table.loc["stuck", "alone"] == pytest.approx(estimate.mean)
    assert np.isnan(table.loc["stuck", "cost_alone_low"])  # known, so that chips do not differ
    assert table.loc["stuck", "saved"] > 0


def test_moments_are_those_of_the_chips():
    model, crossbar = linear(6, 9), Crossbar("rram-milo2021", mapping="two-sided")
    layers = healthy(model, crossbar)
    layers["weight"][0, :3] = 50.0
    layers["weight"][:, 3] = 60.0
    crossbar = crossbar.replace(stuck=FaultMap(layers))
    moments = weight_moments(crossbar, model.weight.detach(), layer="weight")
    chips = torch.stack([program(model, crossbar, chip=chip).weight.detach() for chip in range(300)])
    assert moments.variance[3].max() < 1e-20
    torch.testing.assert_close(moments.mean[3], chips[0, 3], rtol=0.0, atol=1e-6)
    error = (chips.mean(0) - moments.mean) / (moments.variance / 300).sqrt().clamp(min=1e-9)
    assert error[[0, 1, 2, 4, 5]].abs().max() < 4.5
    ratio = chips.var(0)[[0, 1, 2, 4, 5]] / moments.variance[[0, 1, 2, 4, 5]]
    assert 0.6 < ratio.min() < ratio.max() < 1.5


def test_crosssim_and_weight_noise_refuse_what_they_cannot_do():
    crossbar = Crossbar("ideal", stuck=FaultMap({}))
    with pytest.raises(InputError, match="fault map"):
        crosssim_json(crossbar)
    with pytest.raises(InputError, match="bias_rows=0"):
        crossbar.replace(bias_rows=1).perturb("weight", torch.ones(2, 2), Axes(0).generator())


# Measured states ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("arrays", [False, True], ids=["weights", "arrays"])
@pytest.mark.parametrize("ending", ["npz", "safetensors", ""])
def test_states_out_and_in_are_the_same_chip(tmp_path, mapping, arrays, ending):
    model, images = net(), data()[0]
    crossbar = Crossbar("pcm-nandakumar2019", mapping=mapping, bias_rows=1, read_noise=arrays, rows=20)
    deployment = Deployment()
    if arrays:
        crossbar = crossbar.replace(dac=DAC(bits=6), adc=ADC(bits=6))
        deployment = Deployment(ranges=calibrate(model, crossbar, [images]))
    states = device_states(model, crossbar, chip=3)
    given = states
    if ending:
        given = tmp_path / f"states.{ending}"
        states.save(given)
    directly = program(model, crossbar, chip=3, deployment=deployment)
    again = program(model, crossbar, chip=3, states=given, deployment=deployment)
    assert digest(directly) == digest(again)
    assert torch.equal(directly(images), again(images))  # read noise too
    other = program(model, crossbar, chip=4, deployment=deployment)
    assert digest(directly) != digest(other)
    if not arrays:  # without read noise the chip's number does not matter: nothing is drawn
        assert digest(directly) == digest(program(model, crossbar, chip=9, states=given, deployment=deployment))


def test_aged_states_are_those_of_the_aged_chip():
    model, crossbar = linear(), Crossbar("pcm-nandakumar2019", read_noise=False)
    aged = device_states(model, crossbar, chip=1, time_s=1e5)
    assert digest(program(model, crossbar, states=aged)) == digest(program(model, crossbar, chip=1, time_s=1e5))
    assert not torch.equal(aged.programmed["weight"], device_states(model, crossbar, chip=1).programmed["weight"])
    assert torch.equal(aged.target["weight"], device_states(model, crossbar, chip=7).target["weight"])


def test_targets_are_the_states_of_a_chip_without_errors():
    model, crossbar = net(), Crossbar("rram-milo2021", mapping="two-sided", cell_bits=4, stuck=(0, 0), read_noise=False)
    exact = device_states(model, crossbar.replace(programming=False))
    assert all(torch.equal(exact.target[layer], exact.programmed[layer]) for layer in exact.target)
    noisy = device_states(model, crossbar)
    assert all(torch.equal(exact.target[layer], noisy.target[layer]) for layer in exact.target)
    assert not any(torch.equal(noisy.target[layer], noisy.programmed[layer]) for layer in exact.target)


def test_bad_states_are_refused():
    model, crossbar = net(), Crossbar("rram-milo2021")
    good = dict(device_states(model, crossbar).programmed)
    refused = {
        "missing for the layers 4": {"0": good["0"]},
        "'0' hold NaN": {**good, "0": torch.full_like(good["0"], NAN)},
        "'0' hold .*infinity": {**good, "0": torch.full_like(good["0"], torch.inf)},
        "'0' has a negative state": {**good, "0": -good["0"]},
        r"'0' has shape \(2, 9, 4\)": {**good, "0": good["0"].transpose(1, 2)},
        "states must be a mapping": [good],
    }
    for words, states in refused.items():
        with pytest.raises(InputError, match=words):
            program(model, crossbar, states=states)
    with pytest.raises(UnknownNameError, match="layer of the array of states 'fc'"):
        program(model, crossbar, states={**good, "fc": good["0"]})
    for options in ({"time_s": 1.0}, {"cycle": 1}):
        with pytest.raises(InputError, match="omit time_s and cycle"):
            program(model, crossbar, states=good, **options)
    with pytest.warns(UserWarning, match="'0' are far outside the limits"):
        program(model, crossbar, states={**good, "0": good["0"] + 250.0})
    for factor in (1e-6, 100.0):
        with pytest.raises(InputError, match=r"'0' cannot be in uS.*Convert them to uS"):
            program(model, crossbar, states={layer: factor * states for layer, states in good.items()})
    stuck = torch.full_like(good["0"], NAN)
    stuck[0, 0, 0] = 1e5
    with pytest.raises(InputError, match="cannot be in uS: they reach 100000"):
        program(model, crossbar.replace(stuck=FaultMap({"0": stuck})))


# Addresses ------------------------------------------------------------------------------------------------------


@given(rows=st.integers(0, 12), columns=st.integers(0, 4), bias_rows=st.integers(0, 3), groups=st.sampled_from([1, 2]))
def test_addresses_are_the_tiles_of_the_arrays(rows, columns, bias_rows, groups):
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=groups))
    crossbar = Crossbar("rram-milo2021", rows=rows, columns=columns, bias_rows=bias_rows, mapping="bit-sliced")
    states = device_states(model, crossbar.replace(read_noise=False))
    place = states.addresses["0"]
    layer = next(m for m in program(model, crossbar.replace(dac=DAC(bits=4))).modules() if isinstance(m, ArrayLayer))
    tiles = [(tile, row - start) for tile, (start, stop) in enumerate(layer.tiles) for row in range(start, stop)]
    assert place.rows.tolist() == [list(pair) for pair in tiles]
    assert place.devices.tolist() == [[0, 1], [0, -1], [1, 1], [1, -1]]
    assert len({tuple(address) for address in place.columns}) == len(place.columns) == 6
    assert place.columns[:, 0].tolist() == [o // (6 // groups) for o in range(6)]
    if columns:
        assert place.columns[:, 2].max() < columns
    table = states.table("0")
    address = ["bank", "sign", "group", "array_row", "array_column", "row", "column"]
    assert len(table) == states.target["0"].numel() == len(table.drop_duplicates(address))
    one = table.query("device == 3 and output == 4 and input == 2").iloc[0]
    assert one.target == states.target["0"][3, 4, 2]
    assert one.programmed == states.programmed["0"][3, 4, 2]


def test_the_layout_of_a_file_is_as_documented(tmp_path):
    model, crossbar = nn.Sequential(nn.Linear(6, 3)), Crossbar("rram-milo2021", rows=4, scaling="column")
    states = device_states(model, crossbar, time_s=0.0)
    states.save(tmp_path / "states.npz")
    with np.load(tmp_path / "states.npz") as file:
        assert set(file.files) == {
            *("0", "0/target", "0/devices", "0/columns", "0/rows", "0/weight_limit", "0/window"),
            *("/device", "/unit", "/time_s"),
        }
        assert str(file["/unit"]) == "uS"
        assert file["0/target"].shape == (2, 3, 6)
        assert file["0/weight_limit"].shape == (3, 1)
        assert file["0/window"].tolist() == list(crossbar.device.programming_window)
        assert file["0/rows"].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def test_names_are_those_of_coverage_for_attention_and_recurrent_layers():
    model = nn.ModuleDict({"a": nn.MultiheadAttention(8, 2), "r": nn.LSTM(4, 3)})
    crossbar = Crossbar("rram-milo2021", read_noise=False)
    assert tuple(device_states(model, crossbar).target) == coverage(model).layers
    prepared, _ = prepare(model)
    faults = draw_faults(model, crossbar.replace(stuck=(0.1, 0.0)))
    assert tuple(faults.layers) == coverage(prepared).layers
    assert digest(program(model, crossbar.replace(stuck=faults))) != digest(program(model, crossbar))


# Several crossbars ----------------------------------------------------------------------------------------------


def test_placements_know_maps_and_states():
    model, first, second = net(), Crossbar("rram-milo2021"), Crossbar("pcm-nandakumar2019", mapping="offset")
    placement = Placement({"0": first.replace(stuck=(0.2, 0.0)), "4": second.replace(stuck=(0.0, 0.2))})
    faults = draw_faults(model, placement, chip=2)
    assert [states.shape[0] for states in faults.layers.values()] == [2, 1]
    assert faults.unit == "uS"
    known = placement.map(lambda crossbar: crossbar.replace(stuck=faults))
    assert digest(program(model, placement, chip=2)) == digest(program(model, known, chip=2))
    states = device_states(model, known, chip=2)
    assert digest(program(model, placement, chip=2, states=states)) == digest(program(model, known, chip=2))
    assert states.device == "rram-milo2021, pcm-nandakumar2019"
    digital = {"0": "digital"}
    only = device_states(model, first, layers=digital)
    assert tuple(only.target) == ("4",)
    on_chip = program(model, first, layers=digital, states=only.programmed)
    assert digest(on_chip) == digest(program(model, first, layers=digital))
    assert digest(
        program(model, first.replace(stuck=draw_faults(model, first.replace(stuck=(0.5, 0)))), layers=digital)
    )
    with pytest.raises(InputError, match="'4' is in the fault map of another crossbar"):
        program(model, Placement({"0": first.replace(stuck=faults), "4": second}))
    with pytest.raises(InputError, match="uS and nA"):
        device_states(model, Placement({"0": first, "*": "sonos-agrawal2022"}))
