"""Presets: what they hold, against their sources; how options replace their keys; what they refuse."""

from dataclasses import replace

import pytest
import torch
from support.methods import build_method
from support.models import images, small_model

import aimc_robust
from aimc_robust import (
    ADC,
    DAC,
    RWP,
    Placement,
    calibrate,
    card_names,
    import_rpu_config,
    load_card,
    load_preset,
    preset_names,
    program,
)
from aimc_robust.devices.library import presets_folder
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.experiments.spec.methods import TrainingTable
from aimc_robust.hardware.config.presets import read_preset
from aimc_robust.hardware.config.ranges import LayerRanges
from aimc_robust.hardware.crosssim.parameters import crosssim_parameters
from aimc_robust.training.config import TrainingConfig

# The configuration of aihwkit 1.2, StandardHWATrainingPreset.
RASCH = {
    "forward": {
        "inp_res": 254.0,
        "out_res": 254.0,
        "noise_management": "Constant",
        "nm_thres": 1.0,
        "out_noise": 0.04,
        "out_bound": 10.0,
    },
    "mapping": {
        "weight_scaling_omega": 1.0,
        "weight_scaling_columnwise": True,
        "max_input_size": 512,
        "max_output_size": 0,
        "digital_bias": True,
    },
    "remap": {"type": "ChannelwiseSymmetric", "remapped_wmax": 1.0},
    "pre_post": {"input_range": {"enable": True}},
    "noise_model": "PCMLikeNoiseModel",
    "drift_compensation": "GlobalDriftCompensation",
}
# That of IBM/analog-foundation-models, config.yaml of Llama-3.2-1B-Instruct.
ANALOG_FOUNDATION = {
    "forward": {"inp_res": 254, "out_res": 254, "out_bound": 14, "out_noise": 0.0, "out_noise_per_channel": False},
    "clip": {"type": "LayerGaussianPerChannel", "sigma": 2.5},
    "mapping": {"max_input_size": -1},
    "pre_post": {"input_range": {"enable": True}},
}


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_a_source_and_computes(name):
    preset, file = load_preset(name), read_preset(name)
    assert preset.name == name == (presets_folder() / f"{name}.toml").stem
    assert preset.source.citation
    assert preset.source.note
    assert build_method("array-aware", {"crossbar": name, **preset.method}, seed=0).crossbar == preset.crossbar
    if preset.training:
        assert isinstance(TrainingTable.model_validate({"epochs": 1, **preset.training}).build(), TrainingConfig)
    for effect in ("drift", "read_noise"):
        assert not getattr(file.needs, effect) or getattr(preset.crossbar.device.cell, f"has_{effect}")
    ranges = calibrate(small_model(), preset.crossbar, [images(20)])
    deployment = replace(preset.deployment, ranges=ranges)
    with torch.no_grad():
        found = program(small_model(), preset.crossbar, deployment=deployment)(images(20))
        exact = small_model().eval()(images(20))
    assert 0 < float((found - exact).std() / exact.std()) < 0.5


def test_no_name_is_that_of_a_preset_and_of_a_card():
    assert not set(preset_names()) & set(card_names())
    assert len(preset_names()) >= 4


@pytest.mark.parametrize(
    ("name", "config", "device"),
    [
        ("rasch2023", RASCH, None),
        ("analog-foundation-models", ANALOG_FOUNDATION, "independent-gaussian"),
    ],
)
def test_the_settings_of_ibms_configurations_translate_to_their_presets(name, config, device):
    crossbar, deployment = import_rpu_config(config, device=device)
    preset = load_preset(name)
    options = {"mapping": preset.crossbar.weights.mapping, "error_scale": preset.crossbar.device.error_scale}
    assert crossbar.device.programming_window == preset.crossbar.device.programming_window
    assert crossbar.replace(window=None, **options) == preset.crossbar
    assert deployment == preset.deployment


def test_the_weight_noise_of_analog_foundation_models_is_3_percent_of_each_outputs_largest_weight():
    torch.manual_seed(0)
    layer = torch.nn.Linear(4000, 2, bias=False).requires_grad_(False)
    layer.weight.data.mul_(torch.tensor([[1.0], [10.0]]))
    crossbar = load_preset("analog-foundation-models", dac=None, adc=None).crossbar
    error = (program(layer, crossbar).weight - layer.weight).detach()
    inner = layer.weight.abs() < 0.8 * layer.weight.abs().amax(dim=1, keepdim=True)  # far from clipping at 0
    for row, largest in enumerate(layer.weight.abs().amax(dim=1)):
        assert float(error[row][inner[row]].std() / largest) == pytest.approx(0.03, rel=0.05)


@pytest.mark.parametrize(("name", "r_min", "r_max"), [("sonos", 37500, 1e12), ("rram", 4450, 20000)])
def test_the_settings_of_crosssims_tutorial_translate_to_its_parameters(name, r_min, r_max):
    crossbar = load_preset(f"crosssim-isca2024-{name}").crossbar
    ranges = LayerRanges(inputs=(0.0, 7.88), outputs=((-2.0, 2.0),))
    tree = crosssim_parameters(crossbar, layer=ranges)
    device, core = tree["xbar"]["device"], tree["core"]
    assert (device["Rmin"], device["Rmax"]) == pytest.approx((r_min, r_max), rel=1e-4)
    assert (device["cell_bits"], core["rows_max"], core["cols_max"]) == (7, 576, 256)
    assert (core["style"], core["balanced"]["style"]) == ("BALANCED", "ONE_SIDED")
    assert not device["read_noise"]["enable"]
    dac, adc = tree["xbar"]["dac"]["mvm"], tree["xbar"]["adc"]["mvm"]
    assert (dac["model"], dac["signed"], dac["bits"]) == ("QuantizerDAC", False, 8)
    assert (adc["model"], adc["bits"], adc["adc_range_option"]) == ("SignMagnitudeADC", 8, "CALIBRATED")
    first = crosssim_parameters(crossbar, layer=LayerRanges(inputs=(-2.64, 2.64), outputs=((-2.0, 2.0),)))
    assert first["xbar"]["dac"]["mvm"]["model"] == "SignMagnitudeDAC"


def test_options_replace_those_of_the_preset():
    preset = load_preset("rasch2023", rows=64, adc=ADC(bits=6))
    assert preset.crossbar == load_preset("rasch2023").crossbar.replace(rows=64, adc=ADC(bits=6))
    assert preset.crossbar.periphery.dac == DAC(bits=8, kind="sign-magnitude")
    with pytest.raises(UnknownNameError, match=r"'colums'.*'columns'"):
        load_preset("rasch2023", colums=3)


def test_another_device_has_its_own_window_and_must_have_what_the_preset_counts_on():
    preset = load_preset("crosssim-isca2024-rram", device="sonos-agrawal2022")
    assert preset.crossbar.device.window is None
    with pytest.raises(InputError, match=r"rasch2023 counts on the drift of its device.*rram-milo2021.*drift to false"):
        load_preset("rasch2023", device="rram-milo2021")
    with pytest.raises(InputError, match=r"rasch2023 counts on the read noise.*read_noise to false"):
        load_preset("rasch2023", device="rram-milo2021", drift=False)
    preset = load_preset("rasch2023", device="rram-milo2021", drift=False, read_noise=False)
    assert preset.crossbar.device.cell == load_card("rram-milo2021")
    load_preset("rasch2023", device="sonos-agrawal2022")


def test_an_unknown_preset_is_refused_with_the_nearest_and_a_preset_is_no_card():
    with pytest.raises(UnknownNameError, match=r"unknown preset 'rasch2032'.*'rasch2023'"):
        load_preset("rasch2032")
    with pytest.raises(InputError, match=r"'rasch2023' is a preset.*load_preset"):
        load_card("rasch2023")


@pytest.mark.parametrize("call", ["program", "evaluate", "calibrate", "device_states"])
def test_a_preset_or_a_name_in_place_of_a_crossbar_says_what_to_write(call):
    data = [] if call in ("program", "device_states") else [(images(4), torch.zeros(4, dtype=torch.long))]
    for given, words in (
        (load_preset("rasch2023"), r"rasch2023 is a Preset.*\.crossbar.*\.deployment"),
        ("rasch2023", r"write load_preset\('rasch2023'\)\.crossbar"),
        ("rram-wan2022", r"write Crossbar\('rram-wan2022'\)"),
    ):
        arguments = {"evaluate": [*data, given], "calibrate": [given, [images(4)]]}.get(call, [given])
        with pytest.raises(InputError, match=words) as raised:
            getattr(aimc_robust, call)(small_model(), *arguments)
        assert len(str(raised.value)) < 160


def test_layers_take_the_name_of_a_preset():
    placement = Placement({"0": "rasch2023", "*": "rram-milo2021"})
    assert placement.crossbar_of("0") == load_preset("rasch2023").crossbar
    with pytest.raises(InputError, match=r"the pattern '0' takes a crossbar, got the Preset rasch2023"):
        Placement({"0": load_preset("rasch2023")})
    with pytest.raises(UnknownNameError, match=r"'layers'\..*A Placement places layers"):
        RWP(noise=load_preset("rasch2023").crossbar, layers={"0": "digital"})
