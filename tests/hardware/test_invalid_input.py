"""What cannot be right is refused with a message that says so, and what can be is computed: in both paths."""

import warnings

import pytest
import torch
from support.models import MILO, fill, images, small_model
from torch import nn

from aimc_robust import (
    ADC,
    DAC,
    BitSliced,
    Crossbar,
    Deployment,
    LayerRanges,
    Periphery,
    calibrate,
    coverage,
    evaluate,
    program,
)
from aimc_robust.errors import InputError, UnknownNameError

ARRAYS = Crossbar("rram-milo2021", dac=DAC(bits=8, kind="signed", full_scale=3.0))
BOTH = pytest.mark.parametrize("crossbar", [MILO, ARRAYS], ids=["weights", "arrays"])


@BOTH
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(bad, crossbar):
    model = small_model()
    with torch.no_grad():
        model[4].weight[1, 2] = bad
    with pytest.raises(InputError, match="finite"):
        program(model, crossbar)


@BOTH
def test_a_percentile_that_would_lose_the_weights_is_refused(crossbar):
    layer = nn.Linear(40, 4)
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.weight[0, 0] = 1.0
    for scaling in ("layer", "column"):
        lossy = crossbar.replace(weight_percentile=0.9, scaling=scaling)
        with pytest.raises(InputError, match=r"weight_percentile.*0.9.*'weight'.*0"):
            program(layer, lossy)


@pytest.mark.parametrize("time_s", [-1.0, float("nan"), float("inf"), 1e12, True, "1 day", None])
def test_a_time_that_cannot_be_is_refused(time_s):
    for run in (program, lambda model, crossbar, **options: evaluate(model, [], crossbar, **options)):
        with pytest.raises(InputError, match="time_s"):
            run(small_model(), Crossbar("sonos-agrawal2022"), time_s=time_s)


def test_a_time_beyond_the_cards_limits_warns_or_is_refused():
    day_s = 86400.0
    with pytest.warns(UserWarning, match=r"time_s = 864000.*0.*432000") as caught:
        program(small_model(), Crossbar("sonos-agrawal2022"), time_s=10 * day_s)
    assert [warning.filename for warning in caught] == [__file__]
    strict = Crossbar("sonos-agrawal2022", on_out_of_range="error")
    with pytest.raises(InputError, match="limits"):
        program(small_model(), strict, time_s=10 * day_s)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program(small_model(), strict, time_s=5 * day_s)


def test_a_time_for_a_card_without_drift_is_told():
    with pytest.warns(UserWarning, match="rram-milo2021"):
        program(small_model(), MILO, time_s=60.0)
    with pytest.raises(InputError, match="drift"):
        program(small_model(), Crossbar("rram-milo2021", on_out_of_range="error"), time_s=60.0)


def test_a_window_beyond_the_limits_warns_or_is_refused():
    with pytest.warns(UserWarning, match="limits"):
        Crossbar("rram-milo2021", window=(50.0, 300.0))
    with pytest.raises(InputError, match="limits"):
        Crossbar("rram-milo2021", window=(50.0, 300.0), on_out_of_range="error")
    # SONOS: up to 3200 nA at time 0, up to 1800 nA later.
    wide = Crossbar("sonos-agrawal2022", window=(0.0, 2500.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program(small_model(), wide)
    with pytest.warns(UserWarning, match=r"0.*1800"):
        program(small_model(), wide, time_s=86400.0)


BAD_CONVERTERS = [
    (InputError, DAC, {"bits": 17, "kind": "signed"}, ["bits", "16", "17"]),
    (InputError, DAC, {"bits": 8, "kind": "ideal"}, ["kind ideal", "omit bits", "8"]),
    (InputError, DAC, {"bits": 1}, ["kind auto", "2 to 16", "1"]),
    (InputError, DAC, {"bits": 1, "kind": "sign-magnitude"}, ["bits", "2", "1"]),
    (InputError, DAC, {"bits": 8.0, "kind": "signed"}, ["whole number", "8.0"]),
    (InputError, DAC, {"bits": 8, "kind": "ideal"}, ["bits", "ideal", "8"]),
    (UnknownNameError, DAC, {"bits": 8, "kind": "sign magnitude"}, ["'sign-magnitude'"]),
    (InputError, DAC, {"bits": 8, "kind": "signed", "full_scale": 0.0}, ["full_scale", "above 0"]),
    (InputError, DAC, {"bits": 8, "kind": "signed", "full_scale": -1.0}, ["full_scale", "-1"]),
    (InputError, DAC, {"bits": 8, "kind": "signed", "full_scale": float("nan")}, ["full_scale", "nan"]),
    (InputError, DAC, {"bits": 8, "kind": "signed", "slice_bits": 2}, ["slicing", "sign-magnitude"]),
    (InputError, DAC, {"bits": 8, "kind": "unsigned", "slice_bits": 9}, ["slice_bits", "8", "9"]),
    (InputError, ADC, {"bits": -1}, ["bits", "0", "-1"]),
    (InputError, ADC, {"bits": 8, "gain_error": -0.1}, ["gain_error of an ADC", "-0.1"]),
    (InputError, ADC, {"bits": 8, "offset_error": float("nan")}, ["offset_error of an ADC", "nan"]),
    (InputError, ADC, {"bits": 8, "inl": "small"}, ["inl of an ADC", "small"]),
    (UnknownNameError, ADC, {"bits": 8, "errors_per": "columns"}, ["errors_per", "'columns'", "'column'"]),
    (InputError, DAC, {"kind": "ideal", "noise": -0.1}, ["noise of a DAC", "-0.1"]),
    (InputError, Periphery, {"output_noise": float("inf")}, ["output_noise", "inf"]),
    (InputError, ADC, {"bits": 17}, ["bits", "16", "17"]),
    (InputError, ADC, {"bits": 1, "kind": "sign-magnitude"}, ["bits", "2", "1"]),
    (UnknownNameError, ADC, {"bits": 8, "kind": "flash"}, ["ADC kind 'flash'", "uniform"]),
    (UnknownNameError, ADC, {"bits": 8, "range": "granular"}, ["ADC range", "'granular'", "worst-case"]),
    (InputError, ADC, {"bits": 8, "range": (1.0, 1.0)}, ["range of an ADC", "low < high"]),
    (InputError, ADC, {"bits": 8, "range": (0.0, float("inf"))}, ["range of an ADC", "finite"]),
    (InputError, ADC, {"bits": 8, "range": 4.0}, ["range of an ADC", "4.0"]),
    (InputError, BitSliced, {"weight_bits": 1}, ["weight_bits", "2"]),
    (InputError, BitSliced, {"weight_bits": 8, "slices": 8}, ["slices", "7", "8"]),
    (InputError, BitSliced, {"weight_bits": 5, "slices": 3}, ["empty", "fewer slices"]),
    (InputError, LayerRanges, {"inputs": (1.0, 0.0)}, ["inputs of a layer's ranges", "low < high"]),
    (InputError, LayerRanges, {"inputs": (0.0, 1.0), "outputs": ((0.0, float("nan")),)}, ["outputs", "nan"]),
]


@pytest.mark.parametrize(
    ("error", "kind", "arguments", "wanted"), BAD_CONVERTERS, ids=[str(c[2]) for c in BAD_CONVERTERS]
)
def test_a_converter_that_cannot_be_is_refused(error, kind, arguments, wanted):
    with pytest.raises(error) as caught:
        kind(**arguments)
    assert [part for part in wanted if part not in str(caught.value)] == []


def test_a_model_without_a_layer_for_a_crossbar_is_refused():
    for run in (lambda model: program(model, MILO), lambda model: program(model, ARRAYS), coverage):
        with pytest.raises(InputError, match="Sequential"):
            run(nn.Sequential(nn.Embedding(3, 4), nn.LayerNorm(4)))


@BOTH
@pytest.mark.parametrize("again", [MILO, ARRAYS], ids=["weights", "arrays"])
def test_a_programmed_model_is_not_programmed_again(crossbar, again):
    analog = program(small_model(), crossbar)
    with pytest.raises(InputError, match="Sequential"):
        program(analog, again)
    with pytest.raises(InputError, match="programmed"):
        program(nn.Sequential(analog, nn.Linear(4, 2)), again)  # as a part of another
    with pytest.raises(InputError, match="programmed"):
        evaluate(analog, [(images(2), torch.zeros(2, dtype=torch.long))], again, chips=1)


class Renamed(nn.Conv2d):
    """A subclass that computes as its base."""


def test_a_subclass_without_one_computes_in_arrays():
    model = fill(nn.Sequential(Renamed(1, 2, 3)))
    exact = program(model, Crossbar("ideal", dac=DAC(kind="ideal")))
    torch.testing.assert_close(exact(images(2)), model(images(2)))
    assert not isinstance(exact[0], nn.Conv2d)


def test_parameters_of_crosssim_alone_are_refused_natively():
    with pytest.raises(InputError, match=r"`crosssim`.*CrossSim"):
        program(small_model(), Crossbar("rram-milo2021", crosssim={"xbar": {}}))


@BOTH
def test_an_empty_batch_gives_an_empty_result(crossbar):
    assert tuple(program(small_model(), crossbar)(images(0)).shape) == (0, 4)


def test_the_bias_in_rows_survives_a_small_calibrated_full_scale():
    # Rows of a bias are driven by an input of 1, which a DAC of a smaller full scale cannot apply.
    model = nn.Sequential(nn.Linear(4, 3))
    nn.init.ones_(model[0].bias)
    x = 0.25 * torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
    crossbar = Crossbar("ideal", bias_rows=2, dac=DAC(bits=8))
    deployment = Deployment(ranges=calibrate(model, crossbar, [x]))
    torch.testing.assert_close(program(model, crossbar, deployment=deployment)(x), model(x), rtol=0, atol=0.02)
