"""Several devices in place of one: the same weights, averaged errors, and the range of the column's ADC."""

import pytest
import torch

from aimc_robust import ADC, DAC, BitSliced, Crossbar, ParallelDevices, WeightMapping, crosssim_json, program
from aimc_robust.errors import InputError, UnknownNameError
from aimc_robust.hardware.config.standard_mappings import MAPPINGS, OneSided, find_mapping
from aimc_robust.hardware.programming.moments import weight_moments
from aimc_robust.targets.build import build_targets

BASES = ["one-sided", "two-sided", "offset", "bit-sliced"]


def layer(outputs=64, inputs=48):
    generator = torch.Generator().manual_seed(1)
    linear = torch.nn.Linear(inputs, outputs, bias=False).double()
    linear.weight.data = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64)
    return linear


def weight_of(crossbar, **options):
    return next(program(layer(), crossbar, **options).parameters()).detach()


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("cell_bits", [0, 4])
def test_without_errors_the_weights_are_those_of_the_other_mapping(base, cell_bits):
    one, three = (Crossbar("ideal", mapping=m, window=(0.1, 1.0), cell_bits=cell_bits) for m in (base, f"{base}*3"))
    torch.testing.assert_close(weight_of(three), weight_of(one), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("base", BASES)
def test_independent_errors_average(base):
    exact, one, four = (
        weight_of(Crossbar("independent-gaussian", mapping=mapping, window=(0.2, 1.0), error_scale=scale))
        for mapping, scale in ((base, 0.0), (base, 0.2), (f"{base}*4", 0.2))
    )
    ratio = float((four - exact).std() / (one - exact).std())
    assert ratio == pytest.approx(0.5, rel=0.07)  # 3072 weights: 1.8 % for each std


def test_moments_are_those_of_drawn_weights():
    crossbar = Crossbar("pcm-hermes2023-1dev", mapping="one-sided*2")
    found = weight_moments(crossbar, layer().weight.detach())
    drawn = torch.stack([weight_of(crossbar, chip=chip) for chip in range(200)])
    error = (drawn.mean(0) - found.mean) / (found.variance / 200).sqrt()
    assert float(error.square().mean()) == pytest.approx(1.0, abs=0.15)
    assert float((drawn.var(0) / found.variance).mean()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("mapping", ["one-sided*4", "offset*4"])
def test_a_worst_case_adc_clips_no_column(mapping):
    model = layer(8, 16)
    model.weight.data.abs_()
    model.weight.data.fill_(1.0)
    x = torch.ones(2, 16, dtype=torch.float64)
    options = {"dac": DAC(bits=12, kind="unsigned", full_scale=1.0), "adc": ADC(bits=14, range="worst-case")}
    analog = program(model, Crossbar("ideal", mapping=mapping, rows=8, **options))
    torch.testing.assert_close(analog(x), model(x), rtol=1e-3, atol=0)


def test_read_noise_averages():
    reads = []
    for mapping in ("one-sided", "one-sided*4"):
        crossbar = Crossbar("sonos-agrawal2022", mapping=mapping, programming=False)
        analog = program(layer(), crossbar)
        exact = torch.nn.functional.linear(torch.ones(1, 48, dtype=torch.float64), next(analog.parameters()))
        reads.append(float((analog(torch.ones(200, 48, dtype=torch.float64)) - exact).detach().std()))
    assert reads[1] / reads[0] == pytest.approx(0.5, rel=0.05)


def test_it_is_found_by_name_and_says_what_it_is():
    found = find_mapping("two-sided*3")
    assert found == ParallelDevices(MAPPINGS["two-sided"], 3)
    assert Crossbar("ideal", mapping="one-sided*2").weights.mapping == ParallelDevices(OneSided())
    (target,) = build_targets({"device": "ideal", "mapping": "two-sided*3"})
    assert target.crossbar.weights.mapping == found
    assert found.description == "two-sided (3 devices in parallel)"
    assert len(found.signs) == 6
    nested = ParallelDevices(BitSliced(weight_bits=6, slices=3))
    assert (nested.banks, nested.signs) == (3, (1.0, 1.0, -1.0, -1.0) * 3)
    assert isinstance(nested, WeightMapping)


@pytest.mark.parametrize(
    ("mapping", "error", "match"),
    [
        ("one-sided*", InputError, r"one-sided\*2"),
        ("one-sided*two", InputError, r"one-sided\*2.*two"),
        ("one-sided*1", InputError, "devices.*1"),
        ("one-sided*65", InputError, "devices.*65"),
        ("one-side*2", UnknownNameError, "'one-sided'"),
        (7, UnknownNameError, "7"),
    ],
)
def test_another_name_is_refused(mapping, error, match):
    with pytest.raises(error, match=match):
        find_mapping(mapping)


def test_what_the_other_mapping_refuses_is_refused():
    with pytest.raises(InputError, match="offset mapping needs cell_bits"):
        Crossbar("ideal", mapping="offset*2", cell_bits=1)
    with pytest.raises(InputError, match="ParallelDevices"):
        crosssim_json(Crossbar("rram-milo2021", mapping="one-sided*2"))
