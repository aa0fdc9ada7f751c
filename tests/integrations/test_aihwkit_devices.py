"""Noise models of aihwkit as cards: which one, its window and scales, and parameters that a card does not have."""

import math
from types import SimpleNamespace

import pytest
import torch

from aimc_robust import Crossbar, load_card
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.integrations.aihwkit_devices import NOISE_MODELS, VARIANTS, device_options

PCM, WAN, CMO = "PCMLikeNoiseModel", "ReRamWan2022NoiseModel", "ReRamCMONoiseModel"
HERMES = "HermesNoiseModel"


def pair(**limits: float) -> object:
    return type("SinglePairConductanceConverter", (SimpleNamespace,), {})(**limits)


def test_the_numbers_of_the_noise_models_are_those_of_their_cards():
    pcm, wan, cmo = (load_card(NOISE_MODELS[name].card) for name in (PCM, WAN, CMO))
    numbers = NOISE_MODELS[PCM].numbers
    assert (numbers["prog_coeff"], numbers["t_0"]) == (list(pcm.programming.coefficients), pcm.drift.t0_s)
    assert numbers["t_read"] == pcm.read.t_read_s
    assert NOISE_MODELS[PCM].g_max_us == pcm.programming.reference == numbers["prog_coeff_g_max_reference"]
    table = NOISE_MODELS[WAN].numbers["coeff_dic"]
    assert table == {row.time_s: list(row.std.coefficients) for row in wan.drift.at}
    assert NOISE_MODELS[WAN].g_max_us == wan.programming.reference
    accurate, coarse = NOISE_MODELS[CMO].numbers["coeff_dict"].values()
    assert accurate == list(cmo.programming.coefficients)
    assert coarse == list(load_card("reram-cmo-falcone2025-2pct").programming.coefficients)
    decay, read = NOISE_MODELS[CMO].numbers["decay_dict"], NOISE_MODELS[CMO].numbers["read_dict"]
    assert decay == {"mean": [cmo.drift.mean_ln], "std": [cmo.drift.std_ln, cmo.drift.std_offset]}
    assert read == {"K": cmo.read.coefficient, "t_read": cmo.read.t_read_s}
    for model in VARIANTS[HERMES][1].values():
        card, numbers = load_card(model.card), model.numbers
        assert numbers["prog_coeff"] == list(card.programming.coefficients)
        assert model.g_max_us == numbers["prog_coeff_g_max_reference"] == card.programming.reference == card.range.max
        assert (numbers["t_0"], numbers["t_0"], numbers["t_read"]) == (
            card.drift.t0_s,
            card.read.t0_s,
            card.read.t_read_s,
        )


@pytest.mark.parametrize(
    ("noise_model", "card", "window", "mapping"),
    [
        (PCM, "pcm-nandakumar2019", (0.0, 25.0), "one-sided"),
        (WAN, "rram-wan2022-drift", (0.0, 40.0), "one-sided"),
        (CMO, "reram-cmo-falcone2025", (9.0, 88.2), "offset"),
        ({"class": CMO, "acceptance_range": 2, "g_max": 80.0}, "reram-cmo-falcone2025-2pct", (9.0, 80.0), "offset"),
        (HERMES, "pcm-hermes2023-2dev", (0.0, 20.7), "one-sided"),
        ({"class": HERMES, "num_devices": 1, "g_max": 10.0}, "pcm-hermes2023-1dev", (0.0, 10.35), "one-sided"),
        ({"class": PCM, "g_max": 20.0}, "pcm-nandakumar2019", (0.0, 25.0), "one-sided"),
        ({"class": PCM, "g_converter": pair(g_min=2.0, g_max=20.0)}, "pcm-nandakumar2019", (2.5, 25.0), "one-sided"),
        ({"class": WAN, "g_max": 20.0, "g_min": 1.0}, "rram-wan2022-drift", (2.0, 40.0), "one-sided"),
    ],
)
def test_the_card_and_window_of_a_noise_model(noise_model, card, window, mapping):
    options = device_options(noise_model)
    assert (options["device"], options["mapping"]) == (card, mapping)
    assert options["window"] == pytest.approx(window)
    assert Crossbar(**options).device.error_scale == 1.0


def test_the_error_of_weights_is_the_noise_models_whatever_its_largest_conductance():
    g_max, scale = 20.0, 0.5
    noise_model = type(PCM, (SimpleNamespace,), {})(g_converter=pair(g_min=0.0, g_max=g_max), g_max=g_max)
    noise_model.prog_noise_scale = scale
    weight = torch.full((400, 400), 0.6)
    weight[0, 0] = 1.0
    errors = (Crossbar(**device_options(noise_model)).perturb("fc", weight, torch.Generator()) - weight)[1:]
    polynomial = [0.26348 + 1.965 * x - 1.1731 * x**2 for x in (0.6, 0.0)]
    # Positive and negative cell; the latter, of target 0, cannot be below 0: half of a normal distribution.
    variances = polynomial[0] ** 2, polynomial[1] ** 2 * (0.5 - 0.5 / math.pi)
    assert float(errors.std()) == pytest.approx(scale * math.sqrt(sum(variances)) / 25.0, rel=0.02)


@pytest.mark.parametrize(
    ("name", "option"),
    [("read_noise_scale", "read_noise"), ("drift_scale", "drift"), ("prog_noise_scale", "error_scale")],
)
def test_scales_switch_effects(name, option):
    assert device_options({"class": PCM, name: 0.0})[option] == 0
    assert device_options({"class": PCM, name: 1.0})[option] == 1


def test_the_scale_of_wans_model_is_on_all_its_times():
    assert device_options({"class": WAN, "noise_scale": 2.0})["error_scale"] == 2.0


@pytest.mark.parametrize(
    ("noise_model", "match"),
    [
        ({"class": PCM, "t_0": 30.0}, "t_0 of PCMLikeNoiseModel is 30.*has 20"),
        ({"class": PCM, "prog_coeff": [1.0, 2.0]}, r"prog_coeff.*\[1.0, 2.0\].*docs/reference/device-cards.md"),
        ({"class": PCM, "drift_scale": 2.0}, "drift_scale.*2.0"),
        ({"class": PCM, "read_noise_scale": 0.5}, "read_noise_scale.*0.5"),
        ({"class": WAN, "coeff_dic": {1.0: [0.348]}}, "coeff_dic"),
        ({"class": CMO, "acceptance_range": 0.02}, "acceptance_range.*0.02.*0.2 or 2"),
        ({"class": HERMES, "num_devices": 3}, "num_devices of HermesNoiseModel is 3.*2 or 1"),
        ({"class": HERMES, "num_devices": 1, "t_0": 300.0}, "t_0.*300.*hermes2023-1dev has 200"),
        ({"class": PCM, "g_converter": {"class": "DualPairConductanceConverter"}}, "DualPairConductanceConverter"),
        ({"g_max": 25.0}, "'class'"),
        (7, "noise_model must be an object.*7"),
        ({"class": PCM, "g_max": 0.0}, "g_min and g_max of PCMLikeNoiseModel"),
        ({"class": PCM, "t_read": "250 ns"}, "t_read.*250 ns"),
    ],
)
def test_a_value_that_the_card_does_not_have_is_refused_by_name(noise_model, match):
    with pytest.raises(InputError, match=match):
        device_options(noise_model)


def test_unknown_models_and_parameters_are_refused():
    with pytest.raises(UnknownNameError, match=r"'StateIndependentNoiseModel'.*device="):
        device_options("StateIndependentNoiseModel")
    for key in ("acceptance_range", "num_devices"):
        with pytest.raises(UnknownNameError, match=key):
            device_options({"class": PCM, key: 2})
    with pytest.raises(UnknownNameError, match=r"ReRAMWan2022NoiseModel.*'ReRamWan2022NoiseModel'"):
        device_options("ReRAMWan2022NoiseModel")
    with pytest.raises(UnknownNameError, match=r"'gmax'.*'g_max'"):
        device_options({"class": PCM, "gmax": 20.0})
