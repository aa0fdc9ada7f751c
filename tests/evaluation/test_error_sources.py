"""Each error source and each layer switched off really is off, and what stays on is bit for bit what it was."""

import copy
import dataclasses
import itertools

import pytest
import torch
from support.error_sources import by_hand
from support.nets import deployed, everything, images, net
from torch import nn

from aimc_robust import ADC, DAC, BitSliced, ConverterRanges, Crossbar, Deployment, program
from aimc_robust.evaluation.error_sources import SOURCES, active_sources, with_sources
from aimc_robust.hardware.conversion.prepare import prepare
from aimc_robust.hardware.layers.array_layer import ArrayLayer
from aimc_robust.hardware.program import chip_axes, program_prepared
from aimc_robust.noise.analog_weights import analog_weights
from aimc_robust.seeding import global_seed

DAY_S = 86400.0
MAPPINGS = ["one-sided", "two-sided", "offset"]


def outputs(crossbar, *, chip=3, time_s=DAY_S):
    whole = (
        deployed()
    )  # the ranges of the whole crossbar, for each part of it: they do not say what they were found with
    deployment = dataclasses.replace(whole, ranges=ConverterRanges(dict(whole.ranges)))
    with torch.no_grad():
        return program(net(), crossbar, chip=chip, time_s=time_s, deployment=deployment)(images(20))


class TestSources:
    def test_all_act_on_a_crossbar_with_everything_and_none_on_an_ideal_one(self):
        assert active_sources(everything(), time_s=DAY_S) == tuple(SOURCES)
        assert active_sources(Crossbar("ideal", window=(0.2, 1.0)), time_s=DAY_S) == ()

    @pytest.mark.parametrize("kept", [*[(s,) for s in SOURCES], ("programming", "adc"), ("drift", "read", "dac"), ()])
    def test_those_that_are_kept_are_those_that_act(self, kept):
        assert active_sources(with_sources(everything(), kept), time_s=DAY_S) == kept

    def test_drift_acts_later_and_on_cards_that_have_it(self):
        assert "drift" not in active_sources(everything(), time_s=0.0)
        assert active_sources(Crossbar("rram-milo2021"), time_s=DAY_S) == ("programming",)

    def test_what_the_card_or_the_crossbar_has_not_does_not_act(self):
        assert active_sources(Crossbar("rram-milo2021", error_scale=0.0)) == ()
        assert active_sources(Crossbar("pcm-nandakumar2019", read_noise=False)) == ("programming",)
        assert active_sources(Crossbar("ideal", window=(0.2, 1.0), dac=DAC(kind="ideal"))) == ()
        assert active_sources(Crossbar("ideal", window=(0.2, 1.0), stuck=(0.0, 0.1))) == ("stuck",)

    @pytest.mark.parametrize("source", SOURCES)
    def test_one_alone_and_all_but_one_are_the_crossbar_built_by_hand_bit_for_bit(self, source):
        without = [other for other in SOURCES if other != source]
        for kept in ([source], without):
            assert torch.equal(outputs(with_sources(everything(), kept)), outputs(by_hand(kept)))
        assert not torch.equal(outputs(by_hand([source])), outputs(by_hand([])))  # control: it does something
        assert not torch.equal(outputs(by_hand(without)), outputs(by_hand(SOURCES)))

    def test_any_set_of_them_is_the_crossbar_built_by_hand(self):
        for kept in itertools.combinations(("programming", "drift", "read", "adc"), 2):
            assert torch.equal(outputs(with_sources(everything(), kept)), outputs(by_hand(kept)))

    def test_all_of_them_are_the_crossbar_itself(self):
        assert with_sources(everything(), SOURCES) == everything()
        assert torch.equal(outputs(everything()), outputs(by_hand(SOURCES)))

    @pytest.mark.parametrize("mapping", MAPPINGS)
    @pytest.mark.parametrize("scaling", ["layer", "column"])
    @pytest.mark.parametrize("converters", [{}, {"dac": DAC(bits=5), "adc": ADC(bits=6)}], ids=["weights", "arrays"])
    @pytest.mark.parametrize("bias_rows", [0, 2])
    def test_without_any_a_model_computes_as_digital(self, mapping, scaling, converters, bias_rows):
        options = {"mapping": mapping, "scaling": scaling, "bias_rows": bias_rows, "rows": 20, "columns": 5}
        crossbar = Crossbar("pcm-nandakumar2019", cell_bits=4, weight_percentile=0.99, **options, **converters)
        exact = with_sources(crossbar, ())
        with torch.no_grad():
            digital = net()(images(20))
        torch.testing.assert_close(outputs(exact), digital, rtol=1e-5, atol=1e-5)
        noisy = with_sources(crossbar, ["programming"])
        assert not torch.allclose(outputs(noisy), digital, rtol=1e-3, atol=1e-3)  # control

    def test_the_digits_of_a_bit_sliced_mapping_stay(self):
        sliced = {"mapping": BitSliced(weight_bits=5, slices=2)}
        found = outputs(with_sources(Crossbar("pcm-nandakumar2019", cell_bits=4, **sliced), ()))
        expected = outputs(Crossbar("ideal", window=(0.004, 1.0), **sliced), time_s=0.0)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            assert not torch.allclose(found, net()(images(20)), rtol=1e-3, atol=1e-3)

    def test_a_dac_that_is_off_keeps_its_full_scale_so_that_the_adc_keeps_its_unit(self):
        crossbar = Crossbar(
            "ideal",
            window=(0.2, 1.0),
            dac=DAC(bits=8, kind="sign-magnitude", full_scale=4.0),
            adc=ADC(bits=10, range=(-3.0, 3.0)),
        )
        off = with_sources(crossbar, ["adc"])
        assert (off.periphery.dac.kind, off.periphery.dac.full_scale) == ("ideal", 4.0)
        torch.testing.assert_close(
            outputs(off, time_s=0.0), outputs(crossbar, time_s=0.0), rtol=0.05, atol=0.05
        )  # 8 and 10 bits are fine


class Tied(nn.Module):
    """Two layers that share a weight, with biases of their own, around one that has its own."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.again = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.again.weight = self.first.weight

    def forward(self, x):
        return self.again(torch.tanh(self.middle(torch.tanh(self.first(x)))))


class Cross(nn.Module):
    """Attention over keys and values of widths of their own."""

    def __init__(self):
        super().__init__()
        self.mix = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)

    def forward(self, x):
        return self.mix(x, x[..., :6], x[..., :4], need_weights=False)[0]


def made(build, *shape):
    with global_seed(0):
        return build().eval(), torch.randn(*shape)


MODELS = {
    "net": lambda: (net(), images(5)),
    "tied": lambda: made(Tied, 5, 8),
    "attention": lambda: made(lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 5, 3, 8),
    "widths": lambda: made(Cross, 5, 3, 8),
    "grouped": lambda: made(
        lambda: nn.Sequential(
            nn.Conv2d(4, 8, 3, groups=2),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 6, 3, groups=2),
            nn.Flatten(),
            nn.Linear(6 * 36, 3),
        ),
        5,
        4,
        6,
        6,
    ),
}


WEIGHTS = Crossbar("pcm-nandakumar2019", read_noise=False)
ARRAYS = Crossbar("pcm-nandakumar2019", rows=7, mapping="two-sided", dac=DAC(kind="ideal"))


def on_chip(ready, crossbar, layers):
    return program_prepared(copy.deepcopy(ready), crossbar, chip_axes(1, 2), time_s=DAY_S, layers=layers)


def choices(ready):
    names = [weight.array_owner for weight in analog_weights(ready).values()]
    return names, [frozenset([name]) for name in names] + [frozenset(names) - {name} for name in names]


@pytest.mark.parametrize("name", MODELS)
class TestLayers:
    def test_on_the_weight_path_chosen_layers_are_the_full_chips_and_the_others_untouched(self, name):
        ready, _ = prepare(MODELS[name]()[0])
        names, sets = choices(ready)
        full = on_chip(ready, WEIGHTS, None)
        assert len(names) >= 2
        for layers in sets:
            part = on_chip(ready, WEIGHTS, layers)
            triples = zip(*(analog_weights(m, include_shared=True).values() for m in (part, full, ready)), strict=True)
            for found, programmed, exact in triples:
                wanted = programmed if found.array_owner in layers else exact
                assert torch.equal(found.parameter, wanted.parameter)
                assert not torch.equal(programmed.parameter, exact.parameter)

    def test_on_arrays_chosen_layers_are_the_full_chips_and_the_others_compute_exactly(self, name):
        ready, _ = prepare(MODELS[name]()[0])
        _, sets = choices(ready)
        full, uses = on_chip(ready, ARRAYS, None), analog_weights(ready, include_shared=True).values()
        arrays = {use.layer: use.array_owner for use in uses}
        original = {use.layer: use.filters_first() for use in uses}
        programmed = {m.name: m for m in full.modules() if isinstance(m, ArrayLayer)}
        assert set(programmed) == set(arrays)
        for layers in sets:
            for layer in on_chip(ready, ARRAYS, layers).modules():
                if not isinstance(layer, ArrayLayer):
                    continue
                if arrays[layer.name] in layers:
                    assert torch.equal(layer.weight, programmed[layer.name].weight)
                    assert layer.noise is not None
                else:
                    torch.testing.assert_close(layer.weight, original[layer.name], rtol=1e-5, atol=1e-6)
                    assert layer.noise is None
                    assert not layer.crossbar.computes_in_arrays

    @pytest.mark.parametrize("crossbar", [WEIGHTS, ARRAYS], ids=["weights", "arrays"])
    def test_all_layers_are_the_chip_and_no_layer_is_the_digital_model(self, name, crossbar):
        model, x = MODELS[name]()
        ready, _ = prepare(model)
        names, _ = choices(ready)
        with torch.no_grad():
            digital, full = model(x), on_chip(ready, crossbar, None)(x)
            assert torch.equal(on_chip(ready, crossbar, frozenset(names))(x), full)
            torch.testing.assert_close(on_chip(ready, crossbar, frozenset())(x), digital, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(full, digital, rtol=1e-3, atol=1e-3)  # control

    def test_the_noise_of_a_layer_alone_is_that_of_the_full_chip(self, name):
        ready, _ = prepare(MODELS[name]()[0])
        names, _ = choices(ready)
        for layer in on_chip(ready, ARRAYS, frozenset(names[:1])).modules():
            if isinstance(layer, ArrayLayer) and layer.noise is not None:
                same = next(m for m in on_chip(ready, ARRAYS, None).modules() if getattr(m, "name", None) == layer.name)
                like, at = torch.zeros(2, 3), (0, 0, 0)
                found = layer.noise.draw(like, at, outputs_last=True)
                assert torch.equal(found, same.noise.draw(like, at, outputs_last=True))


def test_a_layer_that_is_left_out_is_not_compensated_for_drift():
    ready, _ = prepare(net())
    options = {"time_s": DAY_S, "deployment": Deployment(compensation=("drift",)), "layers": frozenset()}
    for crossbar in (WEIGHTS, ARRAYS):
        with torch.no_grad():
            found = program_prepared(copy.deepcopy(ready), crossbar, chip_axes(1, 2), **options)(images(5))
            torch.testing.assert_close(found, net()(images(5)), rtol=1e-4, atol=1e-5)
